"""The lifted transformations over Modules."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from linen_core import CollectionFilter
from linen_transforms import lift
from linen_transforms._in_out import Axis, has_axis_of_params
from linen_transforms._over_modules import over_modules
from linen_transforms._static import Names, Numbers

Target = TypeVar("Target", bound=Callable[..., Any])
Methods = Sequence[str] | Mapping[str, Mapping[str, Any]] | str | None


def vmap(
    target: Target,
    variable_axes: Mapping[Any, Axis] = {},
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
    axis_name: Hashable | None = None,
    spmd_axis_name: Hashable | tuple[Hashable, ...] | None = None,
    metadata_params: Mapping[Any, Any] = {},
    methods: Methods = None,
) -> Target:
    """Lift `jax.vmap`: map a module over axes of its arguments and variables.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variable_axes: from filters of collections to the axis of their variables that is mapped
            over, or None for variables that all entries share. `partitioning.ScanIn` around an axis
            is for variables that do not change, and `ScanOut` for those that the body does not read.
            Other collections are not there; what is sown into them is stacked along axis 0.
        split_rngs: from filters of random streams to whether every entry gets another key. Other
            streams are not there.
        in_axes: the axes of the arguments, as for `jax.vmap`, without the module.
        out_axes: the axes of the results, as for `jax.vmap`.
        axis_size: the number of entries, if nothing that is mapped says it.
        axis_name: a name of the axis for collective operations.
        spmd_axis_name: mesh axes over which the mapped axis is sharded.
        metadata_params: what boxes are told about the axis that they gain and lose.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.

    Returns:
        A class, or a function, that is called as the target is. Keyword arguments are mapped over
        axis 0.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        AxisSizeError: (when called) the mapped axes do not exist or have different sizes.
        SplitRngsError: (when called) the body draws from a stream that `split_rngs` does not match.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Dense(Module):
        ...     features: int
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ self.param("kernel", init, (x.shape[-1], self.features))
        >>> Experts = linen_transforms.vmap(
        ...     Dense, variable_axes={"params": 0}, split_rngs={"params": True}
        ... )
        >>> variables = Experts(2).init(jax.random.key(0), jax.numpy.ones((5, 3)))
        >>> variables["params"]["kernel"].shape
        (5, 3, 2)
    """
    options = {
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_size": axis_size,
        "axis_name": axis_name,
        "spmd_axis_name": spmd_axis_name,
        "metadata_params": metadata_params,
    }
    return over_modules(
        "vmap",
        target,
        lambda **own: partial(lift.vmap, **options | own),
        methods,
        is_mapped=has_axis_of_params(variable_axes),
    )


def scan(
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
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = {},
    methods: Methods = None,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Target:
    """Lift `jax.lax.scan`: loop a module over axes of its arguments and variables.

    The body runs once, to be traced; random draws count as if it had run twice, which gives the
    numbers of flax.linen.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module; its
            arguments are `(carry, *args)` and it returns `(carry, y)`.
        variable_axes: from filters of collections to the axis of their variables that is looped
            over. `partitioning.ScanIn` around an axis is for variables that do not change, and
            `ScanOut` for those that the body does not read. What is sown into collections that
            nothing here matches is stacked along axis 0.
        variable_broadcast: a filter of the collections that all iterations share.
        variable_carry: a filter of the collections that iterations hand on to the next.
        split_rngs: from filters of random streams to whether every iteration gets another key.
            Other streams are not there.
        in_axes: the axes of `args` that are looped over, a pytree prefix; `linen_core.broadcast`
            for what is the same in all iterations.
        out_axes: the axes along which `y` is stacked, a pytree prefix; `broadcast` likewise.
        length: the number of iterations, if nothing that is looped over says it.
        reverse: whether the loop runs from the last entry to the first.
        unroll: how many iterations are put into one step of the compiled loop.
        data_transform: a function of the groups of variables and of keys that an iteration gets that
            returns others of the same form, inside of the loop: for sharding constraints, say.
        metadata_params: what boxes are told about the axis that they gain and lose.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.
        _split_transpose: as for `jax.lax.scan`.
        check_constancy_invariants: whether a broadcast variable or result that depends on the
            iteration is an error. If False, that of the last iteration is kept.

    Returns:
        A class, or a function, that is called as the target is, and returns `(carry, ys)`.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        AxisSizeError: (when called) the axes do not exist or have different sizes.
        CarryMismatchError: (when called) the carry comes out of the body as something else.
        LoopInvariantError: (when called) a broadcast variable or result depends on the iteration.
        KeywordArgumentsError: (when called) there are keyword arguments.
        SplitRngsError: (when called) the body draws from a stream that `split_rngs` does not match.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Layer(Module):
        ...     @compact
        ...     def __call__(self, x, _):
        ...         shape = (x.shape[-1], x.shape[-1])
        ...         kernel = self.param("kernel", jax.nn.initializers.lecun_normal(), shape)
        ...         return jax.nn.relu(x @ kernel), None
        >>> Layers = linen_transforms.scan(
        ...     Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=4
        ... )
        >>> variables = Layers().init(jax.random.key(0), jax.numpy.ones((2, 3)), None)
        >>> variables["params"]["kernel"].shape
        (4, 3, 3)
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "reverse": reverse,
        "unroll": unroll,
        "_split_transpose": _split_transpose,
        "data_transform": data_transform,
        "metadata_params": metadata_params,
        "check_constancy_invariants": check_constancy_invariants,
    }
    return over_modules(
        "scan",
        target,
        lambda **own: partial(lift.scan, **options | own),
        methods,
        is_mapped=has_axis_of_params(variable_axes),
    )


