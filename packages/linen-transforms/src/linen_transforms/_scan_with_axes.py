"""`scan` and `vmap` that know the names of axes.

The names that `param_with_axes` notes down in the body are those of one slice. Out here there is one
axis more, and its name is inserted at its position; on the way in it is taken out again.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from linen_core import CollectionFilter, in_filter, union_filters
from linen_transforms import lift
from linen_transforms._in_out import Axis, ScanIn, ScanOut
from linen_transforms._modules import Methods
from linen_transforms._named_axes import SUFFIX, with_name, without_name
from linen_transforms._over_modules import over_modules
from linen_transforms._pack import pack

Target = TypeVar("Target", bound=Callable[..., Any])


def scan_with_axes(
    target: Target,
    variable_axes: Mapping[Any, Axis] = {},
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    axis_name: str = "layers",
    axes_collections: Sequence[str] = ("params",),
    data_transform: Callable[..., Any] | None = None,
    methods: Methods = None,
) -> Target:
    """Lift `jax.lax.scan` as `linen_transforms.scan` does, and name the axis of the loop.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module; its
            arguments are `(carry, *args)` and it returns `(carry, y)`.
        variable_axes: from filters of collections to the axis of their variables that is looped
            over.
        variable_broadcast: a filter of the collections that all iterations share.
        variable_carry: a filter of the collections that iterations hand on to the next.
        split_rngs: from filters of random streams to whether every iteration gets another key.
        in_axes: the axes of `args` that are looped over, a pytree prefix.
        out_axes: the axes along which `y` is stacked, a pytree prefix.
        length: the number of iterations, if nothing that is looped over says it.
        reverse: whether the loop runs from the last entry to the first.
        unroll: how many iterations are put into one step of the compiled loop.
        axis_name: the logical name of the axis that is looped over.
        axes_collections: the collections of variables with named axes.
        data_transform: a function of the groups of variables and of keys that an iteration gets that
            returns others of the same form, inside of the loop: for sharding constraints, say.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments of `scan`.

    Returns:
        A class, or a function, that is called as the target is, and returns `(carry, ys)`.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        AxisNamesError: (when called) the variables do not have `axis_name` at its position.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import param_with_axes, scan_with_axes
        >>> class Layer(Module):
        ...     @compact
        ...     def __call__(self, x, _):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ param_with_axes("w", init, (3, 3), axes=("in", "out")), None
        >>> Layers = scan_with_axes(
        ...     Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=4
        ... )
        >>> Layers().init(jax.random.key(0), jax.numpy.ones(3), None)["params_axes"]
        {'w_axes': AxisMetadata(names=('layers', 'in', 'out'))}
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": union_filters(
            variable_broadcast, [collection + SUFFIX for collection in axes_collections]
        ),
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "reverse": reverse,
        "unroll": unroll,
        "data_transform": data_transform,
    }
    named = dict.fromkeys(axes_collections, axis_name)
    return _with_names("scan", target, lift.scan, options, named, methods)


def vmap_with_axes(
    target: Target,
    variable_axes: Mapping[Any, Axis],
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
    axis_name: Hashable | None = None,
    partitioning_axis_names: Mapping[str, str] = {},
    spmd_axis_name: Hashable | tuple[Hashable, ...] | None = None,
    methods: Methods = None,
) -> Target:
    """Lift `jax.vmap` as `linen_transforms.vmap` does, and name the mapped axis of variables.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variable_axes: from filters of collections to the axis of their variables that is mapped
            over, or None for variables that all entries share.
        split_rngs: from filters of random streams to whether every entry gets another key.
        in_axes: the axes of the arguments, as for `jax.vmap`, without the module.
        out_axes: the axes of the results, as for `jax.vmap`.
        axis_size: the number of entries, if nothing that is mapped says it.
        axis_name: a name of the axis for collective operations.
        partitioning_axis_names: from collections of variables with named axes to the logical name of
            the mapped axis.
        spmd_axis_name: mesh axes over which the mapped axis is sharded.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments of `vmap`.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        AxisNamesError: (when called) the variables do not have the name at its position.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import param_with_axes, vmap_with_axes
        >>> class Expert(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ param_with_axes("w", init, (3, 3), axes=("in", "out"))
        >>> Experts = vmap_with_axes(
        ...     Expert,
        ...     variable_axes={"params": 0},
        ...     split_rngs={"params": True},
        ...     partitioning_axis_names={"params": "expert"},
        ... )
        >>> Experts().init(jax.random.key(0), jax.numpy.ones((5, 3)))["params_axes"]
        {'w_axes': AxisMetadata(names=('expert', 'in', 'out'))}
    """
    options = {
        "variable_axes": {**dict.fromkeys(_beside(partitioning_axis_names)), **variable_axes},
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_size": axis_size,
        "axis_name": axis_name,
        "spmd_axis_name": spmd_axis_name,
    }
    return _with_names("vmap", target, lift.vmap, options, partitioning_axis_names, methods)


def _beside(collections: Mapping[str, str]) -> list[str]:
    return [collection + SUFFIX for collection in collections]


def _with_names(
    name: str,
    target: Any,
    transform: Callable[..., Any],
    options: Mapping[str, Any],
    axis_names: Mapping[str, str],
    methods: Methods,
) -> Any:
    """Lift a transformation whose variables have named axes."""

    def make(**own: Any) -> Callable[..., Any]:
        all_options = {**options, **own}

        def transformation(fn: Callable[..., Any]) -> Callable[..., Any]:
            lifted = transform(fn, **all_options)
            for collection, axis_name in axis_names.items():
                axis = _axis_of(collection, all_options["variable_axes"])
                if axis is not None:
                    lifted = with_axis_name(lifted, collection + SUFFIX, axis, axis_name)
            return lifted

        return transformation

    lifted = over_modules(name, target, make, methods)
    if isinstance(lifted, type):
        # flax.linen lifts the class once more for each collection that is named.
        number = sum(collection in options["variable_axes"] for collection in axis_names)
        lifted.__name__ = lifted.__qualname__ = "Map_variables" * number + lifted.__name__
    return lifted


def _axis_of(collection: str, variable_axes: Mapping[Any, Axis]) -> int | None:
    axis = next((a for f, a in variable_axes.items() if in_filter(f, collection)), None)
    return axis.axis if isinstance(axis, (ScanIn, ScanOut)) else axis


def with_axis_name(
    fn: Callable[..., Any], collections: CollectionFilter, axis: int, name: str | None
) -> Callable[..., Any]:
    """Take the name of an axis out of what a function of scopes sees, and insert it in what it makes.

    Args:
        fn: a function of scopes that maps over the axis.
        collections: a filter of the collections of axis metadata.
        axis: the position of the axis in the variables.
        name: its name.
    """
    where = repr(collections) if isinstance(collections, str) else "a stack"

    def inner(
        scope_fn: Any, repack_fn: Any, variables: Any, keys: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        names, others = variables
        scopes = scope_fn((without_name(names, where, axis, name), others), keys)
        y = fn(scopes, *args, **kwargs)
        names, others = repack_fn(scopes)
        return y, (with_name(names, axis, name), others)

    filters = (collections, True)
    return pack(inner, filters, filters, (True,), "named axes", enable_kwargs=True)
