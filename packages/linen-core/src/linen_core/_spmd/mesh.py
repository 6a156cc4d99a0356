"""The device mesh in use, and constraints that shard arrays over it.

A *mesh* is an array of devices with named axes. A *partition spec* says, for each axis of an array,
over which axes of a mesh it is split. To *constrain* an array is to give it the sharding of a spec:
a traced array is annotated, so that the compiler lays it out in this way, and a concrete one moves
to the devices. Values never change.

JAX knows two ways to say which mesh is in use, and both count: `jax.set_mesh(mesh)`, and the older
`with mesh:`. The axes of a mesh have a type. The sharding over *auto* axes is a hint to the compiler,
that over *explicit* axes is part of an array's type, and over *manual* axes (inside `jax.shard_map`)
an array has been split already, so that there is nothing left to constrain.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from linen_core._trace import is_tracer
from linen_core.errors import (
    DuplicateMeshAxisError,
    MeshAxisNotFoundError,
    PartitionRankError,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Found:
    """A mesh in the place of a result, where `jax.jit` keeps it for the next call."""

    mesh: Mesh | None = dataclasses.field(metadata={"static": True})


@jax.jit
def _entered_mesh() -> _Found:
    # JAX has no public name for the mesh of `with mesh:`, but uses it for a spec without a mesh. As
    # that mesh is part of what `jax.jit` compares, this runs once for each.
    def constrained(x: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, PartitionSpec())

    try:
        jaxpr = jax.make_jaxpr(constrained)(0.0)
    except RuntimeError:
        return _Found(None)
    return _Found(jaxpr.eqns[0].params["sharding"].mesh)


def get_global_mesh() -> Mesh | AbstractMesh | None:
    """Give the mesh in use.

    Returns:
        The abstract mesh of `jax.set_mesh`, `jax.sharding.use_abstract_mesh` or `jax.shard_map`;
        otherwise the mesh of `with mesh:`; None if there is none.

    Example:
        >>> import jax
        >>> from linen_core import get_global_mesh
        >>> with jax.set_mesh(jax.make_mesh((1,), ("data",))):
        ...     get_global_mesh().axis_names
        ('data',)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        return mesh
    return jax.eval_shape(_entered_mesh).mesh


def global_mesh_defined() -> bool:
    """Say whether a mesh is in use.

    Returns:
        True inside `jax.set_mesh(mesh)` or `with mesh:`.

    Example:
        >>> from linen_core import global_mesh_defined
        >>> global_mesh_defined()
        False
    """
    return get_global_mesh() is not None


def constrain(value: Any, spec: PartitionSpec, mesh: Mesh | AbstractMesh | None = None) -> Any:
    """Give the arrays of a value the sharding of a spec, on a mesh or else the one in use.

    Raises:
        MeshAxisNotFoundError: the mesh lacks an axis of the spec.
        DuplicateMeshAxisError: a mesh axis occurs twice in the spec.
        PartitionRankError: the spec has more axes than an array.
    """
    if mesh is None:
        mesh = get_global_mesh()
    if mesh is None:
        return value
    check_axes(spec, mesh)
    return jax.tree.map(lambda leaf: _constrain_leaf(leaf, spec, mesh), value)


def check_axes(spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> None:
    """Refuse a spec that a mesh cannot have.

    Raises:
        MeshAxisNotFoundError: the mesh lacks an axis of the spec.
        DuplicateMeshAxisError: a mesh axis occurs twice in the spec.
    """
    unknown = set(mesh_axes(spec)).difference(mesh.axis_names)
    if unknown:
        raise MeshAxisNotFoundError(unknown, tuple(spec), mesh.axis_names)
    check_unique(spec)


def check_unique(spec: PartitionSpec) -> None:
    """Refuse a spec that splits two axes over the same mesh axis.

    Raises:
        DuplicateMeshAxisError: a mesh axis occurs twice.
    """
    repeated = [axis for axis, count in Counter(mesh_axes(spec)).items() if count > 1]
    if repeated:
        raise DuplicateMeshAxisError(repeated, tuple(spec))


def mesh_axes(entries: Iterable[Any]) -> Iterator[Any]:
    """Yield every mesh axis that the entries of a spec name."""
    for entry in entries:
        yield from axes_of(entry)


def axes_of(entry: Any) -> Sequence[Any]:
    """Give the mesh axes that one entry of a spec names."""
    if entry is None or entry is PartitionSpec.UNCONSTRAINED:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def _constrain_leaf(leaf: Any, spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> Any:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
        return leaf  # a ShapeDtypeStruct, for example, has no data to lay out
    if np.ndim(leaf) < len(spec):
        raise PartitionRankError(tuple(spec), np.shape(leaf))
    if not is_tracer(leaf):
        # Only device_put brings an array from any device to the mesh. In jit it makes a tracer.
        leaf = jax.device_put(leaf, _target(_decided(spec, _present(leaf, mesh)), mesh))
        if not is_tracer(leaf):
            return leaf
    if AxisType.Explicit in mesh.axis_types:
        explicit = _decided(_part(spec, mesh, AxisType.Explicit), jax.typeof(leaf).sharding.spec)
        leaf = jax.sharding.reshard(leaf, _target(explicit, mesh))
    if AxisType.Auto in mesh.axis_types:
        auto = _part(spec, mesh, AxisType.Auto)
        leaf = jax.lax.with_sharding_constraint(leaf, _target(auto, mesh))
    return leaf


def _target(spec: PartitionSpec, mesh: Mesh | AbstractMesh) -> PartitionSpec | NamedSharding:
    """Give what JAX takes: for an abstract mesh, it finds the devices by itself."""
    return NamedSharding(mesh, spec) if isinstance(mesh, Mesh) else spec


def _part(spec: PartitionSpec, mesh: Mesh | AbstractMesh, axis_type: AxisType) -> PartitionSpec:
    """Give the part of a spec that concerns the mesh axes of one type."""
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))

    def part(entry: Any) -> Any:
        if entry is PartitionSpec.UNCONSTRAINED:
            return entry
        return tuple(axis for axis in axes_of(entry) if types[axis] == axis_type) or None

    return PartitionSpec(*map(part, spec))


def _present(array: Any, mesh: Mesh | AbstractMesh) -> Sequence[Any]:
    """Give the entries of the spec that a concrete array has on a mesh; none if it is elsewhere."""
    sharding = getattr(array, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh.axis_names == mesh.axis_names:
        return tuple(sharding.spec)
    return ()


def _decided(spec: PartitionSpec, entries: Iterable[Any]) -> PartitionSpec:
    """Put entries into the places of a spec that leave the choice to the compiler."""
    present = itertools.chain(entries, itertools.repeat(None))
    pairs = zip(spec, present, strict=False)
    return PartitionSpec(
        *(new if old is PartitionSpec.UNCONSTRAINED else old for old, new in pairs)
    )
