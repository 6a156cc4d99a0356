"""Partitioned variables: boxes that name the mesh axes over which an array is split.

An initializer that is wrapped in `with_partitioning` makes a `Partitioned` box. The box travels with
its array: through `init` and `jax.eval_shape`, optimizers and checkpoints, and through lifted
transformations, which add a name for each axis that they add (`metadata_params={PARTITION_NAME: ...}`).
Where there is a mesh, the array is sharded when it is made and whenever it is unboxed; where there is
none, the names have no effect. `get_partition_spec` and `get_sharding` turn a tree of boxes into what
`jax.jit` takes as `in_shardings` and `out_shardings`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linen_core import struct
from linen_core._meta import AxisMetadata, is_axis_metadata
from linen_core._parameter import WrappingInitializer
from linen_core._spmd.mesh import check_axes, constrain
from linen_core._spmd.rules import LogicalNames, names_tuple
from linen_core.errors import PartitioningUnspecifiedError, PartitionNameMismatchError

PARTITION_NAME = "partition_name"
"""The key, in the `metadata_params` of a lifted transformation, of the name of its axis."""


class Partitioned(struct.PyTreeNode, AxisMetadata, eq=False):
    """A box around an array whose axes are split over the axes of a mesh.

    Args:
        value: an array, or a pytree of arrays that are split alike.
        names: for each axis of the array the name of a mesh axis, a tuple of names, or None for an
            axis that is not split.
        mesh: the mesh; None for the one in use when the value is unboxed.

    Example:
        >>> import jax
        >>> from linen_core import PARTITION_NAME, Partitioned
        >>> box = Partitioned(jax.numpy.ones((4, 2)), ("data", None))
        >>> tuple(box.get_partition_spec())
        ('data', None)
        >>> box.get_sharding(jax.sharding.AbstractMesh((2,), ("data",))).shard_shape((4, 2))
        (2, 2)
        >>> box.add_axis(0, {PARTITION_NAME: "layers"}).names
        ('layers', 'data', None)
    """

    value: Any
    names: tuple[Any, ...] = struct.field(pytree_node=False)
    mesh: Mesh | None = struct.field(default=None, pytree_node=False)

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Give the value, sharded over the mesh if there is one.

        Args:
            apply_constraint: whether to shard it; False gives it as it is.

        Returns:
            The value.

        Raises:
            MeshAxisNotFoundError: the mesh lacks an axis that is named.
            DuplicateMeshAxisError: two axes are split over the same mesh axis.
            PartitionRankError: there are more names than the array has axes.
        """
        if not apply_constraint:
            return self.value
        return constrain(self.value, self.get_partition_spec(), self.mesh)

    def replace_boxed(self, val: Any) -> Self:
        """Give a box with the same names and another value.

        Args:
            val: the new value.

        Returns:
            A new box.
        """
        return self.replace(value=val)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """Give the box for a value that gained an axis.

        Args:
            index: the position of the new axis; negative from the end of the longer shape.
            params: metadata parameters, with the name of the axis under `PARTITION_NAME`.

        Returns:
            A box with one name more, and with None for axes before it that had no name.

        Raises:
            PartitioningUnspecifiedError: the parameters do not name the axis.
        """
        name = self._axis_name(params)
        names = list(self.names)
        index = index if index >= 0 else index + len(names) + 1
        names += [None] * (index - len(names))
        names.insert(index, name)
        return self.replace(names=tuple(names))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """Give the box for a value that lost an axis.

        Args:
            index: the position of the axis that is gone; negative from the end.
            params: metadata parameters, with the name of the axis under `PARTITION_NAME`.

        Returns:
            A box with one name less.

        Raises:
            PartitioningUnspecifiedError: the parameters do not name the axis.
            PartitionNameMismatchError: the axis has another name, or none.
        """
        name = self._axis_name(params)
        names = list(self.names)
        if not -len(names) <= index < len(names) or names.pop(index) != name:
            raise PartitionNameMismatchError(self.names, index, name)
        return self.replace(names=tuple(names))

    def get_partition_spec(self) -> PartitionSpec:
        """Give the names as a partition spec.

        Returns:
            The spec.
        """
        return PartitionSpec(*self.names)

    def get_sharding(self, mesh: Mesh | AbstractMesh) -> NamedSharding:
        """Give the sharding over a mesh that the names stand for.

        Args:
            mesh: the mesh.

        Returns:
            The sharding.

        Raises:
            MeshAxisNotFoundError: the mesh lacks an axis that is named.
            DuplicateMeshAxisError: two axes are split over the same mesh axis.
        """
        return named_sharding(mesh, self.get_partition_spec())

    def _content(self) -> Any:
        return self.value

    def _axis_name(self, params: Mapping[Any, Any]) -> Any:
        if PARTITION_NAME not in params:
            raise PartitioningUnspecifiedError(self.names, params)
        return params[PARTITION_NAME]

    # As tuples, in which an array equals itself. What dataclasses write asks arrays for their truth
    # from Python 3.13 on.
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(_fields(self))


