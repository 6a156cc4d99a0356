"""Transformations of what a Module sees: its variables, their metadata, and its random streams."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from linen_core import CollectionFilter
from linen_transforms import lift
from linen_transforms._map_variables import as_they_are
from linen_transforms._metadata_axis import add_metadata_axis as lifted_metadata_axis
from linen_transforms._modules import Methods
from linen_transforms._over_modules import over_modules

Target = TypeVar("Target", bound=Callable[..., Any])


def map_variables(
    target: Target,
    mapped_collections: CollectionFilter = True,
    trans_in_fn: Callable[..., Any] = as_they_are,
    trans_out_fn: Callable[..., Any] = as_they_are,
    init: bool = False,
    mutable: bool = False,
    rngs: CollectionFilter = True,
    variables: CollectionFilter = True,
    methods: Methods = None,
) -> Target:
    """Let a module see other variables than those that are stored.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        mapped_collections: a filter of the collections that are mapped.
        trans_in_fn: a function of these collections, a dict from names to dicts of the module's
            variables, that returns what the module sees in their place.
        trans_out_fn: a function of the collections that the module may have changed, that returns
            what is stored.
        init: whether the module may create variables in mapped collections that are mutable. It
            then runs twice: first to create them, and again with what `trans_in_fn` makes of what
            is stored. Variables that exist stay.
        mutable: whether the module may change variables in mapped collections that are mutable;
            with `init` it may.
        rngs: a filter of the random streams that are there.
        variables: a filter of the other collections that are there.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        MappedVariablesError: (when called) a function returns no dict of collections.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        A layer whose weights are positive, whatever is stored:

        >>> import jax
        >>> import jax.numpy as jnp
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Dense(Module):
        ...     features: int
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.normal()
        ...         return x @ self.param("kernel", init, (x.shape[-1], self.features))
        >>> class Monotone(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         Positive = linen_transforms.map_variables(
        ...             Dense,
        ...             "params",
        ...             lambda variables: jax.tree.map(jnp.exp, variables),
        ...             lambda variables: jax.tree.map(jnp.log, variables),
        ...             mutable=self.is_initializing(),
        ...         )
        ...         return Positive(3)(x)
        >>> params = {"Map_variablesDense_0": {"kernel": jnp.zeros((4, 3))}}
        >>> Monotone().apply({"params": params}, jnp.ones(4)).tolist()
        [4.0, 4.0, 4.0]
    """
    options = {
        "mapped_collections": mapped_collections,
        "trans_in_fn": trans_in_fn,
        "trans_out_fn": trans_out_fn,
        "init": init,
        "mutable": mutable,
        "rngs": rngs,
        "variables": variables,
    }
    names = {"trans_in_fn": "map_in_fn", "trans_out_fn": "map_out_fn"}

    def make(**own: Any) -> Any:
        named = {names.get(name, name): value for name, value in (options | own).items()}
        return partial(lift.map_variables, **named)

    return over_modules("map_variables", target, make, methods)


def fold_rngs(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    methods: Methods = None,
) -> Target:
    """Draw one key from each random stream at entry, which all draws of a module start from.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Noise(Module):
        ...     def __call__(self, x):
        ...         return x + jax.random.normal(self.make_rng("noise"), x.shape)
        >>> noise = linen_transforms.fold_rngs(Noise)()
        >>> noise.apply({}, jax.numpy.zeros(2), rngs={"noise": jax.random.key(0)}).shape
        (2,)
    """
    options = {"variables": variables, "rngs": rngs}
    return over_modules(
        "fold_rngs", target, lambda **own: partial(lift.fold_rngs, **options | own), methods
    )


def add_metadata_axis(
    target: Target,
    variable_axes: Mapping[Any, int | None] = {},
    metadata_params: Mapping[Any, Any] = {},
    methods: Methods = None,
) -> Target:
    """Tell boxes about an axis of their values that a module does not know of.

    This is what `vmap` and `scan` do with the metadata of variables, without a map or a loop.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variable_axes: from filters of collections to the position of the axis, or None. Other
            collections stay as they are.
        metadata_params: what boxes are told about the axis.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.

    Returns:
        A class, or a function, that is called as the target is. Lifted classes are named as those
        of `map_variables`. The boxes lose the axis on the way in, and gain it on the way out; the
        values stay what they are.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import PARTITION_NAME, Module, compact, with_partitioning
        >>> class Bias(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = with_partitioning(jax.nn.initializers.ones, ("out",))
        ...         return x + self.param("bias", init, (2,))
        >>> Layer = linen_transforms.add_metadata_axis(Bias, {"params": 0}, {PARTITION_NAME: "layers"})
        >>> variables = Layer().init(jax.random.key(0), jax.numpy.ones(2))
        >>> variables["params"]["bias"].names
        ('layers', 'out')
    """
    options = {"variable_axes": variable_axes, "metadata_params": metadata_params}
    return over_modules(
        "map_variables",
        target,
        lambda **own: partial(lifted_metadata_axis, **options | own),
        methods,
    )
