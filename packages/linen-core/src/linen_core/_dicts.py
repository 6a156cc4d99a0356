"""Nested dicts, the form that variables have, and trees around them, with the order of their keys."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax

from linen_core._frozen_dict import FrozenDict


def copy_dicts(tree: Any) -> Any:
    """Copy the dicts of a tree of dicts, so that changes in the copy do not reach the original.

    Every mapping becomes a dict; what is in the mappings is not copied.
    """
    if not isinstance(tree, Mapping):
        return tree
    return {key: copy_dicts(value) for key, value in tree.items()}


def map_in_order(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Map the leaves of a pytree, as `jax.tree.map` does, but in the order of the dicts' keys.

    Dicts keep their type and their order, and their keys need not be sortable.
    """
    if type(tree) in (list, tuple):
        return type(tree)(map_in_order(fn, item) for item in tree)
    if isinstance(tree, FrozenDict):
        return FrozenDict({key: map_in_order(fn, value) for key, value in tree.items()})
    if isinstance(tree, dict):
        mapped = copy.copy(tree)
        for key, value in tree.items():
            mapped[key] = map_in_order(fn, value)
        return mapped
    return jax.tree.map(fn, tree)
