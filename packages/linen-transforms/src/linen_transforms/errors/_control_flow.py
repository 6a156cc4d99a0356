"""Errors of loops and branches."""

from collections.abc import Iterable, Mapping
from typing import Any

from linen_core.errors import LinenError
from linen_transforms.errors._axes import SAME_KEY


class CarryMismatchError(LinenError, TypeError):
    """A carry changes its structure, shape or dtype."""

    def __init__(self, name: str, path: Iterable[str], rows: Mapping[str, tuple[str, str]]) -> None:
        table = "\n".join(f"  {where}: {a} -> {b}" for where, (a, b) in rows.items())
        is_new = any(w.startswith("variable") and a == "nothing" for w, (a, _) in rows.items())
        hint = (
            "\nA carried variable must exist before the loop: create it outside, or pass it with the "
            "variables."
        )
        super().__init__(
            f"/{'/'.join(path)}: the carry of {name} must come out of the body as it went in, but "
            f"these differ (in -> out):\n{table}{hint if is_new else ''}"
        )


class LoopOutputError(LinenError, TypeError):
    """The body of a loop returns no pair."""

    def __init__(self, name: str, path: Iterable[str], found: str) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the body of {name} must return a pair (carry, y), but returned "
            f"{found}. Write return carry, None if there is nothing to stack."
        )


class LoopInvariantError(LinenError, ValueError):
    """A broadcast value depends on the iteration."""

    def __init__(self, name: str, path: Iterable[str], what: str) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the {what} of {name} is broadcast, so it must be the same in every iteration, but it "
            "depends on the carry or on what is mapped over. Carry it, or give it an axis."
            + (SAME_KEY if what.startswith("variable") else "")
        )


class PredicateError(LinenError, TypeError):
    """What decides is no scalar, or of another dtype."""

    def __init__(
        self, name: str, path: Iterable[str], what: str, is_index: bool, found: Any
    ) -> None:
        kind, instead = (
            ("one integer", "Convert it, for example with .astype(int).")
            if is_index
            else ("one bool", "Write x.any() or x.all(), or jax.numpy.where(x, y, z) per element.")
        )
        super().__init__(
            f"/{'/'.join(path)}: {what} of {name} must be {kind}, but is {found}. {instead}"
        )


class BranchMismatchError(LinenError, TypeError):
    """Branches give results or variables of different forms, or there is no branch."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    @classmethod
    def of_forms(
        cls, name: str, path: Iterable[str], number: int, rows: Mapping[str, tuple[str, str]]
    ) -> "BranchMismatchError":
        """Say what differs between the first branch and another one."""
        table = "\n".join(f"  {where}: {a}, {b}" for where, (a, b) in rows.items())
        hint = (
            "\nA variable that only some branches create must exist before: create it outside, for "
            "example by calling what all branches need if self.is_initializing()."
        )
        return cls(
            f"/{'/'.join(path)}: the branches of {name} must give results and variables of the same "
            f"forms, but these differ (branch 0, branch {number}):\n{table}"
            f"{hint if any(where.startswith('variables') for where in rows) else ''}"
        )

    @classmethod
    def of_none(cls, name: str, path: Iterable[str]) -> "BranchMismatchError":
        """Say that there is no branch."""
        return cls(f"/{'/'.join(path)}: {name} got no branches. Pass at least one function.")
