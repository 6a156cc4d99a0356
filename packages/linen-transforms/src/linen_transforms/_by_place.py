"""Variables by place: the form in which gradients and tangents of variables are given to users.

The engine takes variables out in groups, with a dict of collections for each outermost scope. Users
see **places** instead: a pytree with one leaf for each scope they know, such as a single scope or a
list of them. The variables of a scope that lies below another one come with that one.
"""

from typing import Any, TypeAlias

import jax

from linen_core import Scope
from linen_transforms._pack import Cut

# For each outermost scope: its collections.
Group: TypeAlias = tuple[dict[str, Any], ...]


class ByPlace:
    """The way from groups to places and back.

    Args:
        cut: the scopes that were cut out.
        places: a pytree of scopes, with all outermost ones among them.
    """

    def __init__(self, cut: Cut, places: Any) -> None:
        scopes, self._structure = jax.tree.flatten(places)
        self._indices = [
            next(i for i, scope in enumerate(scopes) if is_same_place(scope, root))
            for root in cut.roots
        ]

    def join(self, group: Group) -> Any:
        """Give the variables of a group by place."""
        found: list[dict[str, Any]] = [{} for _ in range(self._structure.num_leaves)]
        for index, collections in zip(self._indices, group, strict=True):
            found[index] = collections
        return self._structure.unflatten(found)

    def split(self, variables: Any) -> Group:
        """Give variables that are there by place as a group."""
        found = self._structure.flatten_up_to(variables)
        return tuple(found[index] for index in self._indices)


def is_same_place(scope: Scope, other: Scope) -> bool:
    """Say whether two scopes are at one path of one tree."""
    return scope.is_same_tree(other) and scope.path == other.path


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Give the leaves of a tree by their paths, as text."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
