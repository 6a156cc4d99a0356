"""Variables, and states made from them, that are born in parts on the devices of a mesh.

`init_sharded` traces `init` once, abstractly, finds from boxes, logical axis rules or the rule of FSDP
how each array is to be split, and computes every part on the device that keeps it. No device, and no
host, ever holds the whole of an array that is split. `abstract_sharded` stops before it computes anything.
"""

import contextlib
import dataclasses
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.sharding import Mesh, NamedSharding

from linen_core import logical_axis_rules
from linen_core.errors import MeshAxisNotFoundError
from linen_core.extend.staging import read_by
from linen_train.distributed import _axes, _layout, _programs
from linen_train.errors import DistributedArgumentError, InitShardingError, MeshAxisError

__all__ = ["abstract_sharded", "init_sharded"]

_FsdpAxes: TypeAlias = str | Sequence[str] | None
# The arguments of `init`: rngs, specs and kwargs.
_Arguments: TypeAlias = tuple[Any, tuple[Any, ...], dict[str, Any]]


def init_sharded(
    model: Any,
    rngs: Any,
    *specs: Any,
    mesh: Mesh,
    rules: _axes.LogicalRules | None = None,
    fsdp_axis: _FsdpAxes = None,
    fsdp_min_size: int = 1024,
    create: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Initialise a model with every array split over a mesh from the start.

    Arrays in a box are split as the box names, by logical axis rules. Other arrays are whole on every
    device or, with `fsdp_axis`, split over it along their largest axis that it divides. A state that
    `create` makes is split like the parameters it is made from, optimizer included.

    The values are those of `model.init`, bit for bit, as far as the operations of an initializer round
    alike wherever a number stands in an array, as those of `jax.nn.initializers` do from JAX 0.8.2 on;
    `exp` on a CPU does not, for one. What only exists as a whole on the way, such as the
    factors of the orthogonal initializer, is computed whole on every device.

    Args:
        model: an object with `init(rngs, *specs, **kwargs)`.
        rngs: a key, or a dict from stream names to keys.
        *specs: arguments of `init`. Arrays may be given as `jax.ShapeDtypeStruct`.
        mesh: the mesh. With several processes, each calls this with the same arguments.
        rules: logical axis rules; None for those in use.
        fsdp_axis: the axis of the mesh, or several, that split arrays in no box.
        fsdp_min_size: the fewest numbers of an array that `fsdp_axis` splits.
        create: a function from the variables to a state, such as one that calls `TrainState.create`.
            It is traced.
        **kwargs: keyword arguments of `init`.

    Returns:
        The variables as `model.init` returns them, boxes included, or what `create` returns. All
        leaves are `jax.Array`s with a `NamedSharding` over the mesh.

    Raises:
        InitShardingError: a size is not divisible by the number of devices that split it, or a value
            depends on an argument that is a `ShapeDtypeStruct`.
        MeshAxisError: the mesh lacks an axis that boxes of variables lead to, or `fsdp_axis`; that
            also says how to give `rules`, where there are none.
        MeshAxisNotFoundError: the mesh lacks an axis that another array is constrained over.
        DistributedArgumentError: the model has no `init`, the mesh is none, or another argument is
            of another kind.
        DuplicateMeshAxisError: a box, by the rules, splits two axes over the same mesh axis.
        PartitionRankError: a box has more names than its array has axes.
        LogicalAxisRulesError: the rules are no rules.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_train.distributed import init_sharded, make_mesh
        >>> class Linear(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ self.param("kernel", init, (x.shape[-1], 64))
        >>> mesh = make_mesh(data=1, devices=jax.devices()[:1])
        >>> x = jax.ShapeDtypeStruct((1, 32), "float32")
        >>> variables = init_sharded(Linear(), jax.random.key(0), x, mesh=mesh, fsdp_axis="data")
        >>> tuple(variables["params"]["kernel"].sharding.spec)
        (None, 'data')
    """
    layout = _checked_layout("init_sharded", model, create, mesh, rules, fsdp_axis, fsdp_min_size)
    arguments = (rngs, specs, kwargs)
    with _naming_variables("init_sharded", layout, model, arguments), _in_use(mesh, rules):
        plan = _plan(model, arguments, layout, create)
        _check_specs(plan)
        return plan.treedef.unflatten(
            _programs.evaluate(plan.closed, plan.args, plan.shardings, mesh)
        )


def abstract_sharded(
    model: Any,
    rngs: Any,
    *specs: Any,
    mesh: Mesh,
    rules: _axes.LogicalRules | None = None,
    fsdp_axis: _FsdpAxes = None,
    fsdp_min_size: int = 1024,
    create: Callable[[Any], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Return what `init_sharded` would, as shapes, dtypes and shardings, without computing anything.

    It is a target to restore a checkpoint onto, and shows beforehand what each device will hold.

    Args:
        model: an object with `init(rngs, *specs, **kwargs)`.
        rngs: a key, or a dict from stream names to keys; `jax.ShapeDtypeStruct`s do as well.
        *specs: arguments of `init`. Arrays may be given as `jax.ShapeDtypeStruct`.
        mesh: the mesh.
        rules: logical axis rules; None for those in use.
        fsdp_axis: the axis of the mesh, or several, that split arrays in no box.
        fsdp_min_size: the fewest numbers of an array that `fsdp_axis` splits.
        create: a function from the variables to a state.
        **kwargs: keyword arguments of `init`.

    Returns:
        The variables or the state, with a `jax.ShapeDtypeStruct` that has a sharding for each array.

    Raises:
        InitShardingError: a size is not divisible by the number of devices that split it.
        MeshAxisError: the mesh lacks an axis that boxes of variables lead to, or `fsdp_axis`; that
            also says how to give `rules`, where there are none.
        MeshAxisNotFoundError: the mesh lacks an axis that another array is constrained over.
        DistributedArgumentError: the model has no `init`, the mesh is none, or another argument is
            of another kind.
        DuplicateMeshAxisError: a box, by the rules, splits two axes over the same mesh axis.
        PartitionRankError: a box has more names than its array has axes.
        LogicalAxisRulesError: the rules are no rules.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_train.distributed import abstract_sharded, make_mesh
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape)
        >>> mesh = make_mesh(data=1, devices=jax.devices()[:1])
        >>> x = jax.ShapeDtypeStruct((32,), "float32")
        >>> abstract_sharded(Scale(), jax.random.key(0), x, mesh=mesh)["params"]["scale"].shape
        (32,)
    """
    layout = _checked_layout(
        "abstract_sharded", model, create, mesh, rules, fsdp_axis, fsdp_min_size
    )
    arguments = (rngs, specs, kwargs)
    with _naming_variables("abstract_sharded", layout, model, arguments), _in_use(mesh, rules):
        plan = _plan(model, arguments, layout, create)
    pairs = zip(plan.closed.jaxpr.outvars, plan.shardings, strict=True)
    return plan.treedef.unflatten(
        jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype, sharding=sharding)
        for var, sharding in pairs
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A traced `init`, and where its results go.

    Attributes:
        closed: the computation of the leaves of the result.
        args: the values of its arguments.
        paths: where each argument stands in the call.
        shardings: the sharding of each leaf.
        treedef: the structure of the result.
    """

    closed: ClosedJaxpr
    args: Sequence[Any]
    paths: Sequence[str]
    shardings: Sequence[NamedSharding]
    treedef: Any


def _plan(
    model: Any,
    arguments: _Arguments,
    layout: _layout.Layout,
    create: Callable[[Any], Any] | None,
) -> _Plan:
    initialise, traced = _initialiser(model, arguments)

    def make(*arrays: Any) -> tuple[Any, Any]:
        variables = initialise(*arrays)
        return variables, None if create is None else create(variables)

    args = [leaf for _, leaf in traced]
    closed, (variables, state) = jax.make_jaxpr(make, return_shape=True)(*args)
    state_leaves, state_treedef = jax.tree.flatten(variables if create is None else state)
    outvars = closed.jaxpr.outvars
    needed = outvars if create is None else outvars[len(outvars) - len(state_leaves) :]
    return _Plan(
        _programs.opened(closed, needed),
        args,
        [_path_of(path) for path, _ in traced],
        _layout.shardings_of(variables if create is None else state, variables, layout),
        state_treedef,
    )


def _initialiser(
    model: Any, arguments: _Arguments
) -> tuple[Callable[..., Any], list[tuple[Any, Any]]]:
    """Return `init` as a function of the arrays among its arguments, and these arrays with paths."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(arguments)

    def initialise(*arrays: Any) -> Any:
        # Arrays become arguments; what is none, such as train=True, stays what it is.
        remaining = iter(arrays)
        given = [next(remaining) if _is_traced(leaf) else leaf for _, leaf in leaves]
        rngs, specs, kwargs = treedef.unflatten(given)
        return model.init(rngs, *specs, **kwargs)

    return initialise, [(path, leaf) for path, leaf in leaves if _is_traced(leaf)]


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)


def _path_of(path: tuple[Any, ...]) -> str:
    """Say which argument of the call a leaf of (rngs, specs, kwargs) is."""
    position, *rest = (jax.tree_util.keystr((key,), simple=True) for key in path)
    match position, rest:
        case "0", _:
            return "/".join(["rngs", *rest])
        case "1", [first, *others]:
            return "/".join([f"argument {int(first) + 1}", *others])
    return "/".join(rest)


def _check_specs(plan: _Plan) -> None:
    """Raise if a result depends on an array that is not there."""
    jaxpr = plan.closed.jaxpr
    read = set(read_by(jaxpr.eqns, jaxpr.outvars))
    for var, value, path in zip(jaxpr.invars, plan.args, plan.paths, strict=True):
        if isinstance(value, jax.ShapeDtypeStruct) and var in read:
            raise InitShardingError(
                f"init_sharded: initial values depend on the value of {path}, found "
                f"jax.ShapeDtypeStruct({value.shape}, {value.dtype}), expected an array. Give the "
                "array itself, such as the first batch."
            )


def _checked_layout(
    call: str,
    model: Any,
    create: Any,
    mesh: Mesh,
    rules: _axes.LogicalRules | None,
    fsdp_axis: _FsdpAxes,
    fsdp_min_size: int,
) -> _layout.Layout:
    """Return how arrays are split; raise if an argument is of another kind."""
    if not isinstance(mesh, Mesh):
        raise DistributedArgumentError(_axes.no_mesh(call, mesh))
    if not callable(getattr(model, "init", None)):
        raise DistributedArgumentError(
            f"{call}: found a model of type {type(model).__name__} without init, expected an object "
            f"with init(rngs, ...). Write {call}(MyModule(...), jax.random.key(0), x, mesh=mesh)."
        )
    if create is not None and not callable(create):
        raise DistributedArgumentError(
            f"{call}: found create={create!r:.80}, expected a function from the variables to a "
            "state. Write create=lambda variables: TrainState.create(...)."
        )
    if not isinstance(fsdp_min_size, numbers.Real):
        raise DistributedArgumentError(
            f"{call}: found fsdp_min_size={fsdp_min_size!r:.80}, expected how many numbers an array "
            "has at least that is split. Write fsdp_min_size=1024."
        )
    axes = () if fsdp_axis is None else _axes.named_by(call, "fsdp_axis", fsdp_axis, mesh)
    return _layout.Layout(mesh, rules, axes, fsdp_min_size)


@contextlib.contextmanager
def _naming_variables(
    call: str, layout: _layout.Layout, model: Any, arguments: _Arguments
) -> Iterator[None]:
    """Say of which variables an axis is that the mesh does not have."""
    try:
        yield
    except MeshAxisNotFoundError as error:
        # Its array has no path, and what `init` puts into a box has none yet. So `init` is traced
        # again, where nothing is constrained.
        initialise, traced = _initialiser(model, arguments)
        variables = None
        with contextlib.suppress(Exception), logical_axis_rules(()):
            variables = jax.eval_shape(initialise, *(leaf for _, leaf in traced))
        leaves = _layout.leaves_of(variables)
        text = _axes.absent_text(call, leaves, layout.mesh, layout.rules)
        if not text:  # a constraint in the model, where the traceback leads
            raise
        raise MeshAxisError(text) from error


@contextlib.contextmanager
def _in_use(mesh: Mesh, rules: _axes.LogicalRules | None) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        if rules is not None:
            stack.enter_context(logical_axis_rules(rules))
        yield
