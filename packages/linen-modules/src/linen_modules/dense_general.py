"""Affine maps of any axes."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact, nowrap
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit, choose_operator
from linen_modules._flat_initializer import flat_initializer
from linen_modules.dtypes import promote_dtype
from linen_modules.errors import AxisError, location
from linen_modules.linear import default_kernel_init
from linen_modules.typing import (
    Array,
    Axes,
    DotGeneral,
    DTypeLike,
    Initializer,
    PrecisionLike,
    PromoteDtype,
)

__all__ = ["DenseGeneral", "dense_general"]


@cached_jit()
def dense_general(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    *,
    axis: tuple[int, ...],
    batch_dims: tuple[int, ...] = (),
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
    dot_general: DotGeneral = lax.dot_general,
) -> Array:
    """Multiplies some axes by a kernel, along others by one kernel for each index.

    Args:
        inputs: an array.
        kernel: shape (sizes of batch_dims..., sizes of axis..., features...).
        bias: shape (sizes of batch_dims..., features...), or None.
        axis: the axes that are summed over, none of them negative.
        batch_dims: the axes along which kernels differ: 0, 1, ...
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings the three arrays to one dtype.
        dot_general: the operator that multiplies.

    Returns:
        Shape (sizes of batch_dims..., sizes of all other axes..., features...).

    >>> import jax.numpy as jnp
    >>> dense_general(jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4)), None, axis=(2,), batch_dims=(0,)).shape
    (5, 2, 4)
    """
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    batch, free = len(batch_dims), inputs.ndim - len(axis)
    contracted = (axis, tuple(range(batch, batch + len(axis))))
    dimension_numbers = (contracted, (batch_dims, tuple(range(batch))))
    outputs = dot_general(inputs, kernel, dimension_numbers, precision=precision)
    if bias is None:
        return outputs
    return outputs + jnp.expand_dims(bias, range(batch, free))


class DenseGeneral(Module):
    """An affine map of any axes to any axes.

    The kernel is made as a matrix, from all axes it sums over to all features, and reshaped.

    Attributes:
        features: the sizes of the last axes of the output.
        axis: the axes of the input that are summed over, in any order.
        batch_dims: the leading axes of the input, from 0 on, that have a kernel and a bias for
            each index.
        use_bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        kernel_init: makes the kernel. It sees the shape (sizes of batch_dims and axis multiplied,
            features multiplied).
        bias_init: makes the bias. It sees the shape (sizes of batch_dims and features multiplied,).
        precision: as `jax.lax.Precision`.
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        dot_general: replaces `jax.lax.dot_general`.
        dot_general_cls: makes the replacement of `jax.lax.dot_general`, for one with variables of
            its own; takes precedence over `dot_general`.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.DenseGeneral(features=(4, 5), axis=(1, -1))
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((8, 2, 7, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (4, 5), 'kernel': (2, 3, 4, 5)}}
    >>> y.shape
    (8, 7, 4, 5)
    """

    features: Axes
    axis: Axes = -1
    batch_dims: Axes = ()
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros
    precision: PrecisionLike = None
    promote_dtype: PromoteDtype = promote_dtype
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Applies the map.

        Args:
            inputs: an array with the axes of `axis` and `batch_dims`.

        Returns:
            Shape (sizes of batch_dims..., sizes of all other axes..., features...).

        Raises:
            AxisError: if the input does not have an axis, if one is named twice, or if
                `batch_dims` are not the leading axes.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        shape, features = jnp.shape(inputs), _as_tuple(self.features)
        axis, batch_dims = self._axes(shape)
        batch = tuple(shape[dim] for dim in batch_dims)
        summed = tuple(shape[dim] for dim in axis)
        kernel_init = flat_initializer(self.kernel_init, (len(batch) + len(summed), len(features)))
        kernel = self.param("kernel", kernel_init, (*batch, *summed, *features), self.param_dtype)
        bias = None
        if self.use_bias:
            bias_init = flat_initializer(self.bias_init, (len(batch) + len(features),))
            bias = self.param("bias", bias_init, (*batch, *features), self.param_dtype)
        return dense_general(
            inputs,
            kernel,
            bias,
            axis=axis,
            batch_dims=batch_dims,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
            dot_general=choose_operator(self.dot_general_cls, self.dot_general, lax.dot_general),
        )

    @nowrap
    def _axes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Brings `axis` and `batch_dims` to ascending indices."""
        ndim, given = len(shape), _as_tuple(self.axis)
        batch_dims = tuple(sorted(_as_tuple(self.batch_dims)))
        if not all(-ndim <= dim < ndim for dim in given) or len(batch_dims) > ndim:
            expected = f"axes from {-ndim} to {ndim - 1}" if ndim else "an array with axes"
            raise AxisError(
                f"{location(self)}: found axis={self.axis}, batch_dims={self.batch_dims} and an "
                f"input of shape {shape}; expected {expected}. Write axis=-1 for the last axis, and "
                "inputs[None] for a single number."
            )
        if batch_dims != tuple(range(len(batch_dims))):
            raise AxisError(
                f"{location(self)}: found batch_dims={self.batch_dims}; expected consecutive "
                f"leading axes from 0 on. Write batch_dims={tuple(range(len(batch_dims)))} and "
                "bring these axes to the front with jnp.moveaxis."
            )
        axis = tuple(sorted(dim % ndim for dim in given))
        if len({*axis, *batch_dims}) < len(axis) + len(batch_dims):
            raise AxisError(
                f"{location(self)}: found axis={self.axis} and batch_dims={self.batch_dims} for an "
                f"input of shape {shape}; expected each axis once. Write "
                f"axis={tuple(sorted({*axis} - {*batch_dims}))}."
            )
        return axis, batch_dims


def _as_tuple(value: Axes) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
