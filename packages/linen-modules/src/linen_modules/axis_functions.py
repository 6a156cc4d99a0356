"""Functions of whole axes: softmax and its logarithm, standardisation, one-hot codes.

The functions of `jax.nn`, with the same signatures and the same numbers, each one call of a cached
jit; see `linen_modules.activations`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linen_modules._cached_jit import cached_jit
from linen_modules.errors import AlgorithmError
from linen_modules.typing import Array, ArrayLike, DTypeLike

__all__ = ["log_softmax", "logsumexp", "normalize", "one_hot", "softmax", "standardize"]


@cached_jit("axis")
def softmax(
    x: ArrayLike, axis: int | Sequence[int] | None = -1, where: ArrayLike | None = None
) -> Array:
    """Exponentials, scaled so that they sum to one.

    Args:
        x: an array.
        axis: the axes over which they sum to one.
        where: a boolean array; elements that are False are left out and give zero.

    Returns:
        An array of the shape of x.

    >>> import jax.numpy as jnp
    >>> softmax(jnp.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return jax.nn.softmax(x, axis, where)


def log_softmax(
    x: ArrayLike, axis: int | Sequence[int] | None = -1, where: ArrayLike | None = None
) -> Array:
    """Logarithm of the softmax.

    Args:
        x: an array.
        axis: the axes over which the exponentials sum to one.
        where: a boolean array; elements that are False are left out and give -inf.

    Returns:
        An array of the shape of x.

    >>> import jax.numpy as jnp
    >>> float(log_softmax(jnp.zeros(1))[0])
    0.0
    """
    return jax.nn.log_softmax(x, axis, where)


@cached_jit("axis", "keepdims", "return_sign")
def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
) -> Array | tuple[Array, Array]:
    """Logarithm of the sum of exponentials, without overflow.

    Args:
        a: an array of exponents.
        axis: the axes that are summed; None is all of them.
        b: factors of the exponentials, broadcast against a.
        keepdims: whether the summed axes stay, with size one.
        return_sign: whether to return the sign of the sum as well; negative sums are NaN otherwise.
        where: a boolean array; elements that are False are left out.

    Returns:
        An array of the shape of a without the summed axes; with `return_sign`, a pair of them.

    >>> import jax.numpy as jnp
    >>> float(logsumexp(jnp.array([1000.0, -1000.0])))
    1000.0
    """
    return jax.nn.logsumexp(a, axis, b, keepdims, return_sign, where)


@cached_jit("axis", "algorithm")
def standardize(
    x: ArrayLike,
    axis: int | Sequence[int] | None = -1,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    epsilon: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
    *,
    algorithm: str = "fast",
) -> Array:
    """Subtracts the mean and divides by the standard deviation.

    Args:
        x: an array.
        axis: the axes over which mean and variance are taken.
        mean: the mean to use instead, with axes of size one where x is averaged.
        variance: the variance to use instead, likewise.
        epsilon: added to the variance.
        where: a boolean array; elements that are False do not count.
        algorithm: "fast" for the variance from the mean of squares, "stable" for the variance
            from the differences to the mean, which is right for large means too.

    Returns:
        An array of the shape of x.

    Raises:
        AlgorithmError: if the algorithm is another one.

    >>> import jax.numpy as jnp
    >>> standardize(jnp.array([1.0, 3.0]), epsilon=0.0).tolist()
    [-1.0, 1.0]
    """
    if algorithm not in ("fast", "stable"):
        raise AlgorithmError(
            f'standardize: found algorithm="{algorithm}"; expected "fast" or "stable". Write '
            'algorithm="stable" if the mean is large.'
        )
    if algorithm == "stable":
        if mean is None:
            mean = jnp.mean(x, axis, keepdims=True, where=where)
        if variance is None:
            variance = jnp.mean(jnp.square(jnp.subtract(x, mean)), axis, keepdims=True, where=where)
    return jax.nn.standardize(x, axis, mean, variance, epsilon, where)


normalize = standardize


@cached_jit("num_classes", "axis")
def one_hot(
    x: ArrayLike, num_classes: int, *, dtype: DTypeLike | None = None, axis: int | str = -1
) -> Array:
    """Encodes indices as arrays with a single one.

    Args:
        x: integers; those outside [0, num_classes) give zeros only.
        num_classes: the size of the new axis, or the name of a mapped axis.
        dtype: the dtype of the result; None is the default floating point dtype.
        axis: where the new axis is inserted, or the name of a mapped axis.

    Returns:
        An array of the shape of x with a new axis.

    >>> import jax.numpy as jnp
    >>> one_hot(jnp.array([1, 3]), 3).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return jax.nn.one_hot(x, num_classes, dtype=dtype, axis=axis)