def _fields(box: Any) -> tuple[Any, ...]:
    return tuple(getattr(box, field.name) for field in dataclasses.fields(box))


def named_sharding(mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> NamedSharding:
    """Give the sharding of a spec over a mesh.

    Raises:
        MeshAxisNotFoundError: the mesh lacks an axis that is named.
        DuplicateMeshAxisError: two axes are split over the same mesh axis.
    """
    check_axes(spec, mesh)
    return NamedSharding(mesh, spec)  # type: ignore[arg-type] - JAX takes abstract meshes too


@dataclasses.dataclass(frozen=True)
class Boxed(WrappingInitializer):
    """A function whose result is put into a box and sharded at once, where there is a mesh.

    It is equal to others by value, and pickles if the function does.
    """

    fn: Callable[..., Any]
    box: type[Partitioned]
    names: tuple[Any, ...]
    fields: tuple[tuple[str, Any], ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.wrap(self.fn(*args, **kwargs))

    def wrap(self, value: Any) -> Any:
        box = self.box(value, self.names, **dict(self.fields))
        return box.replace_boxed(box.unbox())


def with_partitioning(
    fn: Callable[..., Any], names: LogicalNames, mesh: Mesh | None = None
) -> Callable[..., Any]:
    """Put what a function returns into a `Partitioned` box.

    Args:
        fn: the function, as a rule an initializer.
        names: for each axis of the array the name of a mesh axis, a tuple of names, or None for an
            axis that is not split.
        mesh: the mesh; None for the one in use.

    Returns:
        A function that takes what `fn` takes and returns a box. Two such functions are equal if all
        that they are made of is.

    Raises:
        LogicalNamesError: the names are no sequence.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact, get_partition_spec, with_partitioning
        >>> class Linear(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = with_partitioning(jax.nn.initializers.lecun_normal(), (None, "model"))
        ...         return x @ self.param("kernel", init, (x.shape[-1], 4))
        >>> variables = Linear().init(jax.random.key(0), jax.numpy.ones((2, 3)))
        >>> tuple(get_partition_spec(variables)["params"]["kernel"])
        (None, 'model')
    """
    return Boxed(fn, Partitioned, names_tuple(names), (("mesh", mesh),))


def get_partition_spec(tree: Any) -> Any:
    """Give the partition specs of a tree of variables.

    Args:
        tree: a pytree of arrays, or of `jax.ShapeDtypeStruct`s, in boxes or without.

    Returns:
        The tree with a spec in the place of each box and each array; that of an array without a box
        is empty, which means not split. Other leaves, such as Python scalars, become None.

    Example:
        >>> import jax
        >>> from linen_core import Partitioned, get_partition_spec
        >>> kernel = Partitioned(jax.numpy.ones((4, 2)), ("data", None))
        >>> specs = get_partition_spec({"kernel": kernel, "bias": jax.numpy.ones(2)})
        >>> tuple(specs["kernel"]), tuple(specs["bias"])
        (('data', None), ())
    """
    return jax.tree.map(spec_of_leaf, tree, is_leaf=is_axis_metadata)


def spec_of_leaf(leaf: Any) -> PartitionSpec | None:
    """Give the spec of a box or an array, None for anything else."""
    if hasattr(leaf, "get_partition_spec"):
        return leaf.get_partition_spec()
    return PartitionSpec() if hasattr(leaf, "shape") else None


def get_sharding(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
    """Give the shardings of a tree of variables over a mesh.

    Args:
        tree: a pytree of arrays, or of `jax.ShapeDtypeStruct`s, in boxes or without.
        mesh: the mesh.

    Returns:
        The tree with a sharding in the place of each box and each array; that of an array without a
        box is a copy on every device. Other leaves, such as Python scalars, become None.

    Raises:
        MeshAxisNotFoundError: the mesh lacks an axis that is named.
        DuplicateMeshAxisError: two axes are split over the same mesh axis.

    Example:
        >>> import jax
        >>> from linen_core import Partitioned, get_sharding
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> box = Partitioned(jax.numpy.ones((4, 2)), ("data", None))
        >>> get_sharding({"kernel": box}, mesh)["kernel"].shard_shape((4, 2))
        (4, 2)
    """

    def sharding(leaf: Any) -> NamedSharding | None:
        if hasattr(leaf, "get_sharding"):
            return leaf.get_sharding(mesh)
        spec = spec_of_leaf(leaf)
        return None if spec is None else named_sharding(mesh, spec)

    return jax.tree.map(sharding, tree, is_leaf=is_axis_metadata)
