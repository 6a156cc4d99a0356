"""Whether numbers are finite, and which are not."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["first_bad_leaf"]


def first_bad_leaf(state: Any) -> tuple[str, str] | None:
    """Return path and value of the first parameter that is not finite; None if all are.

    The parameters are what the state has under `params`, as an attribute or a key, or else all of it.
    They are looked at on the device, and one boolean for each comes back.
    """
    params, prefix = _parameters(state)
    with_paths = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if jnp.issubdtype(_dtype(leaf), jnp.inexact)
    ]
    flags = np.asarray(_flags([leaf for _, leaf in with_paths]))
    for (path, _), (is_finite, has_nan) in zip(with_paths, flags, strict=True):
        if not is_finite:
            parts = (prefix, jax.tree_util.keystr(path, simple=True, separator="/"))
            return "/".join(part for part in parts if part), "nan" if has_nan else "inf"
    return None


@jax.jit
def _flags(leaves: list[jax.Array]) -> jax.Array:
    """Return for each leaf whether it is finite, and whether it has a NaN; bool[leaves, 2]."""
    rows = [jnp.stack([jnp.isfinite(leaf).all(), jnp.isnan(leaf).any()]) for leaf in leaves]
    return jnp.stack(rows) if rows else jnp.zeros((0, 2), bool)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _parameters(state: Any) -> tuple[Any, str]:
    if isinstance(state, Mapping) and "params" in state:
        return state["params"], "params"
    params = getattr(state, "params", None)
    return (state, "state") if params is None else (params, "params")