def checkpoint(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: Numbers = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
    static_argnames: Names = (),
) -> Target:
    """Lift `jax.checkpoint`: compute a module again where its gradient needs it, to save memory.

    Also called `remat`.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.
        concrete: not supported by JAX any more: it must be False.
        prevent_cse: whether the compiler must not merge the two computations. Inside of a scan it
            can be False, which is faster.
        static_argnums: which arguments are no arrays. They are counted as the call is written: from
            0, without the module.
        policy: which intermediate results are kept, as for `jax.checkpoint`.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.
        static_argnames: names of arguments that are no arrays.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        UnsupportedArgumentError: `concrete` is True.
        StaticArgumentError: (when called) a static argument is an array, does not hash or does not
            exist, or an argument that is not static is no array.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Block(Module):
        ...     @compact
        ...     def __call__(self, x, deterministic):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return jax.nn.relu(x @ self.param("kernel", init, (x.shape[-1], 3)))
        >>> Light = linen_transforms.remat(Block, static_argnums=(1,))
        >>> variables = Light().init(jax.random.key(0), jax.numpy.ones((2, 3)), True)
        >>> variables["params"]["kernel"].shape
        (3, 3)
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "concrete": concrete,
        "prevent_cse": prevent_cse,
        "static_argnums": static_argnums,
        "policy": policy,
        "static_argnames": static_argnames,
    }
    return over_modules(
        "checkpoint", target, lambda **own: partial(lift.checkpoint, **options | own), methods
    )


remat = checkpoint


def jit(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    static_argnums: Numbers = (),
    static_argnames: Names = (),
    donate_argnums: Numbers = (),
    device: Any = None,
    backend: str | None = None,
    methods: Methods = None,
) -> Target:
    """Lift `jax.jit`: compile a module, once for all modules that are equal.

    Equal blocks of a model share one trace, wherever they are. So a method of a lifted class does
    not know its place: `self.name` is None and `self.path` is that of a top-level module. So it is
    with modules from outside that it gets as a field or argument.

    What else a trace depends on is found out as it is for `jax.jit`: values that are captured or
    passed count by what they are when it is called, but not what other code changes inside of an
    object, such as an attribute of a class, between calls.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there. Each gives one key at every call.
        static_argnums: which arguments are no arrays but values that hash. They are counted as the
            call is written: from 0, without the module.
        static_argnames: the same by name.
        donate_argnums: which arguments, counted in the same way, may be overwritten.
        device: not supported: it must be None.
        backend: not supported: it must be None.
        methods: which methods of a class are lifted; `__call__` if None. A dict gives some methods
            other arguments.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
        UnsupportedArgumentError: `device` or `backend` is given.
        StaticArgumentError: (when called) a static argument is an array, does not hash or does not
            exist, or an argument that is not static is no array.
        DonatedArgumentError: (when called) an argument to donate is static or does not exist.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Block(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return jax.nn.relu(x @ self.param("kernel", init, (x.shape[-1], 3)))
        >>> class Model(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         for _ in range(4):
        ...             x = linen_transforms.jit(Block)()(x)
        ...         return x
        >>> variables = Model().init(jax.random.key(0), jax.numpy.ones((2, 3)))
        >>> sorted(variables["params"])
        ['JitBlock_0', 'JitBlock_1', 'JitBlock_2', 'JitBlock_3']
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "device": device,
        "backend": backend,
    }
    return over_modules(
        "jit",
        target,
        lambda **own: partial(lift.jit, **options | own),
        methods,
        is_anonymous=True,
    )


def remat_scan(
    target: Target,
    lengths: Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Mapping[Any, int] = {True: 0},
    split_rngs: Mapping[Any, bool] = {True: True},
) -> Target:
    """Loop a module, computing it again for its gradient, in nested loops that keep little memory.

    With `lengths=(a, b)` the module runs a times b times and its gradient keeps the results of
    about a plus b of these runs.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module; it takes a
            value and returns one of the same form.
        lengths: the numbers of iterations of the loops, the outermost first.
        policy: which intermediate results are kept, as for `jax.checkpoint`.
        variable_broadcast: a filter of the collections that all iterations share.
        variable_carry: a filter of the collections that iterations hand on to the next.
        variable_axes: from filters of collections to the axis of their variables that is looped
            over. Each loop adds one.
        split_rngs: from filters of random streams to whether every iteration gets another key.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        AxisSizeError: (when called) `lengths` is no sequence of integers, or empty.
        CarryMismatchError: (when called) the value comes out of the module as something else.
        NotAModuleError: (when called) the first argument of a function holds no bound module.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Layer(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         shape = (x.shape[-1], x.shape[-1])
        ...         return x @ self.param("kernel", jax.nn.initializers.lecun_normal(), shape)
        >>> Layers = linen_transforms.remat_scan(Layer, lengths=(4, 5))
        >>> variables = Layers().init(jax.random.key(0), jax.numpy.ones(3))
        >>> variables["params"]["kernel"].shape
        (4, 5, 3, 3)
    """
    options = {
        "lengths": lengths,
        "policy": policy,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
    }
    return over_modules(
        "remat_scan",
        target,
        lambda: partial(lift.remat_scan, **options),
        is_mapped=has_axis_of_params(variable_axes),
    )
