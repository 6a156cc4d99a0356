"""Errors of collections and streams that a body needs."""

from collections.abc import Iterable
from typing import Any

from linen_core.errors import LinenError, ScopeCollectionNotFound


class SplitRngsError(LinenError, ValueError):
    """A body draws from a stream that `split_rngs` does not name."""

    def __init__(self, name: str, stream: str, path: Iterable[str]) -> None:
        super().__init__(
            f"/{'/'.join(path)} draws from the random stream {stream!r} inside of {name}, whose "
            f"split_rngs does not name it. Write split_rngs={{{stream!r}: True}} for another key in "
            "every iteration, or False for the same one."
        )


class WithheldCollectionError(ScopeCollectionNotFound):
    """A body needs a collection that is there outside, but that no filter of the lift names."""

    def __init__(self, name: str, missing: ScopeCollectionNotFound) -> None:
        col = missing.collection
        self.path: tuple[str, ...] = missing.path
        self.collection: str = col
        self.name: str = missing.name
        remedy = {
            "vmap": f"variable_axes={{{col!r}: 0}}, or None for the axis if all entries share it",
            "scan": f"variable_axes={{{col!r}: 0}}, variable_broadcast={col!r} or "
            f"variable_carry={col!r}",
            "while_loop": f"broadcast_variables={col!r} or carry_variables={col!r}",
        }.get(name, f"a filter that matches {col!r} too")
        LinenError.__init__(
            self,
            f'/{"/".join(missing.path)} needs "{missing.name}" from collection "{col}", which is there '
            f"outside of {name} but not inside, since no filter of collections names it. "
            f"Write {remedy}.",
        )


class MappedVariablesError(LinenError, TypeError):
    """A function of variables gives no dict of collections."""

    def __init__(self, path: Iterable[str], which: str, found: Any) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the function that maps variables {which} must return a dict from collections to dicts of "
            f"variables, as the one it gets, but returned {found!r}."
        )
