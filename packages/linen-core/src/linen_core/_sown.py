"""Sowing, and how what is sown leaves a lifted transformation.

To *sow* is to store a value in a collection if somebody asked for that, by making it mutable.

The body of a lifted transformation may sow into a collection that the transformation does not know
what to do with: nobody has named it, so its variables are not there, and none can be made. What is
sown is not lost, though. Each value is noted down with its place and, once it has left the
transformation, is sown again outside: with an axis more, if the transformation maps.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from linen_core._filters import in_filter

if TYPE_CHECKING:
    from linen_core._scope import Scope


class Sowing(NamedTuple):
    """Where and how a value is sown."""

    path: tuple[str, ...]
    name: str
    reduce_fn: Callable[[Any, Any], Any]
    init_fn: Callable[[], Any]


@jax.tree_util.register_pytree_node_class
class Sown:
    """The values that were sown into one collection, in order: the data of a pytree.

    Args:
        sowings: where and how; paths begin at the place where the values leave.
        values: the values.
    """

    __slots__ = ("sowings", "values")

    def __init__(self, sowings: Sequence[Sowing], values: Sequence[Any]) -> None:
        self.sowings = tuple(sowings)
        self.values = tuple(values)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Sowing, ...]]:
        """Take the values apart from what is static."""
        return self.values, self.sowings

    @classmethod
    def tree_unflatten(cls, sowings: tuple[Sowing, ...], values: Sequence[Any]) -> "Sown":
        """Put them together."""
        return cls(sowings, values)


def sow(scope: "Scope", col: str, sowing: Sowing, value: Any) -> bool:
    """Sow a value at a place, and say whether it was stored or noted down.

    Raises:
        NameInUseError: the name is taken for something else.
        JaxTransformError: called inside a raw JAX transformation.
    """
    if scope.is_mutable_collection(col):
        name = sowing.name
        scope.reserve_to_sow(name, col)
        has_values = scope.has_variable(col, name)
        values = scope.get_variable(col, name) if has_values else sowing.init_fn()
        scope.put_variable(col, name, sowing.reduce_fn(values, value))
        return True
    tree = scope._tree
    if in_filter(tree.sowable, col):
        scope.reserve_to_sow(sowing.name, col)
        tree.check_trace(scope.debug_path, f'sows "{sowing.name}" into the collection "{col}"')
        tree.sown.setdefault(col, []).append((sowing, value))
        return True
    return False


def sown_below(scope: "Scope") -> dict[str, Sown]:
    """Give what was noted down at a place and below, by collection."""
    found: dict[str, Sown] = {}
    depth, place = len(scope.debug_path), scope.debug_path
    for col, entries in scope._tree.sown.items():
        here = [entry for entry in entries if entry[0].path[:depth] == place]
        sowings = [sowing._replace(path=sowing.path[depth:]) for sowing, _ in here]
        if here:
            found[col] = Sown(sowings, [value for _, value in here])
    return found


def sow_again(scope: "Scope", col: str, sown: Sown) -> None:
    """Sow at a place, and below, what has left a transformation."""
    for sowing, value in zip(sown.sowings, sown.values, strict=True):
        place = scope
        for name in sowing.path:
            place = place.push(name, reuse=True)
        sow(place, col, sowing._replace(path=place.debug_path), value)
