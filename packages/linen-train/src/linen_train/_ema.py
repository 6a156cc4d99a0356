"""Exponential moving averages of parameters.

The average starts at the initial parameters, so it needs no correction of a start at zero. It is kept
in float32 where parameters have fewer bits: with a decay of 0.999 an average in bfloat16 would not
move at all.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["averaged", "like_parameters", "start_of"]


def start_of(params: Any) -> Any:
    """Return the average before the first step, in arrays of its own."""

    # A copy, so that a state can be donated: no buffer may be in it twice.
    def copied(leaf: Any) -> jax.Array:
        return jnp.array(leaf, dtype=_dtype_of_average(leaf), copy=True)

    return jax.tree.map(copied, params)


def averaged(average: Any, params: Any, decay: float) -> Any:
    """Return the average after one more update; what is no float takes the newest value."""
    newest = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), params, average)
    moved = optax.incremental_update(newest, average, 1.0 - decay)
    return jax.tree.map(lambda one, other: one if _is_float(other) else other, moved, newest)


def like_parameters(average: Any, params: Any) -> Any:
    """Return the average in the dtypes of the parameters."""
    return jax.tree.map(lambda leaf, like: leaf.astype(jnp.asarray(like).dtype), average, params)


def _dtype_of_average(leaf: Any) -> Any:
    dtype = jnp.asarray(leaf).dtype
    return jnp.promote_types(dtype, jnp.float32) if _is_float(leaf) else dtype


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)
