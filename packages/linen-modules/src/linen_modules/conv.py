"""Convolutions.

Arrays are channels-last: (batch dimensions..., spatial dimensions..., features). The kernel's
window decides how many spatial dimensions there are; every dimension before them is a batch
dimension, and there may be none.

Beyond the paddings of XLA there are three that follow the input: "CIRCULAR" continues it
periodically, "REFLECT" mirrors it at its ends, and "CAUSAL", for one spatial dimension, puts all
padding before it, so that an output depends on no later input.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit, choose_operator
from linen_modules._convolutions import (
    add_bias,
    channels_last,
    check_groups,
    check_kernel_mask,
    check_rank,
    geometry,
    merge_batch,
    pad_inputs,
    window_sizes,
)
from linen_modules._windows import Padding
from linen_modules.dtypes import promote_dtype
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

__all__ = ["Conv", "conv"]


@cached_jit()
def conv(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    kernel_dilation: tuple[int, ...],
    feature_group_count: int = 1,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
    conv_general_dilated: ConvGeneralDilated = lax.conv_general_dilated,
) -> Array:
    """Convolves channels-last arrays with one kernel and adds a bias.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., input features).
        kernel: shape (window..., input features / feature_group_count, features).
        bias: shape (features,), or None.
        mask: factors of the kernel, of its shape, or None.
        strides: one number for each spatial dimension, as the two dilations.
        padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", or (low, high) for
            each spatial dimension.
        input_dilation: the distance of neighbouring inputs.
        kernel_dilation: the distance of neighbouring elements of the kernel.
        feature_group_count: how many groups the features are split into.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings (inputs, kernel, bias) to one dtype.
        conv_general_dilated: the operator that convolves.

    Returns:
        Shape (batch dimensions..., spatial dimensions..., features).

    >>> import jax.numpy as jnp
    >>> kernel = jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    >>> options = dict(strides=(1,), input_dilation=(1,), kernel_dilation=(1,))
    >>> conv(jnp.arange(4.0)[:, None], kernel, None, None, padding="CIRCULAR", **options)[:, 0].tolist()
    [103.0, 210.0, 321.0, 32.0]
    """
    spatial = kernel.ndim - 2
    if mask is not None:
        kernel = kernel * mask
    batch_shape, inputs = merge_batch(inputs, spatial)
    inputs, padding = pad_inputs(inputs, kernel.shape[:spatial], kernel_dilation, padding)
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    outputs = conv_general_dilated(
        inputs,
        kernel,
        strides,
        padding,
        lhs_dilation=input_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=channels_last(spatial),
        feature_group_count=feature_group_count,
        precision=precision,
    )
    outputs = add_bias(outputs, bias)
    return outputs.reshape(*batch_shape, *outputs.shape[1:])


class Conv(Module):
    """A convolution over the spatial dimensions of channels-last arrays.

    Attributes:
        features: the number of output features.
        kernel_size: the window, one size for each spatial dimension; an int is a window over one
            spatial dimension.
        strides: the step of the window, one number or one for each spatial dimension.
        padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one spatial
            dimension only), one number for all sides, or for each spatial dimension a number or a
            pair (low, high).
        input_dilation: the distance of neighbouring inputs, one number or one for each spatial
            dimension; above 1 it makes a transposed convolution with that stride.
        kernel_dilation: the distance of neighbouring elements of the kernel, likewise; above 1 it
            makes a dilated ("atrous") convolution.
        feature_group_count: how many groups the features are split into. Each group of outputs
            sees one group of inputs; as many groups as input features is a depthwise convolution.
        use_bias: whether to add a bias.
        mask: factors of the kernel, of its shape, for masked convolutions.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (window..., input features / groups, features).
        bias_init: makes the bias, of shape (features,).
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        conv_general_dilated: replaces `jax.lax.conv_general_dilated`.
        conv_general_dilated_cls: makes the replacement of `jax.lax.conv_general_dilated`, for one
            with variables of its own; takes precedence over `conv_general_dilated`.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Conv(features=4, kernel_size=(3, 3), strides=2)
    >>> images = jnp.ones((5, 28, 28, 1))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), images)
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (4,), 'kernel': (3, 3, 1, 4)}}
    >>> outputs.shape, layer.apply(variables, images[0]).shape
    ((5, 14, 14, 4), (14, 14, 4))
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
            inputs: shape (batch dimensions..., spatial dimensions..., input features).

        Returns:
            Shape (batch dimensions..., spatial dimensions..., features).

        Raises:
            InputRankError: if the input has fewer axes than the window and the features need.
            FeatureSizeError: if a number of features does not divide into the groups.
            PaddingError: if the padding is unknown or does not fit the window.
            WindowError: if strides or dilations do not fit the window.
            MaskShapeError: if the mask does not have the shape of the kernel.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        window = window_sizes(self.kernel_size)
        options = geometry(self, len(window))
        check_rank(self, window, jnp.shape(inputs))
        input_features = jnp.shape(inputs)[-1]
        check_groups(self, input_features)
        shape = (*window, input_features // self.feature_group_count, self.features)
        check_kernel_mask(self, shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return conv(
            inputs,
            kernel,
            bias,
            self.mask,
            **options,
            feature_group_count=self.feature_group_count,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
            conv_general_dilated=choose_operator(
                self.conv_general_dilated_cls, self.conv_general_dilated, lax.conv_general_dilated
            ),
        )
