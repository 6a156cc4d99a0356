"""Logically partitioned variables: boxes and constraints with logical axis names.

`LogicallyPartitioned` is a `Partitioned` box whose names are logical ones. What they mean on a mesh is
decided by logical axis rules at the moment that the box is unboxed, so that one model runs on any mesh.
`with_logical_constraint` does for intermediate arrays what unboxing does for variables.

The partition specs of such boxes hold logical names: `logical_to_mesh` and `logical_to_mesh_sharding`
map a tree of them, as `get_partition_spec` gives it, to what `jax.jit` takes.
"""

import enum
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linen_core import struct
from linen_core._spmd.mesh import constrain
from linen_core._spmd.partitioned import Boxed, Partitioned, named_sharding
from linen_core._spmd.rules import (
    LogicalNames,
    LogicalRules,
    Rules,
    assign_axes,
    checked_rules,
    logical_to_mesh_axes,
    names_tuple,
    rules_in_use,
    spec_of,
)
from linen_core.errors import LogicalConstraintError, UnknownLogicalAxisError


class LogicallyPartitioned(Partitioned, eq=False):
    """A box around an array whose axes have logical names.

    Args:
        value: an array, or a pytree of arrays that are split alike.
        names: a logical name for each axis of the array, or None for an axis that is not split. Other
            entries that are no strings stand for themselves, such as a tuple of mesh axes.
        mesh: the mesh; None for the one in use when the value is unboxed.
        rules: logical axis rules; None for those of the thread when the value is unboxed.

    Example:
        >>> import jax
        >>> from linen_core import LogicallyPartitioned, logical_axis_rules
        >>> box = LogicallyPartitioned(jax.numpy.ones((4, 2)), ("embed", "mlp"))
        >>> mesh = jax.make_mesh((1,), ("model",))
        >>> with logical_axis_rules([("mlp", "model")]):
        ...     tuple(box.get_sharding(mesh).spec)
        (None, 'model')
    """

    rules: LogicalRules | None = struct.field(default=None, pytree_node=False)

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Give the value, sharded by the rules over the mesh if there are both.

        Args:
            apply_constraint: whether to shard it; False gives it as it is.

        Returns:
            The value.

        Raises:
            DuplicateLogicalNameError: a name occurs twice.
            MeshAxisNotFoundError: the mesh lacks an axis that a rule gives.
            PartitionRankError: there are more names than the array has axes.
        """
        rules = rules_in_use(self.rules)
        if not (apply_constraint and rules):
            return self.value
        return _constrain(self.value, self.names, rules, self.mesh, RulesFallback.AXIS_IS_UNSHARDED)

    def get_sharding(self, mesh: Mesh | AbstractMesh) -> NamedSharding:
        """Give the sharding over a mesh that the rules map the names to.

        Args:
            mesh: the mesh.

        Returns:
            The sharding. Where there are no rules, the names are taken for those of mesh axes.

        Raises:
            DuplicateLogicalNameError: a name occurs twice.
            MeshAxisNotFoundError: the mesh lacks an axis that is named.
        """
        rules = rules_in_use(self.rules)
        if not rules:
            return super().get_sharding(mesh)
        return named_sharding(mesh, spec_of(assign_axes(self.names, rules)))


def with_logical_partitioning(
    fn: Callable[..., Any],
    names: LogicalNames,
    mesh: Mesh | None = None,
    rules: LogicalRules | None = None,
) -> Callable[..., Any]:
    """Put what a function returns into a `LogicallyPartitioned` box.

    Args:
        fn: the function, as a rule an initializer.
        names: a logical name for each axis of the array, or None for an axis that is not split.
        mesh: the mesh; None for the one in use.
        rules: logical axis rules; None for those of the thread.

    Returns:
        A function that takes what `fn` takes and returns a box. Two such functions are equal if all
        that they are made of is.

    Raises:
        LogicalNamesError: the names are no sequence.
        LogicalAxisRulesError: the rules are no rules.

    Example:
        >>> import jax
        >>> from linen_core import with_logical_partitioning
        >>> init = with_logical_partitioning(jax.nn.initializers.ones, ("embed", "mlp"))
        >>> init(jax.random.key(0), (4, 2)).names
        ('embed', 'mlp')
    """
    rules = None if rules is None else checked_rules(rules)
    fields = (("mesh", mesh), ("rules", rules))
    return Boxed(fn, LogicallyPartitioned, names_tuple(names), fields)


def logical_to_mesh(tree: Any, rules: LogicalRules | None = None) -> Any:
    """Map a tree of partition specs with logical names to specs with mesh axes.

    Args:
        tree: a pytree of `PartitionSpec`s, as `get_partition_spec` gives it.
        rules: the rules to use in place of those of the thread.

    Returns:
        The tree with mesh axes in the specs, None for axes that no rule maps.

    Raises:
        DuplicateLogicalNameError: a name occurs twice in a spec.
        LogicalNamesError: a leaf is no spec.
        LogicalAxisRulesError: the rules are no rules.

    Example:
        >>> from jax.sharding import PartitionSpec
        >>> from linen_core import logical_to_mesh
        >>> specs = logical_to_mesh({"w": PartitionSpec("embed", "mlp")}, [("mlp", "model")])
        >>> tuple(specs["w"])
        (None, 'model')
    """
    rules = rules_in_use(rules)
    return jax.tree.map(lambda spec: logical_to_mesh_axes(spec, rules), tree, is_leaf=_is_spec)


def logical_to_mesh_sharding(
    tree: Any, mesh: Mesh | AbstractMesh, rules: LogicalRules | None = None
) -> Any:
    """Map a tree of partition specs with logical names to shardings over a mesh.

    Args:
        tree: a pytree of `PartitionSpec`s, as `get_partition_spec` gives it.
        mesh: the mesh.
        rules: the rules to use in place of those of the thread.

    Returns:
        The tree with a sharding in the place of each spec.

    Raises:
        DuplicateLogicalNameError: a name occurs twice in a spec.
        LogicalNamesError: a leaf is no spec.
        LogicalAxisRulesError: the rules are no rules.
        MeshAxisNotFoundError: the mesh lacks an axis that a rule gives.

    Example:
        >>> import jax
        >>> from jax.sharding import PartitionSpec
        >>> from linen_core import logical_to_mesh_sharding
        >>> mesh = jax.make_mesh((1,), ("model",))
        >>> specs = {"w": PartitionSpec("embed", "mlp")}
        >>> tuple(logical_to_mesh_sharding(specs, mesh, [("mlp", "model")])["w"].spec)
        (None, 'model')
    """
    specs = logical_to_mesh(tree, rules)
    return jax.tree.map(lambda spec: named_sharding(mesh, spec), specs, is_leaf=_is_spec)


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)


class RulesFallback(enum.Enum):
    """What to do with an array of which some logical name is mapped by no rule.

    Attributes:
        AXIS_IS_UNSHARDED: the axis of that name is not split.
        RAISE_ERROR: raise `UnknownLogicalAxisError`.
        NO_CONSTRAINT: leave the array as it is.

    Example:
        >>> import jax
        >>> from linen_core import RulesFallback, with_logical_constraint
        >>> x, rules = jax.numpy.ones(2), [("embed", None)]
        >>> with_logical_constraint(x, ("embd",), rules, fallback=RulesFallback.NO_CONSTRAINT) is x
        True
    """

    AXIS_IS_UNSHARDED = "axis_is_unsharded"
    RAISE_ERROR = "raise_error"
    NO_CONSTRAINT = "no_constraint"


def with_logical_constraint(
    x: Any,
    logical_axis_resources: Any,
    rules: LogicalRules | None = None,
    mesh: Mesh | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> Any:
    """Shard arrays by the logical names of their axes.

    Without rules, and without a mesh, the arrays are returned as they are.

    Args:
        x: an array, or a pytree of arrays.
        logical_axis_resources: a tuple with a name for each axis of the array, or None for an axis
            that is not split, or a pytree of such tuples, each for an array or a tree of arrays in
            its place in `x`. In such a pytree, None means that nothing is split. None for the whole
            leaves `x` as it is. A `PartitionSpec` does as well, and may also have tuples of mesh
            axes, which stand for themselves.
        rules: the rules to use in place of those of the thread.
        mesh: the mesh; None for the one in use.
        fallback: what to do with a name that no rule maps.

    Returns:
        The arrays, with the same values.

    Raises:
        UnknownLogicalAxisError: no rule maps a name, and `fallback` is `RAISE_ERROR`.
        LogicalConstraintError: the names do not fit the structure of `x`.
        LogicalNamesError: a leaf of the names is no tuple.
        DuplicateLogicalNameError: a name occurs twice for one array.
        LogicalAxisRulesError: the rules are no rules.
        MeshAxisNotFoundError: the mesh lacks an axis that a rule gives.
        DuplicateMeshAxisError: two entries that stand for themselves are the same mesh axis.
        PartitionRankError: there are more names than an array has axes.

    Example:
        >>> import jax
        >>> from linen_core import logical_axis_rules, with_logical_constraint
        >>> x = jax.numpy.ones((4, 2))
        >>> with jax.set_mesh(jax.make_mesh((1,), ("data",))), logical_axis_rules([("batch", "data")]):
        ...     tuple(with_logical_constraint(x, ("batch", "mlp")).sharding.spec)
        ('data', None)
    """
    rules = rules_in_use(rules)
    if not rules or logical_axis_resources is None:
        return x
    names, structure = jax.tree.flatten(logical_axis_resources, is_leaf=_is_names)
    try:
        values = structure.flatten_up_to(x)
    except (ValueError, TypeError):
        raise LogicalConstraintError(logical_axis_resources, jax.tree.structure(x)) from None
    pairs = zip(values, names, strict=True)
    return structure.unflatten(_constrain(*pair, rules, mesh, fallback) for pair in pairs)


def _is_names(x: Any) -> bool:
    is_names = isinstance(x, tuple) and all(map(_is_name, x))
    return x is None or isinstance(x, PartitionSpec) or is_names


def _is_name(x: Any) -> bool:
    return x is None or x is PartitionSpec.UNCONSTRAINED or isinstance(x, str)


def _constrain(
    value: Any,
    names: LogicalNames | None,
    rules: Rules,
    mesh: Mesh | None,
    fallback: RulesFallback,
) -> Any:
    assignments = assign_axes(() if names is None else names, rules)
    unmapped = [(str(names), axis.name, axis.reason) for axis in assignments if axis.reason]
    if unmapped and fallback == RulesFallback.RAISE_ERROR:
        raise UnknownLogicalAxisError(unmapped, [name for name, _ in rules])
    if unmapped and fallback == RulesFallback.NO_CONSTRAINT:
        return value
    return constrain(value, spec_of(assignments), mesh)
