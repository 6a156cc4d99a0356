"""An account of how a tree of variables is sharded, and why.

Rules that map nothing fail silently: a misspelled name, or a mesh axis that is taken, leaves an array
whole on every device. `explain_sharding` shows for each axis of each array its name, the rule that
applies or the reason why none does, what it is split over, and the bytes that a device holds in the
end. It needs shapes alone: variables from `jax.eval_shape` will do, and an abstract mesh.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from linen_core._meta import contents, is_axis_metadata
from linen_core._spmd.logical import LogicallyPartitioned
from linen_core._spmd.mesh import axes_of, check_unique
from linen_core._spmd.partitioned import spec_of_leaf
from linen_core._spmd.rules import (
    NO_RULE,
    Assignment,
    LogicalRules,
    MeshAxes,
    Rules,
    assign_axes,
    rules_in_use,
    spec_of,
)
from linen_core.errors import LinenError, PartitionRankError, UnknownLogicalAxisError

_WIDTH = 80
_HEADER = ("variable", "size", "axis", "rule", "spec", "per device")


@dataclasses.dataclass(frozen=True)
class ShardingRow:
    """How one array is sharded; `ShardingTable` holds them.

    Attributes:
        path: where it is in the tree, its parts joined by "/".
        shape: its shape.
        dtype: its dtype.
        names: for each axis its logical name (for a `Partitioned` box, its mesh axes) or None; None
            for an array that is in no box.
        rules: for each axis the rule that applies, or None.
        notes: for each axis why it is not split as its name says, or an empty string.
        spec: the partition spec that results.
        total_bytes: the size of the whole array.
        bytes_per_device: the size of the largest part that one device holds.

    Example:
        >>> import jax
        >>> from linen_core import explain_sharding
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> explain_sharding({"bias": jax.numpy.ones(3)}, mesh).rows[0].bytes_per_device
        12
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    names: tuple[Any, ...] | None
    rules: tuple[tuple[str, MeshAxes] | None, ...]
    notes: tuple[str, ...]
    spec: PartitionSpec
    total_bytes: int
    bytes_per_device: int


@dataclasses.dataclass(frozen=True, repr=False)
class ShardingTable:
    """How a tree of variables is sharded; printed, a table with one line for each axis.

    Attributes:
        rows: one for each array, in the order of the tree.
        mesh: the mesh that the arrays are sharded over.

    Example:
        >>> import jax
        >>> from linen_core import Partitioned, explain_sharding
        >>> kernel = Partitioned(jax.numpy.ones((8, 4)), ("data", None))
        >>> print(explain_sharding({"kernel": kernel}, jax.sharding.AbstractMesh((4,), ("data",))))
        variable  size  axis  rule       spec  per device
        kernel       8  data  mesh axis  data        32 B
                     4                   -
        1 array, 128 B in all, 32 B on each device of the mesh data=4
    """

    rows: tuple[ShardingRow, ...]
    mesh: Mesh | AbstractMesh

    @property
    def total_bytes(self) -> int:
        """The size of all arrays."""
        return sum(row.total_bytes for row in self.rows)

    @property
    def bytes_per_device(self) -> int:
        """The size of what one device holds."""
        return sum(row.bytes_per_device for row in self.rows)

    def __str__(self) -> str:
        return "\n".join([*_lines(self.rows), _footer(self)])

    __repr__ = __str__


def explain_sharding(
    variables: Any,
    mesh: Mesh | AbstractMesh,
    rules: LogicalRules | None = None,
    *,
    strict: bool = False,
) -> ShardingTable:
    """Say how variables are sharded over a mesh, and why.

    Args:
        variables: a pytree of arrays, or of `jax.ShapeDtypeStruct`s, in boxes or without.
        mesh: the mesh.
        rules: the rules to use in place of those of the thread. A box that has rules of its own is
            sharded by those.
        strict: whether to raise if there is a logical name without a rule.

    Returns:
        The table, also as data in its `rows`.

    Raises:
        UnknownLogicalAxisError: no rule is for some logical name, and `strict` is True.
        DuplicateLogicalNameError: a name occurs twice in one box.
        LogicalAxisRulesError: the rules are no rules.
        DuplicateMeshAxisError: a mesh axis occurs twice in one box.
        PartitionRankError: a box has more names than its array has axes.

    Example:
        >>> import jax
        >>> from linen_core import LogicallyPartitioned, explain_sharding
        >>> embedding = jax.ShapeDtypeStruct((1000, 64), "float32")
        >>> variables = {"embedding": LogicallyPartitioned(embedding, ("vocab", "embed"))}
        >>> mesh = jax.sharding.AbstractMesh((4, 2), ("data", "model"))
        >>> explain_sharding(variables, mesh, [("vocab", "model"), ("mlp", "model")])
        variable   size  axis   rule            spec   per device
        embedding  1000  vocab  vocab -> model  model     125 KiB
                     64  embed  no rule         -
        1 array, 250 KiB in all, 125 KiB on each device of the mesh data=4, model=2
    """
    rules = rules_in_use(rules)
    table = ShardingTable(tuple(_rows(variables, mesh, rules)), mesh)
    unknown = [
        (row.path, name, note)
        for row in table.rows
        for name, note in zip(row.names or (), row.notes, strict=False)
        if note == NO_RULE
    ]
    if strict and unknown:
        raise UnknownLogicalAxisError(unknown, [name for name, _ in rules])
    return table


