"""Nested dicts, the form that variables have."""

from collections.abc import Mapping
from typing import Any


def copy_dicts(tree: Any) -> Any:
    """Copy the dicts of a tree of dicts, so that changes in the copy do not reach the original.

    Every mapping becomes a dict; what is in the mappings is not copied.
    """
    if not isinstance(tree, Mapping):
        return tree
    return {key: copy_dicts(value) for key, value in tree.items()}
