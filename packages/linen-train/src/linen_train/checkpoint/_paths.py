"""Paths: the names of leaves.

The *path* of a leaf is the dict keys, field names and indices that lead to it, escaped and joined by
slashes: `params/Dense_0/kernel`, `opt_state/0/mu/Dense_0/kernel`. A *prefix* is a path, or the
beginning of one that ends before a slash; the empty prefix is the beginning of all.
"""

from collections.abc import Mapping
from typing import Any

import jax

from linen_train.errors import CheckpointLeafError

__all__ = ["ROOT", "flatten", "is_below", "nest", "replace_prefix"]

ROOT = "%root"  # of a state that is a leaf itself
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F"})
_NAMELESS = "%"


def flatten(tree: Any) -> tuple[dict[str, Any], Any]:
    """Return the leaves of a tree by path, and the structure that puts them together again.

    Raises:
        CheckpointLeafError: two leaves have the same path, or the keys of a dict have no order.
    """
    try:
        entries, structure = jax.tree_util.tree_flatten_with_path(tree)
    except (TypeError, ValueError) as error:
        raise CheckpointLeafError(
            f"found a container that JAX cannot take apart ({error}), expected dicts whose keys can "
            "be compared. Use text for all keys of a dict."
        ) from error
    leaves: dict[str, Any] = {}
    for keys, leaf in entries:
        parts = (jax.tree_util.keystr((key,), simple=True) for key in keys)
        path = "/".join([_escape(part) for part in parts]) or ROOT
        if path in leaves:
            raise CheckpointLeafError(
                f"{path}: found two leaves at this path, because two keys of one container are the "
                "same as text. Rename one of them."
            )
        leaves[path] = leaf
    return leaves, structure


def nest(leaves: Mapping[str, Any]) -> Any:
    """Return nested dicts with the leaves at their paths; every key is text."""
    if ROOT in leaves:
        return leaves[ROOT]
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = [_unescape(part) for part in path.split("/")]
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def is_below(path: str, prefix: str) -> bool:
    """Whether a path begins with a prefix."""
    return not prefix or path == prefix or path.startswith(f"{prefix}/")


def replace_prefix(path: str, prefix: str, replacement: str) -> str:
    """Return a path with another beginning."""
    rest = path[len(prefix) :].removeprefix("/")
    return "/".join(part for part in (replacement, rest) if part) or ROOT


def _escape(part: str) -> str:
    if "%" in part or "/" in part:
        return part.translate(_ESCAPES)
    return part or _NAMELESS


def _unescape(part: str) -> str:
    return "" if part == _NAMELESS else part.replace("%2F", "/").replace("%25", "%")
