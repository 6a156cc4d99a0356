"""Whether the numbers of a state are finite, and which are not.

The *parameters* are what a state has under `params`, as an attribute or a key, or else all of it. They
have to be finite, each of them. Of what else there is (optimizer, collections, averages), arrays have
to be; scalars may be infinite by design, as the best value so far is before there is one, and so may
arrays that are so from the beginning: masks.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["FiniteCheck"]


class FiniteCheck:
    """Looks at the states of one run.

    Args:
        state: the state that the run begins with.
    """

    def __init__(self, state: Any) -> None:
        self._has_params = _has_params(state)
        self._infinite_by_design: frozenset[str] = frozenset()
        bad = self._bad(state)
        self._infinite_by_design = frozenset(path for path in bad if not self._is_parameter(path))

    def first_bad_leaf(self, state: Any) -> tuple[str, str] | None:
        """Return path and value of the first leaf that is not finite, parameters first.

        The leaves are looked at on the device, and two booleans for each come back.
        """
        bad = self._bad(state)
        path = next(iter(sorted(bad, key=lambda path: not self._is_parameter(path))), None)
        return None if path is None else (path, bad[path])

    def _bad(self, state: Any) -> dict[str, str]:
        """Return the values that are not finite by path."""
        leaves: dict[str, Any] = {}
        for keys, leaf in jax.tree_util.tree_leaves_with_path(state):
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            path = path if self._has_params else f"state/{path}".rstrip("/")
            is_looked_at = self._is_parameter(path) or np.ndim(leaf) > 0
            if jnp.issubdtype(_dtype(leaf), jnp.inexact) and is_looked_at:
                leaves[path] = leaf
        flags = np.asarray(_flags(list(leaves.values())))
        return {
            path: "nan" if has_nan else "inf"
            for path, (is_finite, has_nan) in zip(leaves, flags, strict=True)
            if not is_finite and path not in self._infinite_by_design
        }

    def _is_parameter(self, path: str) -> bool:
        return not self._has_params or path.partition("/")[0] == "params"


@jax.jit
def _flags(leaves: list[jax.Array]) -> jax.Array:
    """Return for each leaf whether it is finite, and whether it has a NaN; bool[leaves, 2]."""
    rows = [jnp.stack([jnp.isfinite(leaf).all(), jnp.isnan(leaf).any()]) for leaf in leaves]
    return jnp.stack(rows) if rows else jnp.zeros((0, 2), bool)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _has_params(state: Any) -> bool:
    if isinstance(state, Mapping):
        return "params" in state
    return getattr(state, "params", None) is not None
