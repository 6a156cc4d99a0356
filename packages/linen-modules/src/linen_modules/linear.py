"""Affine maps of the last axis."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit, choose_operator
from linen_modules.dtypes import promote_dtype
from linen_modules.errors import InputRankError, location
from linen_modules.typing import (
    Array,
    DotGeneral,
    DTypeLike,
    Initializer,
    PrecisionLike,
    PromoteDtype,
)

__all__ = ["Dense", "default_kernel_init", "dense"]

default_kernel_init: Initializer = initializers.lecun_normal()


@cached_jit()
def dense(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
    dot_general: DotGeneral = lax.dot_general,
) -> Array:
    """Multiplies the last axis by a matrix and adds a bias.

    Args:
        inputs: shape (..., input features).
        kernel: shape (input features, features).
        bias: shape (features,), or None.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings the three arrays to one dtype.
        dot_general: the operator that multiplies.

    Returns:
        Shape (..., features).

    >>> import jax.numpy as jnp
    >>> dense(jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.ones(1)).tolist()
    [[4.0], [4.0]]
    """
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    contract_last = (((inputs.ndim - 1,), (0,)), ((), ()))
    outputs = dot_general(inputs, kernel, contract_last, precision=precision)
    if bias is None:
        return outputs
    return outputs + jnp.expand_dims(bias, range(outputs.ndim - 1))


class Dense(Module):
    """An affine map of the last axis: ``inputs @ kernel + bias``.

    Attributes:
        features: the size of the last axis of the output.
        use_bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (input features, features).
        bias_init: makes the bias, of shape (features,).
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        dot_general: replaces `jax.lax.dot_general`.
        dot_general_cls: makes the replacement of `jax.lax.dot_general`, for one with variables of
            its own; takes precedence over `dot_general`.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Dense(features=4)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (4,), 'kernel': (3, 4)}}
    >>> layer.apply(variables, jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros
    promote_dtype: PromoteDtype = promote_dtype
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Applies the map.

        Args:
            inputs: shape (..., input features).

        Returns:
            Shape (..., features).

        Raises:
            InputRankError: if the input is a scalar.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        if jnp.ndim(inputs) == 0:
            raise InputRankError(
                f"{location(self)}: found an input of shape (); expected an axis of features. "
                "Write inputs[None] for a single feature."
            )
        shape = (jnp.shape(inputs)[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape[1:], self.param_dtype)
        return dense(
            inputs,
            kernel,
            bias,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
            dot_general=choose_operator(self.dot_general_cls, self.dot_general, lax.dot_general),
        )
