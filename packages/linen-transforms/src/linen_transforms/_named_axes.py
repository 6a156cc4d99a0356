"""Variables with named axes: the names are variables too, in a collection beside.

`param_with_axes("kernel", ...)` makes a parameter "kernel" and, in the collection "params_axes", an
entry "kernel_axes" that holds its logical axis names. So `init` creates the names together with the
parameters, and they can be taken apart by collection. This is how models were sharded before there
were boxes (`linen_core.with_logical_partitioning`), and many still are.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

from linen_core import (
    FrozenDict,
    RulesFallback,
    Scope,
    Variable,
    freeze,
    struct,
    with_logical_constraint,
)
from linen_core.extend import current_module
from linen_transforms.errors import AxisNamesError, OutsideModuleError

T = TypeVar("T")

SUFFIX = "_axes"


class AxisMetadata(struct.PyTreeNode):
    """The names of the axes of one variable: a pytree without leaves.

    Args:
        names: a logical name for each axis, or None for one that is not split: a tuple, a
            `PartitionSpec`, or a mapping of these for a variable that is one.

    Example:
        >>> import jax
        >>> from linen_transforms.partitioning import AxisMetadata
        >>> metadata = AxisMetadata(names=("embed", "mlp"))
        >>> metadata, jax.tree.leaves(metadata)
        (AxisMetadata(names=('embed', 'mlp')), [])
    """

    names: Any = struct.field(pytree_node=False)


class PartitionedVariable(Variable[T]):
    """A reference to a variable whose value is sharded by the names of its axes.

    Args:
        scope: the scope that the variable is in.
        collection: the name of its collection.
        name: its name.
        axes: the logical names of its axes; None if it is not to be sharded.
        fallback: what to do with a name that no rule maps.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_core import bind
        >>> from linen_transforms.partitioning import PartitionedVariable
        >>> scope = bind({"cache": {"keys": jnp.zeros(3)}})
        >>> PartitionedVariable(scope, "cache", "keys", ("length",)).value.shape
        (3,)
    """

    __slots__ = ("axes", "fallback")

    def __init__(
        self,
        scope: Scope,
        collection: str,
        name: str,
        axes: Any = None,
        fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    ) -> None:
        super().__init__(scope, collection, name, unbox=False)
        self.axes: Any = axes
        self.fallback: RulesFallback = fallback

    @property
    def value(self) -> T:
        """The current value, sharded if there are axis rules and a mesh; it can be assigned.

        Raises:
            ModifyScopeVariableError: on assignment, if the collection is immutable.
            JaxTransformError: on assignment inside a raw JAX transformation.
            UnknownLogicalAxisError: no rule maps a name, and `fallback` is `RAISE_ERROR`.
        """
        return self._sharded(self.scope.get_variable(self.collection, self.name))

    @value.setter
    def value(self, value: T) -> None:
        self.scope.put_variable(self.collection, self.name, self._sharded(value))

    def _sharded(self, value: Any) -> Any:
        return with_logical_constraint(value, _names(self.axes), fallback=self.fallback)


def param_with_axes(
    name: str,
    init_fn: Callable[..., T],
    *init_args: Any,
    axes: Any = None,
    module: Any = None,
    **init_kwargs: Any,
) -> T:
    """Give a parameter and, when it is created, note down the names of its axes.

    Args:
        name: its name in the module.
        init_fn: gives the initial value, from a key and `init_args`.
        *init_args: arguments of `init_fn` after the key, usually a shape and a dtype.
        axes: a logical name for each axis, or None for one that is not split: a sequence, a
            `PartitionSpec`, or a mapping of these if the parameter is one. They go into the
            collection "params_axes". None if the axes have no names.
        module: the module whose parameter it is; by default the one whose method runs.
        **init_kwargs: keyword arguments of `init_fn`.

    Returns:
        The value of the parameter, sharded if there are axis rules and a mesh.

    Raises:
        OutsideModuleError: no method of a module runs, and `module` is None.
        AxisNamesError: the variables hold other names for its axes.
        NameInUseError: the module has something else of that name.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import param_with_axes
        >>> class Dense(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ param_with_axes("kernel", init, (2, 3), axes=("embed", "mlp"))
        >>> Dense().init(jax.random.key(0), jax.numpy.ones(2))["params_axes"]
        {'kernel_axes': AxisMetadata(names=('embed', 'mlp'))}
    """
    module = _owner("param_with_axes", module)
    value = module.param(name, init_fn, *init_args, **init_kwargs)
    if axes is None:
        return value
    _note_names(module, "params", name, axes)
    return with_logical_constraint(value, _names(axes))


def variable_with_axes(
    collection: str,
    name: str,
    init_fn: Callable[..., T],
    *init_args: Any,
    axes: Any = None,
    module: Any = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    **init_kwargs: Any,
) -> PartitionedVariable[T]:
    """Refer to a variable and, when it is created, note down the names of its axes.

    Args:
        collection: its collection. The names go into a collection whose name ends in "_axes".
        name: its name in the module.
        init_fn: gives the initial value.
        *init_args: arguments of `init_fn`.
        axes: the names of its axes, as for `param_with_axes`.
        module: the module whose variable it is; by default the one whose method runs.
        fallback: what to do with a name that no rule maps.
        **init_kwargs: keyword arguments of `init_fn`.

    Returns:
        A reference, whose `value` can be read and assigned.

    Raises:
        OutsideModuleError: no method of a module runs, and `module` is None.
        AxisNamesError: the variables hold other names for its axes.
        NameInUseError: the module has something else of that name.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import variable_with_axes
        >>> class Cache(Module):
        ...     @compact
        ...     def __call__(self):
        ...         return variable_with_axes("cache", "k", jnp.zeros, (4,), axes=("length",)).value
        >>> Cache().apply({}, mutable=True)[1]["cache_axes"]
        {'k_axes': AxisMetadata(names=('length',))}
    """
    module = _owner("variable_with_axes", module)
    module.variable(collection, name, init_fn, *init_args, **init_kwargs)
    if axes is not None:
        _note_names(module, collection, name, axes)
    return PartitionedVariable(module.scope, collection, name, axes, fallback)


def get_axis_names(axes_metadata: Mapping[str, Any]) -> FrozenDict[str, Any]:
    """Give the names in a collection of axis metadata in the form of the variables themselves.

    Args:
        axes_metadata: a collection such as `variables["params_axes"]`.

    Returns:
        A frozen dict with a `PartitionSpec` of logical names for each variable, for
        `logical_to_mesh`.

    Raises:
        AxisNamesError: there is something in it that is no `AxisMetadata`.

    Example:
        >>> from linen_transforms.partitioning import AxisMetadata, get_axis_names
        >>> names = get_axis_names({"dense": {"kernel_axes": AxisMetadata(("embed", "mlp"))}})
        >>> tuple(names["dense"]["kernel"])
        ('embed', 'mlp')
    """
    return freeze(_names_of_all(axes_metadata))


def _names_of_all(tree: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_named(name, value) for name, value in tree.items())


def _named(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        return name, _names_of_all(value)
    if not isinstance(value, AxisMetadata):
        raise AxisNamesError.of_leaf(value)
    return name.removesuffix(SUFFIX), _map_names(lambda names: PartitionSpec(*names), value.names)


def with_name(tree: Any, axis: int, name: str | None) -> Any:
    """Insert the name of an axis that the variables of a tree of metadata have gained."""

    def inserted(names: Any) -> Any:
        longer = list(names)
        longer.insert(axis if axis >= 0 else axis + len(longer) + 1, name)
        return tuple(longer)

    return _map_metadata(inserted, tree)


def without_name(tree: Any, where: str, axis: int, name: str | None) -> Any:
    """Take out the name of an axis that the variables of a tree of metadata have lost.

    Raises:
        AxisNamesError: the axis has another name.
    """

    def removed(names: Any) -> Any:
        rest = list(names)
        if not -len(rest) <= axis < len(rest) or rest.pop(axis) != name:
            raise AxisNamesError.of_axis(where, axis, name, names)
        return tuple(rest)

    return _map_metadata(removed, tree)


def _map_metadata(fn: Callable[[Any], Any], tree: Any) -> Any:
    def map_one(leaf: Any) -> Any:
        if not isinstance(leaf, AxisMetadata):
            return leaf
        return AxisMetadata(_map_names(fn, leaf.names))

    return jax.tree.map(map_one, tree, is_leaf=lambda leaf: isinstance(leaf, AxisMetadata))


def _map_names(fn: Callable[[Any], Any], names: Any) -> Any:
    """Apply a function to the names of an array, or to those of each array of a mapping."""
    return jax.tree.map(fn, names, is_leaf=lambda node: not isinstance(node, Mapping))


def _owner(caller: str, module: Any) -> Any:
    module = current_module() if module is None else module
    if module is None:
        raise OutsideModuleError(caller)
    return module


def _note_names(module: Any, collection: str, name: str, axes: Any) -> None:
    """Put names into the collection beside, if that can be changed."""
    scope, collection, key = module.scope, collection + SUFFIX, name + SUFFIX
    if not scope.is_mutable_collection(collection):
        return
    scope.reserve_to_sow(key, collection)
    new, known = AxisMetadata(_names(axes)), scope.get_variable(collection, key)
    if known is None:
        scope.put_variable(collection, key, new)
    elif known != new:
        raise AxisNamesError.of_two(scope.debug_path, name, known.names, new.names)


def _names(axes: Any) -> Any:
    """Give names in a form that hashes."""
    if isinstance(axes, Mapping):
        return FrozenDict({key: _names(value) for key, value in axes.items()})
    return tuple(axes) if isinstance(axes, list) else axes
