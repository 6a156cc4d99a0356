"""Which sharding each array of variables, or of a state made from them, has on a mesh.

In this order:

1. an array in a box has the sharding of its box, whose names logical axis rules map to mesh axes;
2. an array of a state whose path ends like that of a variable, and that has the shape of this variable,
   has its sharding: moments of an optimizer, averages of parameters, parameters without their boxes;
3. other arrays are split over the axis for FSDP, if there is one, along their largest axis that
   can be divided by it;
4. what remains is whole on every device.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_core import LogicallyPartitioned, is_axis_metadata, logical_to_mesh_axes
from linen_core.errors import MeshAxisNotFoundError, PartitionRankError
from linen_train.distributed._axes import LogicalRules, as_entry, axes_of
from linen_train.errors import InitShardingError

Path: TypeAlias = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How arrays are split over a mesh.

    Attributes:
        mesh: the mesh.
        rules: logical axis rules; None for those in use.
        fsdp_axes: the axes of the mesh that split arrays in no box; none leaves them whole.
        fsdp_min_size: the fewest numbers of an array that they split.
    """

    mesh: Mesh
    rules: LogicalRules | None
    fsdp_axes: tuple[str, ...]
    fsdp_min_size: int

    def of_box(self, leaf: Any) -> NamedSharding | None:
        """Return the sharding that a box names; None for an array, or a box that names none."""
        if isinstance(leaf, LogicallyPartitioned) and self.rules is not None and not leaf.rules:
            return self._of_names(leaf.names)
        if is_axis_metadata(leaf):
            return leaf.get_sharding(self.mesh) if hasattr(leaf, "get_sharding") else None
        if not hasattr(leaf, "get_partition_spec"):
            return None
        spec = leaf.get_partition_spec()
        if all(name in self.mesh.shape for name in spec if isinstance(name, str)):
            return NamedSharding(self.mesh, spec)
        return self._of_names(spec)

    def of_array(self, shape: tuple[int, ...]) -> NamedSharding:
        """Return the sharding of an array that is in no box and like no variable."""
        parts = math.prod(self.mesh.shape[axis] for axis in self.fsdp_axes)
        fitting = [size for size in shape if size and size % parts == 0]
        if not self.fsdp_axes or not fitting or math.prod(shape) < self.fsdp_min_size:
            return NamedSharding(self.mesh, PartitionSpec())
        spec = PartitionSpec(*[None] * shape.index(max(fitting)), as_entry(self.fsdp_axes))
        return NamedSharding(self.mesh, spec)

    def _of_names(self, names: Any) -> NamedSharding:
        spec = logical_to_mesh_axes(names, self.rules) or PartitionSpec()
        named = [axis for entry in spec for axis in axes_of(entry)]
        if unknown := [axis for axis in named if axis not in self.mesh.shape]:
            raise MeshAxisNotFoundError(unknown, tuple(spec), self.mesh.axis_names)
        return NamedSharding(self.mesh, spec)


def shardings_of(state: Any, variables: Any, layout: Layout) -> list[NamedSharding]:
    """Return the sharding of each leaf of a state, in the order of `jax.tree.leaves`.

    Args:
        state: what is to be made, as `jax.ShapeDtypeStruct`s: the variables, or a state with them.
        variables: the variables that it is made from, by collection.
        layout: how arrays are split.

    Raises:
        InitShardingError: sizes are not divisible by the number of devices that split them.
        PartitionRankError: a box has more names than its array has axes.
        MeshAxisNotFoundError: the mesh lacks an axis that a box or a rule names.
    """
    known = _by_suffix(variables, layout)
    uneven: list[str] = []
    shardings: list[NamedSharding] = []
    for path, leaf in leaves_of(state):
        box = layout.of_box(leaf)
        for array in jax.tree.leaves(leaf):
            sharding = box or _like(path, array.shape, known) or layout.of_array(array.shape)
            uneven.extend(_uneven("/".join(path), array.shape, sharding))
            shardings.append(sharding)
    if uneven:
        raise InitShardingError(_uneven_text(uneven))
    return shardings


def leaves_of(tree: Any) -> list[tuple[Path, Any]]:
    """Return the leaves with their paths; boxes are leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_box)
    return [
        (tuple(jax.tree_util.keystr((key,), simple=True) for key in path), leaf)
        for path, leaf in leaves
    ]


def _is_box(x: Any) -> bool:
    # Boxes of other libraries have the same method.
    return is_axis_metadata(x) or hasattr(x, "get_partition_spec")


def _by_suffix(variables: Any, layout: Layout) -> dict[Path, tuple[tuple[int, ...], NamedSharding]]:
    """Return shape and sharding of the variables by path, with the collection and without it."""
    known: dict[Path, tuple[tuple[int, ...], NamedSharding]] = {}
    # Parameters last: of equal paths in several collections, theirs counts.
    for path, leaf in sorted(leaves_of(variables), key=lambda item: item[0][:1] == ("params",)):
        arrays = jax.tree.leaves(leaf)
        if len(arrays) == 1:
            shape = arrays[0].shape
            sharding = layout.of_box(leaf) or layout.of_array(shape)
            known |= dict.fromkeys((path, path[1:]), (shape, sharding))
    return known


def _like(
    path: Path, shape: tuple[int, ...], known: Mapping[Path, tuple[tuple[int, ...], NamedSharding]]
) -> NamedSharding | None:
    """Return the sharding of the variable that a path ends with, if it has this shape."""
    for start in range(len(path)):
        found = known.get(path[start:])
        if found is not None and found[0] == shape:
            return found[1]
    return None


def _uneven(path: str, shape: tuple[int, ...], sharding: NamedSharding) -> list[str]:
    """Return a line for each axis of an array that cannot be split evenly."""
    if len(sharding.spec) > len(shape):
        raise PartitionRankError(tuple(sharding.spec), shape)
    lines: list[str] = []
    for position, (size, entry) in enumerate(zip(shape, sharding.spec, strict=False)):
        axes = axes_of(entry)
        parts = math.prod(sharding.mesh.shape[axis] for axis in axes)
        if size % parts:
            over = ", ".join(f"{axis}={sharding.mesh.shape[axis]}" for axis in axes)
            lines.append(f"  {path}: axis {position} of shape {shape} over {over}")
    return lines


def _uneven_text(uneven: Sequence[str]) -> str:
    lines = list(uneven[:20])
    if len(uneven) > 20:
        lines.append(f"  ... and {len(uneven) - 20} more")
    return "\n".join(
        [
            "init_sharded: these sizes are not divisible by the number of devices that split them:",
            *lines,
            "Choose sizes that are (a vocabulary may be padded), or leave the axis whole with a rule "
            "such as ('vocab', None) in place of ('vocab', 'model').",
        ]
    )
