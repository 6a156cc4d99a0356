"""An activation function with a parameter."""

import jax.numpy as jnp

from linen_core import Module, compact
from linen_modules._cached_jit import cached_jit
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.typing import Array, DTypeLike

__all__ = ["PReLU", "prelu"]


@cached_jit()
def prelu(inputs: Array, negative_slope: Array) -> Array:
    """Multiplies negative elements by a slope.

    Args:
        inputs: an array; integers are promoted with the slope.
        negative_slope: a scalar.

    Returns:
        An array of the shape of the inputs, in their dtype if it is floating point.

    >>> import jax.numpy as jnp
    >>> prelu(jnp.array([-2.0, 3.0]), jnp.array(0.5)).tolist()
    [-1.0, 3.0]
    """
    if not jnp.issubdtype(inputs.dtype, jnp.inexact):
        inputs = inputs.astype(canonicalize_dtype(inputs, negative_slope))
    return jnp.where(inputs >= 0, inputs, negative_slope.astype(inputs.dtype) * inputs)


class PReLU(Module):
    """A rectifier whose slope for negative inputs is learned; one slope for all features.

    Attributes:
        param_dtype: the dtype of the slope.
        negative_slope_init: the first value of the slope, a number.

    References:
        He, Zhang, Ren, Sun, "Delving deep into rectifiers: surpassing human-level performance on
        ImageNet classification", 2015.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> y, variables = nn.PReLU(negative_slope_init=0.5).init_with_output(
    ...     jax.random.key(0), jnp.array([-2.0, 3.0])
    ... )
    >>> variables["params"]["negative_slope"].tolist(), y.tolist()
    (0.5, [-1.0, 3.0])
    """

    param_dtype: DTypeLike = jnp.float32
    negative_slope_init: float = 0.01

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Rectifies.

        Args:
            inputs: an array; integers are promoted with the slope.

        Returns:
            An array of the shape of the inputs, in their dtype if it is floating point.
        """
        slope = self.param("negative_slope", _constant, self.negative_slope_init, self.param_dtype)
        return prelu(inputs, slope)


def _constant(key: Array, value: float, dtype: DTypeLike) -> Array:
    return jnp.asarray(value, dtype)
