"""Whether the numbers of a state are finite, and which are not.

The *parameters* are what a state has under `params`, as an attribute or a key, or else all of it. They
have to be finite, each of them. Of what else there is (optimizer, collections, averages), arrays have
to be; scalars may be infinite by design, as the best value so far is before there is one, and so may
arrays that are so from the beginning: masks.
"""

import functools
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
        self._structure = jax.tree.structure(state)
        self._places = _places_of(state)
        self._infinite_by_design: frozenset[str] = frozenset()
        self._infinite_by_design = frozenset(
            path for path, (_, is_parameter) in self._bad(state).items() if not is_parameter
        )

    def first_bad_leaf(self, state: Any) -> tuple[str, str] | None:
        """Return path and value of the first leaf that is not finite, parameters first.

        The leaves are looked at on the device, and one boolean for each comes back.
        """
        bad = self._bad(state)
        path = next(iter(sorted(bad, key=lambda path: not bad[path][1])), None)
        return None if path is None else (path, bad[path][0])

    def _bad(self, state: Any) -> dict[str, tuple[str, bool]]:
        """Return the values that are not finite by path, and whether they are parameters."""
        leaves, structure = jax.tree.flatten(state)
        if structure != self._structure:  # paths are made once, not at each check
            self._structure, self._places = structure, _places_of(state)
        looked_at = [
            (path, is_parameter, leaf)
            for (path, is_parameter), leaf in zip(self._places, leaves, strict=True)
            if (is_parameter or np.ndim(leaf) > 0) and _is_inexact(_dtype(leaf))
        ]
        flags = np.asarray(_flags([leaf for *_, leaf in looked_at]))
        return {
            path: ("nan" if bool(jnp.isnan(leaf).any()) else "inf", is_parameter)
            for (path, is_parameter, leaf), is_finite in zip(looked_at, flags, strict=True)
            if not is_finite and path not in self._infinite_by_design
        }


def _places_of(state: Any) -> list[tuple[str, bool]]:
    """Return the path of each leaf, and whether it is a parameter."""
    has_params = _has_params(state)
    places: list[tuple[str, bool]] = []
    for keys, _ in jax.tree_util.tree_leaves_with_path(state):
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        path = path if has_params else f"state/{path}".rstrip("/")
        places.append((path, not has_params or path.partition("/")[0] == "params"))
    return places


@jax.jit
def _flags(leaves: list[jax.Array]) -> jax.Array:
    """Return for each leaf whether it is finite; bool[leaves]."""
    return (
        jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]) if leaves else jnp.zeros(0, bool)
    )


@functools.cache
def _is_inexact(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _has_params(state: Any) -> bool:
    if isinstance(state, Mapping):
        return "params" in state
    return getattr(state, "params", None) is not None
