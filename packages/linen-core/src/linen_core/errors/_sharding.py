"""Errors of partitioned variables, meshes and logical axis rules."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from linen_core.errors._base import LinenError, listed


def _quoted(names: Iterable[Any]) -> str:
    """Write axis names as a tuple, as they are written in code."""
    return str(tuple(names)).replace("'", '"')


class PartitioningUnspecifiedError(LinenError, ValueError):
    """A transformation adds or removes an axis of a partitioned variable and does not name it."""

    def __init__(self, names: Sequence[Any], params: Mapping[Any, Any]) -> None:
        """Give the axes of the box and the parameters that lack a name."""
        super().__init__(
            f"A transformation adds or removes an axis of a variable that is partitioned over the "
            f"axes {_quoted(names)}, but metadata_params does not name that axis: found "
            f'{dict(params)}. Write metadata_params={{PARTITION_NAME: "layers"}} in the call of the '
            'transformation, with the name of your axis in place of "layers", or None for an axis '
            "that is not partitioned."
        )


class PartitionNameMismatchError(LinenError, ValueError):
    """A transformation removes an axis from a box that has another axis in its place."""

    def __init__(self, names: Sequence[Any], index: int, expected: Any) -> None:
        """Give the axes of the box, and the name that is expected at a position."""
        found = repr(names[index]) if -len(names) <= index < len(names) else "no axis"
        super().__init__(
            f"A transformation removes axis {index} of a partitioned variable: expected the name "
            f"{expected!r} there, found {found} in {_quoted(names)}. Give the transformation the "
            "metadata_params and the variable axes with which the variable was made."
        )


class PartitionRankError(LinenError, ValueError):
    """A partition spec names more axes than its array has."""

    def __init__(self, spec: Sequence[Any], shape: Sequence[int]) -> None:
        """Give the spec and the shape of the array."""
        super().__init__(
            f"{_quoted(spec)} names {len(spec)} axes, but the array has shape {tuple(shape)}, "
            f"which is {len(shape)}. Write one name, or None, for each axis of the array."
        )


class MeshAxisNotFoundError(LinenError, ValueError):
    """A partition spec names an axis that the mesh does not have."""

    def __init__(self, unknown: Iterable[Any], spec: Sequence[Any], axes: Sequence[Any]) -> None:
        """Give the names that are not found, the spec they are in and the axes of the mesh."""
        names = ", ".join(map(repr, sorted(unknown, key=str)))
        super().__init__(
            f"The mesh has no axis {names}: found the partition spec {_quoted(spec)}, expected names "
            f"among {_quoted(axes)}. If they are logical names, box the variable with "
            "with_logical_partitioning and map them to mesh axes, for example with "
            'logical_axis_rules([("embed", None), ("mlp", "model")]).'
        )


class DuplicateMeshAxisError(LinenError, ValueError):
    """A partition spec splits two axes of an array over the same mesh axis."""

    def __init__(self, repeated: Iterable[Any], spec: Sequence[Any]) -> None:
        """Give the mesh axes that are repeated, and the spec they are in."""
        super().__init__(
            f"The mesh axes {listed(repeated)} split more than one axis of the same array: found the "
            f"partition spec {_quoted(spec)}, expected each mesh axis at most once. Write None for "
            "the axes of the array that are not split."
        )


class LogicalNamesError(LinenError, TypeError, ValueError):
    """Something that is no sequence of axis names was given as one."""

    def __init__(self, found: Any) -> None:
        """Name what was given."""
        super().__init__(
            f"Axis names are a tuple with a string or None for each axis of an array, but got "
            f'{found!r}. Write, for example, ("embed", None).'
        )


class DuplicateLogicalNameError(LinenError, ValueError):
    """Two axes of one array have the same logical name."""

    def __init__(self, repeated: Iterable[str], names: Sequence[Any]) -> None:
        """Give the repeated names and all names of the array."""
        super().__init__(
            f"The names {listed(repeated)} stand for more than one axis of the same array, which "
            f"could not both be mapped: found {_quoted(names)}. Give each axis a name of its own, "
            "and rules for both."
        )


class LogicalAxisRulesError(LinenError, TypeError, ValueError):
    """Something that is no sequence of rules was given as logical axis rules."""

    @classmethod
    def no_sequence(cls, found: Any) -> Self:
        """Make the error for rules that are no sequence at all."""
        instead = "tuple(rules.items())" if isinstance(found, Mapping) else _EXAMPLE
        return cls(
            "Logical axis rules are a list or tuple of pairs, the first that fits is used, but got "
            f"{found!r}. Write {instead}."
        )

    @classmethod
    def no_rule(cls, position: int, found: Any) -> Self:
        """Make the error for one entry that is no rule."""
        return cls(
            f"Logical axis rule {position} must be a pair of a logical name and a mesh axis, a tuple "
            f"of mesh axes or None, but is {found!r}. Write {_EXAMPLE}."
        )


_EXAMPLE = '[("embed", None), ("mlp", "model")]'


class UnknownLogicalAxisError(LinenError, ValueError):
    """A logical axis name is mapped by no rule, where that was asked for."""

    def __init__(self, unmapped: Sequence[tuple[str, str, str]], known: Iterable[str]) -> None:
        """Give each unmapped name as (what has it, name, reason), and the names of the rules."""
        names = list(dict.fromkeys(known))
        lines = [f"  {where}: {name!r}, {reason}" for where, name, reason in unmapped[:20]]
        if len(unmapped) > 20:
            lines.append(f"  ... and {len(unmapped) - 20} more")
        missing = unmapped[0][1]
        close = difflib.get_close_matches(missing, names, 1)
        hint = f" Did you mean {close[0]!r}?" if close and close[0] != missing else ""
        super().__init__(
            "\n".join(
                [
                    "Logical axis names that no rule maps to the mesh:",
                    *lines,
                    f"The rules know {listed(names)}.{hint} Add a rule such as ({missing!r}, "
                    f'"model"), or ({missing!r}, None) to leave the axis whole.',
                ]
            )
        )


class LogicalConstraintError(LinenError, ValueError):
    """A tree of axis names does not fit the tree of arrays that it is for."""

    def __init__(self, names: Any, arrays: Any) -> None:
        """Give the tree of names, and the structure of the arrays."""
        super().__init__(
            f"The axis names {names!r} do not fit the arrays: found {arrays}. Write a tuple of names "
            'for each array, as in with_logical_constraint({"q": q, "k": k}, {"q": ("batch", "heads"), '
            '"k": ("batch", "heads")}), or one tuple for all of them.'
        )
