"""Transposed convolutions.

A convolution with strides makes arrays smaller; its transpose makes them larger, by as much. The
inputs are set `strides` apart, with zeros between them, and convolved.

Arrays are channels-last: (batch dimensions..., spatial dimensions..., features), as in `conv`.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact, nowrap
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules._convolutions import (
    add_bias,
    channels_last,
    check_kernel_mask,
    check_rank,
    merge_batch,
    window_sizes,
)
from linen_modules._windows import XLA_PADDINGS, Padding, canonicalize_padding, per_dimension
from linen_modules.dtypes import promote_dtype
from linen_modules.errors import PaddingError, location
from linen_modules.linear import default_kernel_init
from linen_modules.typing import (
    Array,
    DTypeLike,
    Initializer,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
)

__all__ = ["ConvTranspose", "conv_transpose"]


@cached_jit()
def conv_transpose(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    strides: tuple[int, ...],
    padding: Padding,
    kernel_dilation: tuple[int, ...],
    transpose_kernel: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Convolves channels-last arrays whose elements are `strides` apart, and adds a bias.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., input features).
        kernel: shape (window..., input features, features); with `transpose_kernel` the last two
            axes are exchanged.
        bias: shape (features,), or None.
        mask: factors of the kernel, of its shape, or None.
        strides: one number for each spatial dimension, as the dilation.
        padding: "SAME", "VALID", "CIRCULAR", or (low, high) for each spatial dimension; without
            strides also "SAME_LOWER".
        kernel_dilation: the distance of neighbouring elements of the kernel.
        transpose_kernel: whether to flip the window and to exchange the features of the kernel.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings (inputs, kernel, bias) to one dtype.
        preferred_element_type: the dtype in which products are added up.

    Returns:
        Shape (batch dimensions..., spatial dimensions..., features).

    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    >>> x, steps = jnp.array([[1.0], [2.0]]), dict(strides=(2,), kernel_dilation=(1,))
    >>> conv_transpose(x, kernel, None, None, padding="VALID", **steps)[:, 0].tolist()
    [100.0, 10.0, 201.0, 20.0, 2.0]
    >>> conv_transpose(x, kernel, None, None, padding="CIRCULAR", **steps)[:, 0].tolist()
    [102.0, 10.0, 201.0, 20.0]
    """
    spatial = kernel.ndim - 2
    if mask is not None:
        kernel = kernel * mask
    batch_shape, inputs = merge_batch(inputs, spatial)
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    outputs = lax.conv_transpose(
        inputs,
        kernel,
        strides,
        "VALID" if padding == "CIRCULAR" else padding,
        rhs_dilation=kernel_dilation,
        dimension_numbers=channels_last(spatial),
        transpose_kernel=transpose_kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    if padding == "CIRCULAR":
        for axis, stride in enumerate(strides, 1):
            period = inputs.shape[axis] * stride
            outputs = _wrap(outputs, axis, period, is_more_before=transpose_kernel)
    outputs = add_bias(outputs, bias)
    return outputs.reshape(*batch_shape, *outputs.shape[1:])


def _wrap(outputs: Array, axis: int, period: int, is_more_before: bool) -> Array:
    """Adds what is outside the middle period of an axis to its other end.

    Half of what is outside is before the middle. Of an odd number, one more is behind it, or before
    it if `is_more_before`.
    """
    outside = outputs.shape[axis] - period
    before = (outside + is_more_before) // 2
    low = -before % period
    high = -(low + outputs.shape[axis]) % period
    padding = [(0, 0)] * outputs.ndim
    padding[axis] = (low, high)
    outputs = jnp.pad(outputs, padding)
    shape = outputs.shape
    periods = shape[axis] // period
    return outputs.reshape(*shape[:axis], periods, period, *shape[axis + 1 :]).sum(axis)


class ConvTranspose(Module):
    """A transposed convolution over the spatial dimensions of channels-last arrays.

    Attributes:
        features: the number of output features.
        kernel_size: the window, one size for each spatial dimension; an int is a window over one
            spatial dimension.
        strides: by how much the output is larger than the input, one number or one for each spatial
            dimension; None is 1.
        padding: "SAME" and "CIRCULAR" for outputs of `strides` times the size of the input,
            "VALID" for all outputs that depend on the input, or how much is padded to the inputs
            when they are `strides` apart: one number for all sides, or for each spatial dimension
            a number or a pair (low, high). "CIRCULAR" adds what is outside on one side to the other
            one. Without strides also "SAME_LOWER".
        kernel_dilation: the distance of neighbouring elements of the kernel, one number or one for
            each spatial dimension; None is 1.
        use_bias: whether to add a bias.
        mask: factors of the kernel, of its shape, for masked convolutions.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (window..., input features, features), or with
            `transpose_kernel` (window..., features, input features).
        bias_init: makes the bias, of shape (features,).
        transpose_kernel: whether to flip the window of the kernel and to exchange its features.
            With padding "SAME" the layer is then the transpose of a `Conv` with the same kernel
            and strides: the gradient of it with respect to its inputs.
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        preferred_element_type: the dtype in which products are added up, and of the result if it is
            the wider one.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.ConvTranspose(features=4, kernel_size=(3, 3), strides=2)
    >>> images = jnp.ones((5, 14, 14, 1))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), images)
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (4,), 'kernel': (3, 3, 1, 4)}}
    >>> outputs.shape, layer.apply(variables, images[0]).shape
    ((5, 28, 28, 4), (28, 28, 4))
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: PaddingLike = "SAME"
    kernel_dilation: int | Sequence[int] | None = None
    use_bias: bool = True
    mask: Array | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros
    transpose_kernel: bool = False
    promote_dtype: PromoteDtype = promote_dtype
    preferred_element_type: DTypeLike | None = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Convolves.

        Args:
            inputs: shape (batch dimensions..., spatial dimensions..., input features).

        Returns:
            Shape (batch dimensions..., spatial dimensions..., features).

        Raises:
            InputRankError: if the input has fewer axes than the window and the features need.
            PaddingError: if the padding is unknown or does not fit the window or the strides.
            WindowError: if strides or dilation do not fit the window.
            MaskShapeError: if the mask does not have the shape of the kernel.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        window = window_sizes(self.kernel_size)
        options = self._geometry(len(window))
        check_rank(self, window, jnp.shape(inputs))
        features = (jnp.shape(inputs)[-1], self.features)
        shape = (*window, *(features[::-1] if self.transpose_kernel else features))
        check_kernel_mask(self, shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return conv_transpose(
            inputs,
            kernel,
            bias,
            self.mask,
            **options,
            transpose_kernel=self.transpose_kernel,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
            preferred_element_type=self.preferred_element_type,
        )

    @nowrap
    def _geometry(self, spatial: int) -> dict[str, Any]:
        """Brings strides, dilation and padding to tuples for `spatial` dimensions."""
        strides = per_dimension(self.strides, spatial, self, "strides")
        dilation = per_dimension(self.kernel_dilation, spatial, self, "kernel_dilation")
        padding = canonicalize_padding(self.padding, spatial, self, (*XLA_PADDINGS, "CIRCULAR"))
        if padding == "SAME_LOWER" and any(stride != 1 for stride in strides):
            raise PaddingError(
                f'{location(self)}: found padding="SAME_LOWER" with strides={strides}; XLA computes '
                'it without strides only. Write padding="SAME", or padding=[(low, high), ...].'
            )
        return {"strides": strides, "padding": padding, "kernel_dilation": dilation}
