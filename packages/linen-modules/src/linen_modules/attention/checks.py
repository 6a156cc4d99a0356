"""What the arrays of attention must have in common."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from linen_core import Module
from linen_modules.errors import (
    AttentionShapeError,
    HeadCountError,
    InputRankError,
    MaskShapeError,
    WindowError,
    location,
)
from linen_modules.typing import ArrayLike

__all__ = ["check_broadcast", "check_heads", "canonicalize_window"]

Shape = tuple[int, ...]


def check_heads(
    where: Module | str,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike | None = None,
    *,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> None:
    """Checks the shapes of queries, keys and values that are split into heads.

    Args:
        where: the layer or the function that was called.
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        value: shape (batch..., keys, as many heads as the keys have, value depth), or None.
        bias: broadcasts to (batch..., heads, queries, keys), as the mask.
        mask: broadcasts to that shape.

    Raises:
        InputRankError: if an array has fewer than three axes.
        AttentionShapeError: if ranks, batches, lengths, depths, or the heads of keys and values
            differ, or the bias does not broadcast.
        HeadCountError: if the heads of the keys do not divide those of the queries.
        MaskShapeError: if the mask does not broadcast.
    """
    arrays = {"query": query, "key": key} | ({} if value is None else {"value": value})
    shapes = {name: jnp.shape(array) for name, array in arrays.items()}
    q, k, v = shapes["query"], shapes["key"], shapes.get("value", shapes["key"])
    found = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
    if min(len(shape) for shape in shapes.values()) < 3:
        raise InputRankError(
            f"{location(where)}: found {found}; expected shapes (batch..., length, heads, depth). "
            "Write x[..., None, :] for a single head."
        )
    if not (len(q) == len(k) == len(v) and q[:-3] == k[:-3] == v[:-3] and k[:-1] == v[:-1]):
        raise AttentionShapeError(
            f"{location(where)}: found {found}; expected one batch shape, and keys and values of "
            "one length and one number of heads. Write jnp.broadcast_to for a batch that is shared."
        )
    if q[-1] != k[-1]:
        raise AttentionShapeError(
            f"{location(where)}: found {found}; expected queries and keys of one depth, the last "
            "axis. Write nn.DenseGeneral((heads, depth)) with one depth for both."
        )
    if k[-2] == 0 or q[-2] % k[-2]:
        raise HeadCountError(
            f"{location(where)}: found {q[-2]} heads of queries and {k[-2]} of keys; expected as "
            "many, or a divisor, each head of the keys serving a group of queries."
        )
    weights = (*q[:-3], q[-2], q[-3], k[-3])
    check_broadcast(where, weights, bias=bias, mask=mask)


def check_broadcast(
    where: Module | str,
    weights: Shape,
    *,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> None:
    """Checks that bias and mask broadcast to the weights of shape (batch..., heads, queries, keys).

    Raises:
        AttentionShapeError: if the bias does not.
        MaskShapeError: if the mask does not.
    """
    for name, array, error in (
        ("bias", bias, AttentionShapeError),
        ("mask", mask, MaskShapeError),
    ):
        if array is not None and not _broadcasts(jnp.shape(array), weights):
            raise error(
                f"{location(where)}: found a {name} of shape {jnp.shape(array)}; expected one that "
                f"broadcasts to (batch..., heads, queries, keys), here {weights}. Write "
                f"{name}[:, None] if the axis of heads is missing."
            )


def _broadcasts(shape: Shape, target: Shape) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def canonicalize_window(
    where: Module | str, window: int | Sequence[int] | None
) -> tuple[int, int] | None:
    """Brings a local window to a pair: how many keys before and after a query it sees.

    Raises:
        WindowError: if it is neither one number nor two, or one is negative.
    """
    if window is None:
        return None
    sizes = (window, window) if isinstance(window, int) else tuple(window)
    if len(sizes) != 2 or min(sizes) < 0:
        raise WindowError(
            f"{location(where)}: found local_window_size={window}; expected how many keys a query "
            "sees on either side, one number or (before, after), not negative. Write "
            "local_window_size=(128, 0) for the 128 keys before it and its own."
        )
    return sizes[0], sizes[1]
