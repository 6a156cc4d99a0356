"""Rotary embeddings: positions as rotations of queries and keys.

Pairs of features are rotated by an angle that grows with the position, at a rate of its own for each
pair. The product of a query and a key then depends on the distance of their positions only.
"""

from typing import Protocol

import jax.numpy as jnp

from linen_core import Module
from linen_modules._cached_jit import cached_jit
from linen_modules.errors import AttentionShapeError, FeatureSizeError, InputRankError, location
from linen_modules.typing import Array, ArrayLike

__all__ = ["RotaryFunction", "check_even_depth", "rotary_embedding"]


class RotaryFunction(Protocol):
    """Rotates queries or keys by their positions, such as `rotary_embedding`."""

    def __call__(self, x: Array, positions: Array, /) -> Array:
        """Rotates.

        Args:
            x: queries or keys, of shape (batch..., length, heads, depth).
            positions: integers of shape (length,).

        Returns:
            An array of the shape of x.
        """
        ...


def rotary_embedding(
    x: Array, positions: ArrayLike, *, base: float = 10_000.0, interleaved: bool = False
) -> Array:
    """Rotates queries or keys by their positions.

    Pair i of n is rotated by the angle ``positions * base ** (-i / n)``. Angles are computed in
    float32 at least.

    Args:
        x: queries or keys, of shape (batch..., length, heads, depth).
        positions: shape (length,), or (batch..., length).
        base: what the slowest angle depends on; larger for longer contexts.
        interleaved: which features are a pair: 2i and 2i + 1, or, by default, i and i + depth / 2.

    Returns:
        An array of the shape and dtype of x.

    Raises:
        InputRankError: if x has fewer than three axes.
        FeatureSizeError: if the depth is odd.
        AttentionShapeError: if the positions do not fit x.

    References:
        Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer: enhanced transformer with rotary position
        embedding", 2021.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    >>> rotary_embedding(x, jnp.array([0, jnp.pi / 2])).round().astype(int).tolist()
    [[[1, 0]], [[0, 1]]]
    """
    shape, where = jnp.shape(x), "rotary_embedding"
    if len(shape) < 3:
        raise InputRankError(
            f"{location(where)}: found x of shape {shape}; expected (batch..., length, heads, "
            "depth). Write x[..., None, :] for a single head."
        )
    check_even_depth(where, shape[-1])
    if jnp.shape(positions) not in (shape[-3:-2], shape[:-2]):
        raise AttentionShapeError(
            f"{location(where)}: found positions of shape {jnp.shape(positions)} for x of shape "
            f"{shape}; expected {shape[-3:-2]} or {shape[:-2]}. Write jnp.arange({shape[-3]})."
        )
    return _rotate(x, positions, base=base, interleaved=interleaved)


def check_even_depth(where: Module | str, depth: int) -> None:
    """Checks that the features of a head are pairs.

    Raises:
        FeatureSizeError: if their number is odd.
    """
    if depth % 2:
        raise FeatureSizeError(
            f"{location(where)}: found heads with {depth} features; expected an even number, of "
            f"which pairs are rotated. Write a number of heads, or features, that makes it "
            f"{depth + 1}."
        )


@cached_jit()
def _rotate(x: Array, positions: ArrayLike, *, base: float, interleaved: bool) -> Array:
    x, positions = jnp.asarray(x), jnp.asarray(positions)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    pairs = x.shape[-1] // 2
    rates = jnp.power(jnp.asarray(base, dtype), -jnp.arange(pairs, dtype=dtype) / pairs)
    positions = jnp.expand_dims(positions, range(x.ndim - 2 - positions.ndim)).astype(dtype)
    angles = jnp.expand_dims(positions, (-1, -2)) * jnp.expand_dims(rates, range(x.ndim - 1))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    axis = -1 if interleaved else -2
    pair_shape = (*x.shape[:-1], *((pairs, 2) if interleaved else (2, pairs)))
    first, second = jnp.moveaxis(x.astype(dtype).reshape(pair_shape), axis, 0)
    rotated = jnp.stack([first * cos - second * sin, first * sin + second * cos], axis)
    return rotated.reshape(x.shape).astype(x.dtype)
