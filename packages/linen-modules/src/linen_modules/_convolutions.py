"""What the convolutions share.

Batch dimensions, of which there may be none or several; paddings that XLA does not know; and the
checks of what a layer is given.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from linen_core import Module
from linen_modules._windows import (
    FOLLOWING_PADDINGS,
    XLA_PADDINGS,
    Padding,
    canonicalize_padding,
    per_dimension,
)
from linen_modules.errors import (
    FeatureSizeError,
    InputRankError,
    MaskShapeError,
    PaddingError,
    location,
)
from linen_modules.typing import Array

CONV_PADDINGS = (*XLA_PADDINGS, *FOLLOWING_PADDINGS)
"""The paddings of `Conv` and `ConvLocal` that have a name."""


def channels_last(spatial: int) -> lax.ConvDimensionNumbers:
    """Says that arrays are (batch, spatial..., features), kernels (window..., inputs, outputs)."""
    arrays = (0, spatial + 1, *range(1, spatial + 1))
    kernel = (spatial + 1, spatial, *range(spatial))
    return lax.ConvDimensionNumbers(arrays, kernel, arrays)


def merge_batch(inputs: Array, spatial: int) -> tuple[tuple[int, ...], Array]:
    """Gives the shape of the batch dimensions, and the array with one in their place."""
    batch_shape = inputs.shape[: inputs.ndim - spatial - 1]
    return batch_shape, inputs.reshape(math.prod(batch_shape), *inputs.shape[len(batch_shape) :])


def add_bias(outputs: Array, bias: Array | None) -> Array:
    """Adds a bias, if there is one, of the shape of the last axes."""
    if bias is None:
        return outputs
    return outputs + jnp.expand_dims(bias, range(outputs.ndim - bias.ndim))


def pad_inputs(
    inputs: Array, window: Sequence[int], dilation: Sequence[int], padding: Padding
) -> tuple[Array, Padding]:
    """Carries out the paddings that XLA does not know; returns what is left for it to do."""
    reach = [d * (size - 1) for size, d in zip(window, dilation, strict=True)]
    around = [(0, 0), *((r // 2, r - r // 2) for r in reach), (0, 0)]
    match padding:
        case "CIRCULAR":
            inputs = jnp.pad(inputs, around, mode="wrap")
        case "REFLECT":
            inputs = jnp.pad(inputs, around, mode="reflect")
        case "CAUSAL":
            inputs = jnp.pad(inputs, [(0, 0), (reach[0], 0), (0, 0)])
        case "SAME" | "SAME_LOWER" | tuple():
            return inputs, padding
    return inputs, ((0, 0),) * len(reach)


def window_sizes(kernel_size: int | Sequence[int]) -> tuple[int, ...]:
    """Brings `kernel_size` to one size for each spatial dimension."""
    return (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)


def geometry(layer: Any, spatial: int) -> dict[str, Any]:
    """Brings strides, dilations and padding of a layer to tuples for `spatial` dimensions.

    Raises:
        PaddingError: if the padding is unknown or does not fit the window.
        WindowError: if strides or dilations do not fit the window.
    """
    padding = canonicalize_padding(layer.padding, spatial, layer, CONV_PADDINGS)
    if padding == "CAUSAL" and spatial != 1:
        raise PaddingError(
            f'{location(layer)}: found padding="CAUSAL" with {spatial} spatial dimensions; '
            "expected one. Write kernel_size=(3,), or padding=[(low, high), ...] with high=0 "
            "for the dimension that is time."
        )
    fields = ("strides", "input_dilation", "kernel_dilation")
    steps = {field: per_dimension(getattr(layer, field), spatial, layer, field) for field in fields}
    if padding in ("SAME", "SAME_LOWER") and any(d != 1 for d in steps["input_dilation"]):
        raise PaddingError(
            f"{location(layer)}: found padding={layer.padding!r} with input_dilation="
            f"{steps['input_dilation']}; XLA computes it for undilated inputs only. Write "
            "padding=[(low, high), ...], for example (size - 1) on both sides of a window."
        )
    return {"padding": padding, **steps}


def check_rank(layer: Module, window: Sequence[int], input_shape: Sequence[int]) -> None:
    """Checks that an input has spatial dimensions and features.

    Raises:
        InputRankError: if it has too few axes.
    """
    if len(input_shape) < len(window) + 1:
        raise InputRankError(
            f"{location(layer)}: found an input of shape {tuple(input_shape)}; expected "
            f"{len(window)} spatial dimensions, as kernel_size={tuple(window)} has, and an axis of "
            "features. Write inputs[..., None] if the axis of features is missing."
        )


def check_groups(layer: Any, input_features: int) -> None:
    """Checks that the features of input and output divide into the groups of a layer.

    Raises:
        FeatureSizeError: if they do not.
    """
    groups = layer.feature_group_count
    for features, whose in ((input_features, "the input"), (layer.features, "the output")):
        if features % groups:
            raise FeatureSizeError(
                f"{location(layer)}: found {features} features in {whose}; expected a multiple "
                f"of feature_group_count={groups}. Write feature_group_count="
                f"{math.gcd(input_features, layer.features)} or a divisor of it."
            )


def check_kernel_mask(layer: Any, kernel_shape: tuple[int, ...]) -> None:
    """Checks that the mask of a layer, if it has one, masks its kernel.

    Raises:
        MaskShapeError: if it has another shape.
    """
    if layer.mask is not None and jnp.shape(layer.mask) != kernel_shape:
        raise MaskShapeError(
            f"{location(layer)}: found a mask of shape {jnp.shape(layer.mask)}; expected that of "
            f"the kernel, {kernel_shape}. Write mask=jnp.ones({kernel_shape}) to mask nothing."
        )