def _rows(tree: Any, mesh: Mesh | AbstractMesh, rules: Rules) -> Iterator[ShardingRow]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_axis_metadata):
        try:
            yield from _rows_of_leaf(path, leaf, mesh, rules)
        except LinenError as error:
            error.add_note(f"The variable is {_joined(path)}.")
            raise


def _rows_of_leaf(
    path: tuple[Any, ...], leaf: Any, mesh: Mesh | AbstractMesh, rules: Rules
) -> Iterator[ShardingRow]:
    assignments = _assignments(leaf, rules)
    check_unique(spec_of(assignments))
    for inner, array in jax.tree_util.tree_leaves_with_path(contents(leaf)):
        where = _joined((*path, *inner))
        yield _row(where, array, is_axis_metadata(leaf), assignments, mesh)


def _joined(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _assignments(leaf: Any, rules: Rules) -> list[Assignment]:
    if isinstance(leaf, LogicallyPartitioned):
        return assign_axes(leaf.names, rules if leaf.rules is None else rules_in_use(leaf.rules))
    return [Assignment(entry, entry) for entry in spec_of_leaf(leaf) or ()]


def _row(
    path: str,
    array: Any,
    is_boxed: bool,
    assignments: Sequence[Assignment],
    mesh: Mesh | AbstractMesh,
) -> ShardingRow:
    shape, dtype = np.shape(array), jax.numpy.result_type(array)
    spec = spec_of(assignments)
    if len(spec) > len(shape):
        raise PartitionRankError(tuple(axis.name for axis in assignments), shape)
    axes = [*assignments, *[Assignment(None, None)] * (len(shape) - len(spec))]
    parts = [
        math.ceil(size / math.prod(mesh.shape.get(name, 1) for name in axes_of(axis.mesh_axes)))
        for size, axis in zip(shape, axes, strict=True)
    ]
    return ShardingRow(
        path=path,
        shape=shape,
        dtype=dtype,
        names=tuple(axis.name for axis in axes) if is_boxed else None,
        rules=tuple(axis.rule for axis in axes),
        notes=tuple(_note(size, axis, mesh) for size, axis in zip(shape, axes, strict=True)),
        spec=spec,
        total_bytes=math.prod(shape) * dtype.itemsize,
        bytes_per_device=math.prod(parts) * dtype.itemsize,
    )


def _note(size: int, axis: Assignment, mesh: Mesh | AbstractMesh) -> str:
    if axis.mesh_axes is PartitionSpec.UNCONSTRAINED:
        return "the compiler chooses"
    unknown = [str(name) for name in axes_of(axis.mesh_axes) if name not in mesh.shape]
    if unknown:
        return f"the mesh has no {', '.join(unknown)}"
    devices = math.prod(mesh.shape[name] for name in axes_of(axis.mesh_axes))
    return f"{size} / {devices} is uneven" if size % devices else axis.reason


def _lines(rows: Sequence[ShardingRow]) -> Iterator[str]:
    """Yield the lines of the table; paths that leave no room stand on lines of their own."""
    table = [_HEADER, *(cells for row in rows for cells in _cells(row))]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEADER))]
    is_wide = sum(widths) + 2 * (len(widths) - 1) > _WIDTH
    for path, *cells in table:
        others = zip(cells, widths[1:], ("", "<", "<", "<", ">"), strict=True)
        line = "  ".join(f"{cell:{align or '>'}{width}}" for cell, width, align in others).rstrip()
        if not is_wide:
            yield f"{path:<{widths[0]}}  {line}".rstrip()
            continue
        if path:
            yield path
        yield f"  {line}"


def _cells(row: ShardingRow) -> Iterator[tuple[str, ...]]:
    """Yield the cells of a row's lines, one for each axis."""
    size = _bytes(row.bytes_per_device)
    if row.names is None:
        yield row.path, " x ".join(map(str, row.shape)), "", "in no box", "-", size
        return
    spec = [*row.spec, *[None] * (len(row.shape) - len(row.spec))]
    axes = zip(row.shape, row.names, row.rules, row.notes, spec, strict=True)
    for position, (length, name, rule, note, entry) in enumerate(axes):
        first = (row.path, size) if position == 0 else ("", "")
        yield (
            first[0],
            str(length),
            _entry(name),
            _rule(name, rule, note),
            _entry(entry) or "-",
            first[1],
        )
    if not row.shape:
        yield row.path, "", "", "", "-", size


def _rule(name: Any, rule: tuple[str, MeshAxes] | None, note: str) -> str:
    if rule is not None:
        applied = f"{rule[0]} -> {_entry(rule[1]) or None}"
    else:
        applied = "mesh axis" if axes_of(name) and not note else ""
    return ", ".join(filter(None, (applied, note)))


def _entry(entry: Any) -> str:
    return "any" if entry is PartitionSpec.UNCONSTRAINED else ", ".join(map(str, axes_of(entry)))


def _footer(table: ShardingTable) -> str:
    mesh = ", ".join(f"{name}={size}" for name, size in table.mesh.shape.items())
    arrays = "1 array" if len(table.rows) == 1 else f"{len(table.rows)} arrays"
    return (
        f"{arrays}, {_bytes(table.total_bytes)} in all, {_bytes(table.bytes_per_device)} on each "
        f"device of the mesh {mesh}"
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
