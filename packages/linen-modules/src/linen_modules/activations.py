"""Activation functions.

The functions of `jax.nn`, with the same signatures and the same numbers. `jax.nn` traces some of
them anew at every call (relu and gelu take some hundred microseconds); here each costs
one call of a cached jit. All of them pickle, so that a module may have one as a field.
"""

import jax
import jax.numpy as jnp

from linen_modules._cached_jit import cached_jit
from linen_modules.typing import Array, ArrayLike

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softplus",
    "swish",
    "tanh",
]


def celu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    r"""Continuously differentiable exponential linear unit.

    .. math:: \max(x, 0) + \min(\alpha (e^{x / \alpha} - 1), 0)

    Args:
        x: an array.
        alpha: the value that -celu approaches for very negative x.

    Returns:
        An array of the shape of x.

    References:
        Barron, "Continuously differentiable exponential linear units", 2017.

    >>> float(celu(2.0))
    2.0
    """
    return jax.nn.celu(x, alpha)


def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    r"""Exponential linear unit: x where positive, :math:`\alpha (e^x - 1)` elsewhere.

    Args:
        x: an array.
        alpha: the value that -elu approaches for very negative x.

    Returns:
        An array of the shape of x.

    References:
        Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential
        linear units", 2015.

    >>> float(elu(2.0))
    2.0
    """
    return jax.nn.elu(x, alpha)


@cached_jit("approximate")
def gelu(x: ArrayLike, approximate: bool = True) -> Array:
    r"""Gaussian error linear unit: :math:`x \Phi(x)` with the normal distribution function.

    Args:
        x: an array.
        approximate: whether to use the approximation with tanh instead of the error function.

    Returns:
        An array of the shape of x.

    References:
        Hendrycks, Gimpel, "Gaussian error linear units", 2016.

    >>> float(gelu(0.0))
    0.0
    """
    return jax.nn.gelu(x, approximate)


def glu(x: ArrayLike, axis: int = -1) -> Array:
    """Gated linear unit: the first half of the array times the sigmoid of the second half.

    Args:
        x: an array whose size along `axis` is even.
        axis: the axis that is split in two.

    Returns:
        An array with half the size along `axis`.

    References:
        Dauphin, Fan, Auli, Grangier, "Language modeling with gated convolutional networks", 2016.

    >>> import jax.numpy as jnp
    >>> glu(jnp.array([4.0, 0.0])).tolist()
    [2.0]
    """
    return jax.nn.glu(x, axis)


def hard_sigmoid(x: ArrayLike) -> Array:
    """Piecewise linear sigmoid: relu6(x + 3) / 6.

    Args:
        x: an array.

    Returns:
        An array of the shape of x, with values in [0, 1].

    >>> float(hard_sigmoid(-3.0)), float(hard_sigmoid(3.0))
    (0.0, 1.0)
    """
    return jax.nn.hard_sigmoid(x)


def hard_silu(x: ArrayLike) -> Array:
    """Piecewise quadratic silu: x * hard_sigmoid(x).

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    References:
        Howard et al., "Searching for MobileNetV3", 2019.

    >>> float(hard_silu(3.0))
    3.0
    """
    return jax.nn.hard_silu(x)


hard_swish = hard_silu


def hard_tanh(x: ArrayLike) -> Array:
    """Clips to [-1, 1].

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    >>> float(hard_tanh(2.5))
    1.0
    """
    return jax.nn.hard_tanh(x)


def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """Rectifier with a slope where x is negative.

    Args:
        x: an array.
        negative_slope: the slope.

    Returns:
        An array of the shape of x.

    References:
        Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    >>> float(leaky_relu(-2.0, 0.5))
    -1.0
    """
    return jax.nn.leaky_relu(x, negative_slope)


def log_sigmoid(x: ArrayLike) -> Array:
    """Logarithm of the sigmoid, without overflow.

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    >>> float(log_sigmoid(-1000.0))
    -1000.0
    """
    return jax.nn.log_sigmoid(x)


@cached_jit()
def relu(x: ArrayLike) -> Array:
    """Rectified linear unit: max(x, 0). Its derivative at zero is zero.

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    >>> float(relu(-2.0)), float(relu(2.0))
    (0.0, 2.0)
    """
    return jax.nn.relu(x)


@cached_jit()
def relu6(x: ArrayLike) -> Array:
    """Rectified linear unit that saturates at six.

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    References:
        Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    >>> float(relu6(7.0))
    6.0
    """
    return jax.nn.relu6(x)


def selu(x: ArrayLike) -> Array:
    """Scaled exponential linear unit, which keeps mean 0 and variance 1 through a network.

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    References:
        Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.

    >>> float(selu(0.0))
    0.0
    """
    return jax.nn.selu(x)


def sigmoid(x: ArrayLike) -> Array:
    r"""Logistic function: :math:`1 / (1 + e^{-x})`.

    Args:
        x: an array.

    Returns:
        An array of the shape of x, with values in [0, 1].

    >>> float(sigmoid(0.0))
    0.5
    """
    return jax.nn.sigmoid(x)


def silu(x: ArrayLike) -> Array:
    """Sigmoid linear unit, also called swish: x * sigmoid(x).

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    References:
        Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units for neural network function
        approximation in reinforcement learning", 2017.

    >>> float(silu(0.0))
    0.0
    """
    return jax.nn.silu(x)


swish = silu


def soft_sign(x: ArrayLike) -> Array:
    """Smooth sign: x / (1 + abs(x)).

    Args:
        x: an array.

    Returns:
        An array of the shape of x, with values in (-1, 1).

    >>> float(soft_sign(1.0))
    0.5
    """
    return jax.nn.soft_sign(x)


def softplus(x: ArrayLike) -> Array:
    r"""Smooth rectifier: :math:`\log(1 + e^x)`.

    Args:
        x: an array.

    Returns:
        An array of the shape of x.

    >>> float(softplus(1000.0))
    1000.0
    """
    return jax.nn.softplus(x)


def tanh(x: ArrayLike) -> Array:
    """Hyperbolic tangent.

    Args:
        x: an array.

    Returns:
        An array of the shape of x, with values in [-1, 1].

    >>> float(tanh(0.0))
    0.0
    """
    return jnp.tanh(x)
