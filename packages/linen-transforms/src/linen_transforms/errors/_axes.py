"""Errors of mapped axes and of their names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linen_core.errors import LinenError

SAME_KEY = (
    " A new variable is the same everywhere if split_rngs is False for the stream that it is drawn "
    "from."
)
"""The advice for a variable that differs between entries and should not."""


class AxisSizeError(LinenError, ValueError):
    """Axes that do not exist, or differ in size, or are missing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    @classmethod
    def of_nothing(cls, name: str, argument: str) -> "AxisSizeError":
        """Say that no argument has an axis to map over."""
        return cls(
            f"{name}: there is nothing to map over, so the number of iterations is not known. "
            f"Pass {argument}=..., or an argument or a collection with an axis."
        )

    @classmethod
    def of_sizes(cls, name: str, sizes: Mapping[str, int]) -> "AxisSizeError":
        """Say that mapped axes differ in size."""
        by_size: dict[int, list[str]] = {}
        for where, size in sizes.items():
            by_size.setdefault(size, []).append(where)
        rows = "\n".join(f"  {size}: {_first(names)}" for size, names in by_size.items())
        return cls(f"{name}: the mapped axes have different sizes:\n{rows}")

    @classmethod
    def of_axis(cls, name: str, where: str, axis: Any, shape: Iterable[Any]) -> "AxisSizeError":
        """Say that something has no such axis."""
        sizes = ", ".join(map(str, shape))
        unmapped = "None" if name.endswith("vmap") else "linen_core.broadcast"
        hint = "" if isinstance(axis, int) else f" Write {unmapped} for what is not sliced."
        return cls(f"{name}: {where} has the shape [{sizes}], and so no axis {axis}.{hint}")

    @classmethod
    def of_variables(cls, name: str, filter_: Any, axis: Any) -> "AxisSizeError":
        """Say that the axis of a collection is none."""
        hint = (
            f"variable_broadcast={filter_!r} for variables that all iterations share, and "
            f"variable_carry={filter_!r} for those that change"
            if name == "scan"
            else "None for variables that all entries share"
        )
        return cls(
            f"{name}: variable_axes has {axis!r} for {filter_!r}, which is no axis. Write an integer; "
            f"{hint}."
        )

    @classmethod
    def of_shared(cls, name: str, where: Sequence[str]) -> "AxisSizeError":
        """Say that what has no axis is not the same for all entries."""
        return cls(
            f"{name}: {_first(where)} depends on the entry, but has None for its axis, which is for what "
            "all entries share. Give it an axis in out_axes or variable_axes."
            + (SAME_KEY if any(each.startswith("variable") for each in where) else "")
        )

    @classmethod
    def of_structure(cls, name: str, where: str, axes: Any, structure: Any) -> "AxisSizeError":
        """Say that axes are no prefix of what they are for."""
        return cls(
            f"{name}: the axes {axes} do not fit the structure of the {where}, which is {structure}. "
            "Give one axis for all of it, or a tree of axes that is a prefix of it."
        )


def _first(names: Sequence[str], number: int = 3) -> str:
    more = f" and {len(names) - number} more" if len(names) > number else ""
    return ", ".join(names[:number]) + more


class AxisNamesError(LinenError, ValueError):
    """Axis names are not what they should be."""

    @classmethod
    def of_two(cls, path: Iterable[str], name: str, known: Any, new: Any) -> "AxisNamesError":
        """Say that a variable is given other names than it has."""
        return cls(
            f'/{"/".join(path)}: the axes of "{name}" are called {known} in the variables, but {new} '
            "here. Initialize the model again, or use the names that it was initialized with."
        )

    @classmethod
    def of_axis(cls, where: str, axis: int, name: Any, names: Any) -> "AxisNamesError":
        """Say that the axis that a transformation maps over has another name."""
        return cls(
            f"The axis {axis} of variables in {where} must be called {name!r}, since that is "
            f"what the transformation calls the axis that it maps over, but the names are {names}."
        )

    @classmethod
    def of_leaf(cls, leaf: Any) -> "AxisNamesError":
        """Say that something is no axis metadata."""
        return cls(
            "get_axis_names takes a collection of AxisMetadata, such as "
            f'variables["params_axes"], but found {leaf!r} in it.'
        )


class OutsideModuleError(LinenError):
    """Named axes are used where no method of a module runs."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is called where no method of a module runs, so it does not know whose variable "
            "it is. Call it in `setup` or in a @compact method, or pass module=..."
        )
