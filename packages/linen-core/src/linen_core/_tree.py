"""What all scopes of one `init`, `apply` or `bind` have in common."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from linen_core._filters import CollectionFilter, in_filter
from linen_core._rehearsal import Rehearsal
from linen_core._sown import Sowing
from linen_core._trace import current_trace
from linen_core.errors import InvalidScopeError, JaxTransformError


class Tree:
    """Mutability, flags, validity and the JAX trace of a tree of scopes.

    Attributes:
        mutable: the filter of the collections that can be changed.
        flags: facts that code in any scope of the tree can ask for.
        is_valid: False from the moment that its `init` or `apply` has ended.
        rehearsal: what counts the draws, in a body whose draws count twice.
        constants: values of parameters that were made in this tree's trace and depend on no key.
        withheld: for streams that are there outside of a lifted transformation but not in this tree,
            what a draw from them raises, given the module path.
        guards: for places whose variables have more axes than code outside of a transformation sees,
            what creating or misreading one there or below raises, given the module path.
        sowable: a filter of further collections, in which nothing can be done but to sow.
        sown: what was sown into these, by collection.
    """

    __slots__ = (
        "_adopted",
        "_is_mutable",
        "_trace",
        "_warned",
        "constants",
        "flags",
        "guards",
        "is_valid",
        "mutable",
        "rehearsal",
        "sowable",
        "sown",
        "withheld",
    )

    def __init__(self, mutable: CollectionFilter, flags: Mapping[str, Any]) -> None:
        self.mutable = mutable
        self.flags = MappingProxyType(dict(flags))
        self.is_valid = True
        self.constants: dict[Any, Any] = {}
        self.rehearsal: Rehearsal | None = None
        self.sowable: CollectionFilter = False
        self.guards: dict[tuple[str, ...], Callable[[Sequence[str]], Exception]] = {}
        self.withheld: Mapping[str, Callable[[Sequence[str]], Exception]] = {}
        self.sown: dict[str, list[tuple[Sowing, Any]]] = {}
        self._adopted: WeakValueDictionary[int, Any] | None = None
        self._is_mutable: dict[str, bool] = {}
        self._trace = current_trace()
        self._warned: set[str] = set()

    @property
    def adopted(self) -> WeakValueDictionary[int, Any]:
        """From the id of a module that came from outside to the copy of it in this tree."""
        if self._adopted is None:
            self._adopted = WeakValueDictionary()
        return self._adopted

    def is_mutable_collection(self, col: str) -> bool:
        """Say whether the variables of a collection can be changed."""
        found = self._is_mutable.get(col)
        if found is None:
            found = self._is_mutable[col] = in_filter(self.mutable, col)
        return found

    def is_own_trace(self) -> bool:
        """Say whether the JAX trace that runs is the one that the tree was bound in."""
        return current_trace() == self._trace

    def check_valid(self, path: Sequence[str]) -> None:
        """Refuse to go on after the end."""
        if not self.is_valid:
            raise InvalidScopeError(path)

    def check_trace(self, path: Sequence[str], action: str) -> None:
        """Refuse a change of variables inside a JAX transformation that began later."""
        if not self.is_own_trace():
            raise JaxTransformError(path, action)

    def check_guards(self, path: tuple[str, ...]) -> None:
        """Refuse what goes around the transformation that guards a place."""
        for place, error in self.guards.items():
            if path[: len(place)] == place:
                raise error(path)

    def warn_once(self, text: str) -> None:
        """Warn, at the line outside this package, unless the same was said before."""
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=_user_stacklevel())


def _user_stacklevel() -> int:
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    return level
