"""What is done with mean and variance: centre, scale, and the learned affine map."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from linen_core import Module
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.errors import AxisError, MaskShapeError, location
from linen_modules.typing import Array, Axes, DTypeLike

__all__ = [
    "affine_parameters",
    "canonicalize_axes",
    "cast_statistics",
    "check_mask",
    "hashable_groups",
    "normalize",
    "optional_parameter",
]


def normalize(
    x: Array,
    mean: Array | None,
    variance: Array,
    scale: Array | None,
    bias: Array | None,
    *,
    feature_axes: Sequence[int],
    epsilon: float,
    dtype: DTypeLike | None,
) -> Array:
    """Computes ``(x - mean) / sqrt(variance + epsilon) * scale + bias``.

    Args:
        x: an array.
        mean: of the rank of x, as the variance; None is zero.
        variance: with an axis of size one where x was averaged.
        scale: of the shape of the feature axes, or None; as the bias.
        bias: is added last.
        feature_axes: the axes that have a scale and a bias of their own.
        epsilon: keeps the root away from zero.
        dtype: the dtype of the result; None infers it from x, scale and bias.

    Returns:
        An array of the shape of x.
    """
    dtype = canonicalize_dtype(x, scale, bias, dtype=dtype)
    others = [axis for axis in range(x.ndim) if axis not in feature_axes]
    factor = lax.rsqrt(variance + epsilon)
    if scale is not None:
        factor = factor * jnp.expand_dims(scale, others)
    y = (x if mean is None else x - mean) * factor
    if bias is not None:
        y = y + jnp.expand_dims(bias, others)
    return jnp.asarray(y, dtype)


def affine_parameters(module: Any, shape: tuple[int, ...]) -> tuple[Array | None, Array | None]:
    """Declares the scale and the bias of a normalising layer.

    Args:
        module: a layer with the fields use_scale, scale_init, use_bias, bias_init, param_dtype and
            force_float32_reductions.
        shape: the sizes of the feature axes.

    Returns:
        Scale and bias; None for one that the layer does not have.
    """
    return optional_parameter(module, "scale", shape), optional_parameter(module, "bias", shape)


def optional_parameter(module: Any, name: str, shape: tuple[int, ...]) -> Array | None:
    """Declares the scale or the bias of a normalising layer, if it has one."""
    if not getattr(module, f"use_{name}"):
        return None
    value = module.param(name, getattr(module, f"{name}_init"), shape, module.param_dtype)
    return value if module.force_float32_reductions else cast_statistics(module, value)


def cast_statistics(module: Any, value: Any) -> Any:
    """Brings a variable of a layer without `force_float32_reductions` to `param_dtype`."""
    return None if value is None else jnp.asarray(value, module.param_dtype)


def canonicalize_axes(
    module: Module,
    field: str,
    shape: Sequence[int],
    default: Axes = (),
    *,
    what: str = "an input",
) -> tuple[int, ...]:
    """Brings the axes in a field of a layer to ascending indices, each once.

    Args:
        module: the layer.
        field: the name of the field.
        shape: the shape of the array that has the axes.
        default: the axes if the field is None.
        what: what the array is, for the error.

    Raises:
        AxisError: if the array does not have one of them.
    """
    ndim, chosen = len(shape), getattr(module, field)
    axes: Axes = default if chosen is None else chosen
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    if not all(-ndim <= axis < ndim for axis in given):
        raise AxisError(
            f"{location(module)}: found {field}={axes} and {what} of shape {tuple(shape)}; "
            f"expected axes from {-ndim} to {ndim - 1}."
        )
    return tuple(sorted({axis % ndim for axis in given}))


def check_mask(mask: Array | None, shape: Sequence[int], module: Module) -> None:
    """Checks that a mask can be broadcast to the shape of the input.

    Raises:
        MaskShapeError: if it cannot.
    """
    if mask is None:
        return
    try:
        fits = np.broadcast_shapes(jnp.shape(mask), shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise MaskShapeError(
            f"{location(module)}: found a mask of shape {jnp.shape(mask)}; expected one that "
            f"broadcasts to the input's shape {tuple(shape)}. Write mask[..., None] if the axis of "
            "features is missing."
        )


def hashable_groups(
    groups: Sequence[Sequence[int]] | None,
) -> tuple[tuple[int, ...], ...] | None:
    """Brings `axis_index_groups` to tuples, so that the arithmetic can be cached."""
    return None if groups is None else tuple(map(tuple, groups))
