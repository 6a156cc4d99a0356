"""Guests: scopes at the place of another scope, for a second module that has its variables there.

A **guest** reads, creates and draws what its **host** does. A name belongs to one of the two: what the
guest reserves is reserved in the host as well, marked as the guest's. So each can use its own names
again once it has freed them, and neither can take a name of the other. Only what is sown goes together.
"""

from linen_core._place import Place
from linen_core._scope import Scope


class GuestScope(Scope):
    """A scope at the place of another one, with reservations of its own."""

    __slots__ = ("_host", "_mark")

    def __init__(self, host: Scope) -> None:
        """Move in at `host`."""
        for slot in (*Place.__slots__, *Scope.__slots__):
            if slot != "__weakref__":
                setattr(self, slot, getattr(host, slot))
        self._reservations = {}
        self._host = host._host if isinstance(host, GuestScope) else host
        self._mark = f"guest {id(self)}"

    def name_reserved(self, name: str, col: str | None = None) -> bool:
        """Say whether a name is taken, here or by others at this place.

        Args:
            name: the name.
            col: the collection that it is for; None asks for a submodule.

        Returns:
            True if it is.
        """
        kinds = self._host._reservations.get(name, {})
        cols = [col for col, kind in kinds.items() if kind != self._mark]
        if cols and (col is None or col in cols or None in cols):
            return True
        return super().name_reserved(name, col)

    def _reserve(self, name: str, col: str | None, kind: str) -> None:
        super()._reserve(name, col, kind)
        self._host._reservations.setdefault(name, {})[col] = self._mark

    def reserve_to_sow(self, name: str, col: str) -> None:
        """Take a name for values that are sown, by any module at this place.

        Args:
            name: the name.
            col: the collection that it is for.

        Raises:
            NameInUseError: the name is taken for something else.
        """
        self._host.reserve_to_sow(name, col)


def moved(scope: Scope, parent: Scope) -> Scope:
    """Give a scope of the same name below another one; it draws the keys that the old one would.

    Raises:
        NameInUseError: something else has the name there.
    """
    new = parent.push(scope.name)
    # flax.linen derives the keys of submodules from where they were first.
    new._known_streams = scope._streams
    return new


def vacate(scope: Scope) -> None:
    """Free the name of a scope whose module has moved. A guest has none."""
    parent, name = scope.parent, scope.name
    if parent is None or name is None or isinstance(scope, GuestScope):
        return
    for reserved in (parent, getattr(parent, "_host", parent)):
        reserved._reservations.get(name, {}).pop(None, None)
