"""Axes that a mesh does not have: in an argument, in the box of a variable, or in a rule.

The core refuses them one array at a time, and knows neither the argument nor the variable that names
them. Here each is said with its place, all of them at once, and with the line to write instead.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from jax.sharding import Mesh

from linen_core import (
    LogicallyPartitioned,
    get_logical_axis_rules,
    is_axis_metadata,
    logical_to_mesh_axes,
)
from linen_train.errors import DistributedArgumentError, MeshAxisError

LogicalRules: TypeAlias = Sequence[tuple[str, str | Sequence[str] | None]]
_SHOWN = 20


def named_by(call: str, argument: str, axis: str | Iterable[str], mesh: Mesh) -> tuple[str, ...]:
    """Return the axes of a mesh that an argument names.

    Raises:
        DistributedArgumentError: the mesh is none, or the argument is no name and no sequence.
        MeshAxisError: the mesh lacks an axis, or one is named twice.
    """
    shape = getattr(mesh, "shape", None)
    if not isinstance(shape, Mapping):
        raise DistributedArgumentError(no_mesh(call, mesh))
    if not isinstance(axis, str | Iterable):
        raise DistributedArgumentError(
            f"{call}: found {argument}={axis!r:.80}, expected the name of an axis of the mesh, or "
            f"several. Write {argument}={_code(_nearest('', shape))}."
        )
    names = (axis,) if isinstance(axis, str) else tuple(axis)
    known = [name for name in names if isinstance(name, str) and name in shape]
    if len(set(known)) < len(names):
        raise MeshAxisError(
            f"{call}: found {argument}={_code(axis)}, expected axes of the mesh, each once; it has "
            f"{_code(tuple(shape))}. Write {argument}={_code(_named_instead(names, known, shape))}."
        )
    return names


def _named_instead(
    names: Sequence[Any], known: Sequence[str], axes: Iterable[str]
) -> str | tuple[str, ...]:
    nearest = [name if name in known else _nearest(name, axes) for name in names]
    return as_entry([axis for axis in dict.fromkeys(nearest) if axis is not None])


def no_mesh(call: str, found: Any) -> str:
    """Say that a mesh is none."""
    return (
        f"{call}: found mesh={found!r:.80}, expected a jax.sharding.Mesh with devices. Write "
        "mesh=make_mesh(data=-1)."
    )


def as_entry(axes: Sequence[str]) -> str | tuple[str, ...]:
    """Return the entry of a spec that names some axes of a mesh; one of them by itself."""
    return axes[0] if len(axes) == 1 else tuple(axes)


def axes_of(entry: Any) -> list[str]:
    """Return the mesh axes that an entry of a spec names."""
    axes = entry if isinstance(entry, tuple) else (entry,)
    return [axis for axis in axes if isinstance(axis, str)]


@dataclasses.dataclass(frozen=True)
class _Box:
    """A box that leads to axes that the mesh does not have.

    Attributes:
        path: where the variable stands.
        names: the names in the box.
        absent: the axes that the mesh does not have.
        rules: the rules that map the names to them; none if there are none.
        is_logical: whether the names are logical ones.
    """

    path: str
    names: tuple[Any, ...]
    absent: tuple[str, ...]
    rules: tuple[tuple[str, Any], ...]
    is_logical: bool

    def line(self) -> str:
        """Say what this variable names."""
        absent, names = ", ".join(map(_code, self.absent)), _code(self.names)
        if not self.is_logical:
            return f"  {self.path}: {absent} in the box {names}"
        if not self.rules:
            return f"  {self.path}: {absent} in the box {names}, with no rules for logical names"
        return f"  {self.path}: {absent} by the rules for the box {names}"


def absent_text(
    call: str, leaves: Iterable[tuple[Sequence[str], Any]], mesh: Mesh, rules: LogicalRules | None
) -> str:
    """Say which variables lead to axes that a mesh does not have; nothing if none does.

    Args:
        call: the function that was called.
        leaves: variables with their paths; boxes are leaves.
        mesh: the mesh.
        rules: logical axis rules; None for those in use.
    """
    found = [_box("/".join(path), leaf, mesh, rules) for path, leaf in leaves]
    boxes = [box for box in found if box is not None and box.absent]
    if not boxes:
        return ""
    lines = [box.line() for box in boxes[:_SHOWN]]
    if len(boxes) > _SHOWN:
        lines.append(f"  ... and {len(boxes) - _SHOWN} more")
    return "\n".join(
        [
            f"{call}: these variables name axes that the mesh does not have; it has "
            f"{_code(mesh.axis_names)}:",
            *lines,
            *_advice(boxes, mesh.axis_names),
        ]
    )


def _box(path: str, leaf: Any, mesh: Mesh, rules: LogicalRules | None) -> _Box | None:
    if not hasattr(leaf, "get_partition_spec"):
        return None
    names, used, is_logical = tuple(leaf.get_partition_spec()), (), False
    if isinstance(leaf, LogicallyPartitioned) or not is_axis_metadata(leaf):
        in_use = get_logical_axis_rules() if rules is None else rules
        used, is_logical = _as_tuples(getattr(leaf, "rules", None) or in_use), True
    is_mapped = is_logical and (used or rules is not None)
    spec = logical_to_mesh_axes(names, used) if is_mapped else names
    absent = [axis for entry in spec or () for axis in axes_of(entry) if axis not in mesh.shape]
    return _Box(path, names, tuple(absent), used, is_logical)


def _as_tuples(rules: LogicalRules) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, tuple(entry) if isinstance(entry, list) else entry) for name, entry in rules
    )


def _advice(boxes: Sequence[_Box], axes: Sequence[str]) -> Iterator[str]:
    """Yield the line to write for each way to name an axis that there is not."""
    if bare := [box for box in boxes if box.is_logical and not box.rules]:
        yield (
            f"Map the names to axes of the mesh: rules={_code(_rules_for(bare, axes))}, with None "
            "for what is to stay whole."
        )
    for old, new in _rules_instead(boxes, axes):
        yield f"Write the rule {_code(new)}, or {_code((new[0], None))}, in place of {_code(old)}."
    if direct := next((box for box in boxes if not box.is_logical), None):
        rules = _rules_for([direct], axes)
        names = tuple(dict(rules).get(name, name) for name in direct.names)
        yield (
            f"with_partitioning takes axes of the mesh: write {_code(names)} for {direct.path}, or "
            f"with_logical_partitioning(..., {_code(direct.names)}) and rules={_code(rules)}."
        )


def _rules_for(boxes: Sequence[_Box], axes: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return rules for all names in boxes, with a mesh axis at most once for each box."""
    rules: dict[str, str | None] = {}
    for box in boxes:
        names = [name for entry in box.names for name in axes_of(entry)]
        taken = {rules.get(name) for name in names} | {name for name in names if name in axes}
        for name in names:
            if name not in rules:
                free = [axis for axis in axes if axis not in taken]
                rules[name] = name if name in axes else _nearest(name, free)
                taken.add(rules[name])
    return list(rules.items())


def _rules_instead(
    boxes: Sequence[_Box], axes: Sequence[str]
) -> Iterator[tuple[tuple[Any, Any], tuple[Any, Any]]]:
    """Yield each rule with an axis that there is not, and one to put in its place."""
    absent = {axis for box in boxes if box.is_logical for axis in box.absent}
    rules = dict.fromkeys(rule for box in boxes for rule in box.rules)
    used = {axis for _, entry in rules for axis in axes_of(entry)}
    # An axis splits an array once, so one that no other rule uses comes first.
    free = [axis for axis in axes if axis not in used] or axes
    for name, entry in rules:
        if named := [axis for axis in axes_of(entry) if axis in absent]:
            kept = [axis for axis in axes_of(entry) if axis not in absent]
            yield (name, entry), (name, as_entry(kept) if kept else _nearest(named[0], free))


def _nearest(name: Any, axes: Iterable[str]) -> str | None:
    """Return the axis that is spelled most like a name, or else the first; None if there is none."""
    choice = list(axes)
    return next(iter([*difflib.get_close_matches(str(name), choice, 1), *choice]), None)


def _code(value: Any) -> str:
    """Write a value as it stands in code."""
    return repr(value).replace("'", '"')
