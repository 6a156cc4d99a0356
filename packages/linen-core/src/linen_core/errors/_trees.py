"""Errors of trees and state dicts."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from linen_core.errors._base import LinenError


class StructDefinitionError(LinenError, TypeError):
    """A class cannot be a struct as it is written: JAX could not rebuild it from its fields."""


class UnknownStructFieldError(LinenError, TypeError):
    """`replace` was given a name that is no field of the struct."""


class FrozenDictMutationError(LinenError, TypeError, ValueError):
    """An entry of a FrozenDict was set or deleted."""


class NotADictError(LinenError, TypeError):
    """A function over nested dicts was given something else."""


class TraverseTreeError(LinenError, ValueError):
    """A nested dict cannot be flattened, or a flat one does not describe a nested dict."""


class StateDictKeyError(LinenError, ValueError):
    """The keys of a state dict are not strings, or two keys have the same string form."""


class DuplicateSerializationError(LinenError, ValueError):
    """A type has a registered state dict already."""


class StateDictMismatch(NamedTuple):
    """One entry that does not fit between a state dict and its target.

    Attributes:
        kind: "missing" from the state, "unexpected" in the state, or "mismatched" (a leaf in the
            place of a container).
        path: the path of the entry, its parts joined by "/".
        found: what the state has there, in words.
        expected: what the target has there, in words.
    """

    kind: Literal["missing", "unexpected", "mismatched"]
    path: str
    found: str
    expected: str


class StateDictMismatchError(LinenError, ValueError):
    """A state dict does not have the structure of its target.

    Attributes:
        mismatches: every entry that does not fit, over the whole tree.
    """

    rows_shown: int = 20
    mismatches: tuple[StateDictMismatch, ...]

    def __init__(self, mismatches: Sequence[StateDictMismatch]) -> None:
        """Keep them all; the text shows the first `rows_shown`."""
        super().__init__(mismatches)
        self.mismatches = tuple(mismatches)

    def __str__(self) -> str:
        counts = Counter(entry.kind for entry in self.mismatches)
        total = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        rows = [
            f"  {kind:<10} {path}: found {found}, expected {expected}"
            for kind, path, found, expected in self.mismatches[: self.rows_shown]
        ]
        if len(self.mismatches) > self.rows_shown:
            rows.append(f"  ... and {len(self.mismatches) - self.rows_shown} more")
        return "\n".join(
            [
                f"The state dict does not fit its target ({total}):",
                *rows,
                "Give from_state_dict a target with the structure that was saved, or edit the state "
                "first (linen_core.traverse_util.flatten_dict and unflatten_dict).",
            ]
        )
