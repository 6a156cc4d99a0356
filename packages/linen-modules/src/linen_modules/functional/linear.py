"""Affine maps, as functions of a scope."""

import jax.numpy as jnp

from linen_core import Scope
from linen_modules import initializers
from linen_modules.dense_general import DenseGeneral
from linen_modules.linear import Dense, default_kernel_init
from linen_modules.typing import Array, Axes, DTypeLike, Initializer, PrecisionLike

__all__ = ["dense", "dense_general"]


def dense(
    scope: Scope,
    inputs: Array,
    features: int,
    bias: bool = True,
    dtype: DTypeLike | None = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Applies an affine map of the last axis: `linen_modules.Dense` in a scope.

    Args:
        scope: where the parameters "kernel" and "bias" are.
        inputs: shape (..., input features).
        features: the size of the last axis of the output.
        bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (input features, features).
        bias_init: makes the bias, of shape (features,).

    Returns:
        Shape (..., features).

    Raises:
        InputRankError: if the input is a scalar.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, variables = init(dense)(jax.random.key(0), jnp.ones((2, 3)), 4)
    >>> y.shape, jax.tree.map(jnp.shape, variables)
    ((2, 4), {'params': {'bias': (4,), 'kernel': (3, 4)}})
    """
    return Dense(
        features,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )(inputs)


def dense_general(
    scope: Scope,
    inputs: Array,
    features: Axes,
    axis: Axes = -1,
    batch_dims: Axes = (),
    bias: bool = True,
    dtype: DTypeLike | None = jnp.float32,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
    precision: PrecisionLike = None,
) -> Array:
    """Applies an affine map of any axes to any axes: `linen_modules.DenseGeneral` in a scope.

    Args:
        scope: where the parameters "kernel" and "bias" are.
        inputs: an array with the axes of `axis` and `batch_dims`.
        features: the sizes of the last axes of the output.
        axis: the axes that are summed over.
        batch_dims: the leading axes, from 0 on, that have a kernel and a bias for each index.
        bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it.
        kernel_init: makes the kernel, as in `DenseGeneral`.
        bias_init: makes the bias, as in `DenseGeneral`.
        precision: as `jax.lax.Precision`.

    Returns:
        Shape (sizes of batch_dims..., sizes of all other axes..., features...).

    Raises:
        AxisError: if the axes do not fit the input.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, _ = init(dense_general)(jax.random.key(0), jnp.ones((2, 3, 5)), (4, 6), axis=(-2, -1))
    >>> y.shape
    (2, 4, 6)
    """
    return DenseGeneral(
        features,
        axis=axis,
        batch_dims=batch_dims,
        use_bias=bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        precision=precision,
        parent=scope,
    )(inputs)
