"""Masks: which keys a query may attend to.

A mask has the shape (batch..., heads, queries, keys), or one that broadcasts to it. Where it is
nonzero, the query may attend to the key. It is an array of numbers or of booleans; the functions
here make float32 unless they are told otherwise.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from linen_modules._cached_jit import cached_jit
from linen_modules.errors import MaskShapeError, location
from linen_modules.typing import Array, ArrayLike, DTypeLike

__all__ = ["combine_masks", "make_attention_mask", "make_causal_mask"]


def _multiply(queries: Array, keys: Array) -> Array:
    return jnp.multiply(queries, keys)


def make_attention_mask(
    query_input: ArrayLike,
    key_input: ArrayLike,
    pairwise_fn: Callable[..., Any] = jnp.multiply,
    extra_batch_dims: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Array:
    """Makes a mask from a number of each query and each key.

    With the default function, numbers are flags: a query may attend to a key if both are nonzero.
    With `jnp.equal` they are segments of packed sequences, with `jnp.greater_equal` positions.

    Args:
        query_input: shape (batch..., queries).
        key_input: shape (batch..., keys).
        pairwise_fn: what of two numbers gives the element of the mask; it is called with shapes
            (batch..., queries, 1) and (batch..., 1, keys).
        extra_batch_dims: how many axes of size one to put in front.
        dtype: the dtype of the mask.

    Returns:
        Shape (1, ..., batch..., 1, queries, keys); the axis of size one is that of the heads.

    >>> import jax.numpy as jnp
    >>> padding = jnp.array([1, 1, 0])
    >>> make_attention_mask(padding, padding, dtype=bool).astype(int)[0].tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    chosen = _multiply if pairwise_fn is jnp.multiply else pairwise_fn
    return _pairwise_mask(
        query_input, key_input, pairwise_fn=chosen, extra_batch_dims=extra_batch_dims, dtype=dtype
    )


@cached_jit()
def _pairwise_mask(
    query_input: ArrayLike,
    key_input: ArrayLike,
    *,
    pairwise_fn: Callable[..., Any] = _multiply,
    extra_batch_dims: int,
    dtype: DTypeLike,
) -> Array:
    pairs = pairwise_fn(jnp.expand_dims(query_input, -1), jnp.expand_dims(key_input, -2))
    pairs = jnp.expand_dims(pairs, (*range(extra_batch_dims), extra_batch_dims + pairs.ndim - 2))
    return pairs.astype(dtype)


def make_causal_mask(
    x: ArrayLike, extra_batch_dims: int = 0, dtype: DTypeLike = jnp.float32
) -> Array:
    """Makes a mask under which nothing attends to what comes later.

    Args:
        x: shape (batch..., length); only the shape matters.
        extra_batch_dims: how many axes of size one to put in front.
        dtype: the dtype of the mask.

    Returns:
        Shape (1, ..., batch..., 1, length, length).

    >>> import jax.numpy as jnp
    >>> make_causal_mask(jnp.zeros((1, 3)), dtype=int)[0, 0].tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    *batch, length = jnp.shape(x)
    batch_shape = (*[1] * extra_batch_dims, *batch)
    return _causal_mask(batch_shape=batch_shape, length=length, dtype=dtype)


@cached_jit()
def _causal_mask(*, batch_shape: tuple[int, ...], length: int, dtype: DTypeLike) -> Array:
    visible = visible_positions(length, length, is_causal=True)
    return jnp.broadcast_to(
        jnp.expand_dims(visible, range(len(batch_shape) + 1)), (*batch_shape, 1, length, length)
    ).astype(dtype)


def combine_masks(*masks: ArrayLike | None, dtype: DTypeLike = jnp.float32) -> Array | None:
    """Makes the mask under which a query attends to what it may attend to under every one.

    Args:
        *masks: masks of one rank, whose shapes broadcast to each other; None masks nothing.
        dtype: the dtype of the mask.

    Returns:
        A mask, or None if all are None. A single mask keeps its values, as far as `dtype` can
        hold them.

    Raises:
        MaskShapeError: if ranks differ or the shapes do not broadcast to each other.

    >>> import jax.numpy as jnp
    >>> combine_masks(jnp.array([[1, 1, 0]]), None, jnp.array([[0, 1, 1]])).tolist()
    [[0.0, 1.0, 0.0]]
    """
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    shapes = [jnp.shape(mask) for mask in given]
    try:
        fits = len({len(shape) for shape in shapes}) == 1
        np.broadcast_shapes(*shapes)
    except ValueError:
        fits = False
    if not fits:
        raise MaskShapeError(
            f"{location('combine_masks')}: found masks of shapes {', '.join(map(str, shapes))}; "
            "expected one rank and shapes that broadcast to each other. Write mask[None] or "
            "mask[:, None] to add an axis of size one."
        )
    return _all_of(*given, dtype=dtype)


@cached_jit()
def _all_of(*masks: ArrayLike, dtype: DTypeLike) -> Array:
    combined = jnp.asarray(masks[0])
    for mask in masks[1:]:
        combined = jnp.logical_and(combined, mask)
    return combined.astype(dtype)


def visible_positions(
    queries: int,
    keys: int,
    *,
    is_causal: bool = False,
    local_window_size: tuple[int, int] | None = None,
    first_query: ArrayLike = 0,
) -> Array:
    """Says which keys are visible by their positions, for use inside a compiled function.

    Args:
        queries: how many there are.
        keys: how many there are; the first has position 0.
        is_causal: whether a query sees no key after it.
        local_window_size: how many keys before and after it a query sees.
        first_query: the position of the first query.

    Returns:
        Booleans of shape (queries, keys).
    """
    # An integer for each pair: XLA computes it where it is compared and stores none of them.
    distance = jnp.expand_dims(jnp.arange(queries) + first_query, 1) - jnp.expand_dims(
        jnp.arange(keys), 0
    )
    visible = jnp.full((queries, keys), True)
    if is_causal:
        visible &= distance >= 0
    if local_window_size is not None:
        before, after = local_window_size
        visible &= (distance <= before) & (distance >= -after)
    return visible
