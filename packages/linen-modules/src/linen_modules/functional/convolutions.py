"""Convolutions, as functions of a scope."""

from collections.abc import Sequence

import jax.numpy as jnp

from linen_core import Scope
from linen_modules import initializers
from linen_modules.conv import Conv
from linen_modules.conv_transpose import ConvTranspose
from linen_modules.linear import default_kernel_init
from linen_modules.typing import Array, DTypeLike, Initializer, PaddingLike, PrecisionLike

__all__ = ["conv", "conv_transpose"]


def conv(
    scope: Scope,
    inputs: Array,
    features: int,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "SAME",
    input_dilation: int | Sequence[int] | None = None,
    kernel_dilation: int | Sequence[int] | None = None,
    feature_group_count: int = 1,
    bias: bool = True,
    dtype: DTypeLike | None = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Convolves: `linen_modules.Conv` in a scope.

    Args:
        scope: where the parameters "kernel" and "bias" are.
        inputs: shape (batch dimensions..., spatial dimensions..., input features).
        features: the number of output features.
        kernel_size: the window, one size for each spatial dimension.
        strides: the step of the window, one number or one for each spatial dimension; None is 1.
        padding: as in `Conv`.
        input_dilation: the distance of neighbouring inputs, like strides.
        kernel_dilation: the distance of neighbouring elements of the kernel, like strides.
        feature_group_count: how many groups the features are split into.
        bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (window..., input features / groups, features).
        bias_init: makes the bias, of shape (features,).

    Returns:
        Shape (batch dimensions..., spatial dimensions..., features).

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        FeatureSizeError: if a number of features does not divide into the groups.
        PaddingError: if the padding is unknown or does not fit the window.
        WindowError: if strides or dilations do not fit the window.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, variables = init(conv)(jax.random.key(0), jnp.ones((2, 8, 3)), 4, (5,))
    >>> y.shape, variables["params"]["kernel"].shape
    ((2, 8, 4), (5, 3, 4))
    """
    return Conv(
        features,
        kernel_size,
        strides=strides,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )(inputs)


def conv_transpose(
    scope: Scope,
    inputs: Array,
    features: int,
    kernel_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] | None = None,
    bias: bool = True,
    dtype: DTypeLike | None = jnp.float32,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Convolves inputs that are `strides` apart: `linen_modules.ConvTranspose` in a scope.

    Args:
        scope: where the parameters "kernel" and "bias" are.
        inputs: shape (batch dimensions..., spatial dimensions..., input features).
        features: the number of output features.
        kernel_size: the window, one size for each spatial dimension.
        strides: how far apart the inputs are, one number or one for each spatial dimension; None
            is 1.
        padding: as in `ConvTranspose`.
        kernel_dilation: the distance of neighbouring elements of the kernel, like strides.
        bias: whether to add a bias.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape (window..., input features, features).
        bias_init: makes the bias, of shape (features,).

    Returns:
        Shape (batch dimensions..., spatial dimensions..., features).

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        PaddingError: if the padding is unknown or does not fit the window.
        WindowError: if strides or dilations do not fit the window.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> init(conv_transpose)(jax.random.key(0), jnp.ones((2, 8, 3)), 4, (5,), strides=2)[0].shape
    (2, 16, 4)
    """
    return ConvTranspose(
        features,
        kernel_size,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        use_bias=bias,
        dtype=dtype,
        precision=precision,
        kernel_init=kernel_init,
        bias_init=bias_init,
        parent=scope,
    )(inputs)
