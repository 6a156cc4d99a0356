"""Convolutions whose kernel differs from place to place.

Arrays are channels-last: (batch dimensions..., spatial dimensions..., features), as in `conv`.
"""

import math
from collections.abc import Callable, Sequence

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
    geometry,
    merge_batch,
    pad_inputs,
    window_sizes,
)
from linen_modules._windows import Padding, output_sizes
from linen_modules.dtypes import promote_dtype
from linen_modules.errors import UnsupportedFieldError, location
from linen_modules.linear import default_kernel_init
from linen_modules.typing import (
    Array,
    ConvGeneralDilated,
    DTypeLike,
    Initializer,
    PaddingLike,
    PrecisionLike,
    PromoteDtype,
)

__all__ = ["ConvLocal", "conv_local"]


@cached_jit()
def conv_local(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    kernel_dilation: tuple[int, ...],
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
) -> Array:
    """Convolves channels-last arrays with a kernel for each place, and adds a bias for each.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., input features).
        kernel: shape (output's spatial dimensions..., input features * elements of the window,
            features); the window is the minor part of the axis before the last.
        bias: shape (output's spatial dimensions..., features), or None.
        mask: factors of the kernel, of its shape, or None.
        window: one size for each spatial dimension.
        strides: one number for each spatial dimension, as the two dilations.
        padding: as for `conv`.
        input_dilation: the distance of neighbouring inputs.
        kernel_dilation: the distance of neighbouring elements of the window.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings (inputs, kernel, bias) to one dtype.

    Returns:
        Shape (batch dimensions..., spatial dimensions..., features).

    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])[..., None]
    >>> options = dict(window=(2,), strides=(1,), input_dilation=(1,), kernel_dilation=(1,))
    >>> x = jnp.array([1.0, 2.0, 4.0, 8.0])[:, None]
    >>> conv_local(x, kernel, None, None, padding="VALID", **options)[:, 0].tolist()
    [1.0, 4.0, 12.0]
    """
    if mask is not None:
        kernel = kernel * mask
    batch_shape, inputs = merge_batch(inputs, len(window))
    inputs, padding = pad_inputs(inputs, window, kernel_dilation, padding)
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    outputs = lax.conv_general_dilated_local(
        inputs,
        kernel,
        strides,
        padding,
        filter_shape=window,
        lhs_dilation=input_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=channels_last(len(window)),
        precision=precision,
    )
    outputs = add_bias(outputs, bias)
    return outputs.reshape(*batch_shape, *outputs.shape[1:])


class ConvLocal(Module):
    """A convolution with a kernel and a bias of its own at each place of the output.

    Attributes:
        features: the number of output features.
        kernel_size: the window, one size for each spatial dimension; an int is a window over one
            spatial dimension.
        strides: the step of the window, one number or one for each spatial dimension.
        padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one spatial
            dimension only), one number for all sides, or for each spatial dimension a number or a
            pair (low, high).
        input_dilation: the distance of neighbouring inputs, one number or one for each spatial
            dimension.
        kernel_dilation: the distance of neighbouring elements of the window, likewise.
        feature_group_count: must be 1: groups have no local convolution in JAX.
        use_bias: whether to add a bias.
        mask: factors of the kernel, of its shape, for masked convolutions.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (output's spatial dimensions..., input features *
            elements of the window, features).
        bias_init: makes the bias, of shape (output's spatial dimensions..., features).
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        conv_general_dilated: must be None: there is no convolution with one kernel to replace.
        conv_general_dilated_cls: must be None, likewise.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.ConvLocal(features=4, kernel_size=(3, 2))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones((5, 8, 7, 6)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (8, 7, 4), 'kernel': (8, 7, 36, 4)}}
    >>> outputs.shape
    (5, 8, 7, 4)
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: PaddingLike = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Array | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros
    promote_dtype: PromoteDtype = promote_dtype
    conv_general_dilated: ConvGeneralDilated | None = None
    conv_general_dilated_cls: Callable[[], ConvGeneralDilated] | None = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Convolves.

        Args:
            inputs: shape (batch dimensions..., spatial dimensions..., input features). The spatial
                dimensions have the sizes that they had when the parameters were made.

        Returns:
            Shape (batch dimensions..., spatial dimensions..., features).

        Raises:
            UnsupportedFieldError: if `feature_group_count` is not 1, or `conv_general_dilated` or
                `conv_general_dilated_cls` is given.
            InputRankError: if the input has fewer axes than the window and the features need.
            PaddingError: if the padding is unknown or does not fit the window.
            WindowError: if strides or dilations do not fit the window.
            MaskShapeError: if the mask does not have the shape of the kernel.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        self._check_fields()
        window = window_sizes(self.kernel_size)
        options = geometry(self, len(window))
        check_rank(self, window, jnp.shape(inputs))
        *sizes, input_features = jnp.shape(inputs)[-len(window) - 1 :]
        places = output_sizes(sizes, window, **options)
        shape = (*places, input_features * math.prod(window), self.features)
        check_kernel_mask(self, shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (*places, self.features), self.param_dtype)
        return conv_local(
            inputs,
            kernel,
            bias,
            self.mask,
            window=window,
            **options,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
        )

    @nowrap
    def _check_fields(self) -> None:
        if self.feature_group_count != 1:
            raise UnsupportedFieldError(
                f"{location(self)}: found feature_group_count={self.feature_group_count}; expected "
                "1, as JAX has no local convolution of groups. Write one ConvLocal for each group "
                "and jnp.concatenate of their outputs."
            )
        for field in ("conv_general_dilated", "conv_general_dilated_cls"):
            if getattr(self, field) is not None:
                raise UnsupportedFieldError(
                    f"{location(self)}: found {field}={getattr(self, field)!r}; expected None, as "
                    "kernels that differ from place to place are no convolution that it could "
                    "compute. Write nn.Conv(...) for one kernel."
                )
