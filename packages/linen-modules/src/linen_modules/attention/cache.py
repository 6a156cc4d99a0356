"""The cache of decoding: keys and values of the tokens so far.

The collection "cache" has the variables `cached_key` and `cached_value`, of shape
(batch..., max_length, heads, depth), and `cache_index`, the number of tokens so far. `init` makes
them, empty, with the length of its inputs. Each call then appends one token or several, such as all
of a prompt, and its queries see all tokens up to themselves.

A call with more tokens than there is room for is an error, if `cache_index` is a concrete number.
Inside `jax.jit` it is not, and nothing can be raised: there the new tokens take the place of the last
ones. Count the tokens where the calls are made.
"""

from dataclasses import dataclass
from typing import Any

import jax.core
import jax.numpy as jnp
from jax import lax

from linen_core import Module, Variable
from linen_modules._cached_jit import cached_jit
from linen_modules.attention.checks import check_broadcast
from linen_modules.attention.masks import visible_positions
from linen_modules.errors import CacheOverflowError, CacheShapeError, location
from linen_modules.typing import Array

__all__ = ["DecodingCache", "declare_cache", "update_cache"]


@dataclass(frozen=True)
class DecodingCache:
    """The variables of a layer that decodes.

    Attributes:
        layer: the layer.
        key: the variable `cached_key`.
        value: the variable `cached_value`.
        index: the variable `cache_index`.
    """

    layer: Module
    key: Variable[Array]
    value: Variable[Array]
    index: Variable[Array]

    def append(
        self,
        query: Array,
        key: Array,
        value: Array,
        mask: Array | None,
        *,
        local_window_size: tuple[int, int] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Adds tokens.

        Args:
            query: shape (batch..., tokens, heads, depth).
            key: shape (batch..., tokens, heads of the keys, depth).
            value: of the shape of the keys.
            mask: nonzero where a query may attend to a key; it broadcasts to
                (batch..., heads, tokens, max_length).
            local_window_size: how many keys before it a query sees; it sees no later one.

        Returns:
            All keys, all values, and the mask of shape (batch..., 1 or heads, tokens, max_length)
            with which to attend to them.

        Raises:
            CacheShapeError: if the tokens do not have the shape the cache was made for.
            MaskShapeError: if the mask does not broadcast.
            CacheOverflowError: if there is no room for the tokens.
        """
        self._check(query, key, value)
        max_length = self.key.value.shape[-3]
        weights = (*query.shape[:-3], query.shape[-2], query.shape[-3], max_length)
        check_broadcast(self.layer, weights, mask=mask)
        self.key.value, self.value.value, self.index.value, mask = update_cache(
            self.key.value,
            self.value.value,
            self.index.value,
            key,
            value,
            mask,
            local_window_size=local_window_size,
        )
        return self.key.value, self.value.value, mask

    def _check(self, query: Array, key: Array, value: Array) -> None:
        *batch, max_length, heads, depth = jnp.shape(self.key.value)
        tokens = key.shape[-3] if key.ndim >= 3 else 0
        expected = (*batch, tokens, heads, depth)
        values = (*batch, tokens, *jnp.shape(self.value.value)[-2:])
        queries = (*batch, tokens, *query.shape[-2:])
        if (query.shape, key.shape, value.shape) != (queries, expected, values):
            raise CacheShapeError(
                f"{location(self.layer)}: found queries, keys and values of shapes {query.shape}, "
                f"{key.shape} and {value.shape}, and a cache of shape "
                f"{jnp.shape(self.key.value)}; expected the batch, heads and depth of the cache and "
                "as many queries as keys. Write model.init(key, inputs of the batch and the length "
                "to decode) for a cache that fits."
            )
        self._check_room(tokens, max_length)

    def _check_room(self, tokens: int, max_length: int) -> None:
        index: Any = self.index.value
        known = not isinstance(index, jax.core.Tracer)
        used = int(index) if known else 0
        if used + tokens > max_length:
            so_far = f"{used} tokens so far" if known else "an unknown number of tokens"
            raise CacheOverflowError(
                f"{location(self.layer)}: found {tokens} tokens for a cache of {max_length} with "
                f"{so_far}; expected at most {max_length - used}. Write model.init(key, inputs of "
                "the whole length to decode) for a longer cache."
            )


def declare_cache(layer: Module, key: Array, value: Array) -> DecodingCache | None:
    """Declares the variables of a layer that decodes.

    Args:
        layer: the layer whose variables they are.
        key: decides shape and dtype of the cache, if there is none yet.
        value: likewise.

    Returns:
        The cache; None in the call that makes it, in which there is nothing to decode from.
    """
    ready = layer.has_variable("cache", "cached_key")
    cache = DecodingCache(
        layer,
        layer.variable("cache", "cached_key", jnp.zeros, key.shape, key.dtype),
        layer.variable("cache", "cached_value", jnp.zeros, value.shape, value.dtype),
        layer.variable("cache", "cache_index", lambda: jnp.array(0, dtype=jnp.int32)),
    )
    return cache if ready else None


@cached_jit()
def update_cache(
    cached_key: Array,
    cached_value: Array,
    index: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    *,
    local_window_size: tuple[int, int] | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Writes keys and values behind those of earlier tokens.

    Args:
        cached_key: shape (batch..., max_length, heads, depth).
        cached_value: likewise.
        index: how many tokens there are.
        key: shape (batch..., tokens, heads, depth).
        value: likewise.
        mask: nonzero where a query may attend to a key; it broadcasts to
            (batch..., heads, tokens, max_length).
        local_window_size: how many keys before it a query sees.

    Returns:
        The new keys, values and index, and the mask joined with what each query may see by its
        position, as float32. Beyond the end, tokens take the place of the last ones.
    """
    axis = cached_key.ndim - 3
    tokens, max_length = key.shape[axis], cached_key.shape[axis]
    visible = visible_positions(
        tokens,
        max_length,
        is_causal=True,
        local_window_size=local_window_size,
        first_query=index,
    )
    visible = jnp.expand_dims(visible, range(axis + 1))
    visible = jnp.broadcast_to(visible, (*cached_key.shape[:axis], *visible.shape[axis:]))
    if mask is not None:
        mask = jnp.expand_dims(mask, range(visible.ndim - mask.ndim))
        visible = jnp.logical_and(mask, visible)
    return (
        lax.dynamic_update_slice_in_dim(cached_key, key.astype(cached_key.dtype), index, axis),
        lax.dynamic_update_slice_in_dim(
            cached_value, value.astype(cached_value.dtype), index, axis
        ),
        index + tokens,
        visible.astype(jnp.float32),
    )
