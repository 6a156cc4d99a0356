"""Pooling: one number for each window of a channels-last array.

Arrays are (batch dimensions..., spatial dimensions..., features); the window has one size for each
spatial dimension, every dimension before them is a batch dimension, and there may be none.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from linen_modules._cached_jit import cached_jit
from linen_modules._windows import canonicalize_padding, per_dimension
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.errors import InputRankError
from linen_modules.typing import Array, ArrayLike, PaddingLike

__all__ = ["avg_pool", "max_pool", "min_pool", "pool"]


@cached_jit("window_shape", "strides", "padding")
def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """Takes the greatest element of each window.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., features).
        window_shape: one size for each spatial dimension.
        strides: one number, or one for each spatial dimension; None is 1.
        padding: "SAME", "SAME_LOWER", "VALID", one number for all sides, or for each spatial
            dimension a number or a pair (low, high). What is padded is below every element.

    Returns:
        Shape (batch dimensions..., windows..., features).

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        WindowError: if the strides do not fit the window.
        PaddingError: if the padding is unknown or does not fit the window.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.array([1.0, 3.0, 2.0, 0.0])[:, None], (2,), (2,))[:, 0].tolist()
    [3.0, 2.0]
    """
    return pool(inputs, _extreme(inputs.dtype, -1), lax.max, window_shape, strides, padding)


@cached_jit("window_shape", "strides", "padding")
def min_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """Takes the least element of each window.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., features).
        window_shape: one size for each spatial dimension.
        strides: one number, or one for each spatial dimension; None is 1.
        padding: as for `max_pool`; what is padded is above every element.

    Returns:
        Shape (batch dimensions..., windows..., features).

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        WindowError: if the strides do not fit the window.
        PaddingError: if the padding is unknown or does not fit the window.

    >>> import jax.numpy as jnp
    >>> min_pool(jnp.array([1.0, 3.0, 2.0, 0.0])[:, None], (2,), (2,))[:, 0].tolist()
    [1.0, 0.0]
    """
    return pool(inputs, _extreme(inputs.dtype, 1), lax.min, window_shape, strides, padding)


@cached_jit("window_shape", "strides", "padding", "count_include_pad")
def avg_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """Takes the mean of each window.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., features); integers are
            promoted with float32.
        window_shape: one size for each spatial dimension.
        strides: one number, or one for each spatial dimension; None is 1.
        padding: as for `max_pool`; what is padded is zero.
        count_include_pad: whether the padded zeros count as elements of a window.

    Returns:
        Shape (batch dimensions..., windows..., features), in the dtype of the inputs.

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        WindowError: if the strides do not fit the window.
        PaddingError: if the padding is unknown or does not fit the window.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([2.0, 4.0, 6.0])[:, None]
    >>> avg_pool(x, (2,), padding="SAME")[:, 0].tolist()
    [3.0, 5.0, 3.0]
    >>> avg_pool(x, (2,), padding="SAME", count_include_pad=False)[:, 0].tolist()
    [3.0, 5.0, 6.0]
    """
    inputs = jnp.asarray(inputs, canonicalize_dtype(inputs))
    sums = pool(inputs, 0.0, lax.add, window_shape, strides, padding)
    if count_include_pad:
        return sums / math.prod(window_shape)
    spatial = len(window_shape)
    ones = jnp.ones(
        (1,) * (inputs.ndim - spatial - 1) + inputs.shape[-spatial - 1 : -1] + (1,), inputs.dtype
    )
    return sums / pool(ones, 0.0, lax.add, window_shape, strides, padding)


def pool(
    inputs: Array,
    init: ArrayLike,
    reduce_fn: Callable[[Any, Any], Any],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """Reduces each window with a function of one's own.

    The sums, maxima and minima of windows have derivatives; other reductions have none, even if
    `reduce_fn` has.

    Args:
        inputs: shape (batch dimensions..., spatial dimensions..., features).
        init: where every reduction starts, and what is padded.
        reduce_fn: an associative function of two elements.
        window_shape: one size for each spatial dimension.
        strides: one number, or one for each spatial dimension; None is 1.
        padding: as for `max_pool`.

    Returns:
        Shape (batch dimensions..., windows..., features).

    Raises:
        InputRankError: if the input has fewer axes than the window and the features need.
        WindowError: if the strides do not fit the window.
        PaddingError: if the padding is unknown or does not fit the window.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.array([2.0, 4.0, 6.0])[:, None]
    >>> pool(x, 1.0, jax.lax.mul, (2,))[:, 0].tolist()
    [8.0, 24.0]
    """
    spatial = len(window_shape)
    batch_shape = inputs.shape[: max(inputs.ndim - spatial - 1, 0)]
    if inputs.ndim < spatial + 1:
        raise InputRankError(
            f"pool: found an input of shape {inputs.shape}; expected {spatial} spatial dimensions, "
            f"as window_shape={tuple(window_shape)} has, and an axis of features. "
            "Write inputs[..., None] if the axis of features is missing."
        )
    outer = (1,) * len(batch_shape)
    padding = canonicalize_padding(padding, spatial, "pool")
    if not isinstance(padding, str):
        padding = (*((0, 0) for _ in outer), *padding, (0, 0))
    return lax.reduce_window(
        inputs,
        init,
        reduce_fn,
        window_dimensions=(*outer, *window_shape, 1),
        window_strides=(*outer, *per_dimension(strides, spatial, "pool", "strides"), 1),
        padding=padding,
    )


def _extreme(dtype: Any, sign: int) -> float | int:
    """Returns the number that every element is below (sign 1) or above (sign -1)."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return sign * math.inf
    return jnp.iinfo(dtype).max if sign > 0 else jnp.iinfo(dtype).min
