"""`scan` over functions of scopes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jax.tree_util import keystr

from linen_core import CollectionFilter, subtract_filters
from linen_core import broadcast as broadcast_axis
from linen_core.extend import Rehearsal
from linen_transforms._axes import common_size, split_groups, with_group_axes, without_group_axes
from linen_transforms._gradients import description
from linen_transforms._in_out import Axis, VariableAxes, union
from linen_transforms._loop import loop
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import LoopOutputError, SplitRngsError


def scan(
    fn: Callable[..., Any],
    variable_axes: Mapping[Any, Axis] = {},
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = {},
    check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
    """Lift `jax.lax.scan`: loop a function of scopes over axes of its arguments and variables.

    The function runs once, to be traced; random draws count as if it had run twice, which gives the
    numbers of flax.linen.

    Args:
        fn: a function `(scope, carry, *args)` that returns `(carry, y)`. There may be a pytree of
            scopes.
        variable_axes: from filters of collections to the axis of their variables that is looped
            over. `partitioning.ScanIn` around an axis is for variables that do not change, and
            `ScanOut` for those that the body does not read. What is sown into collections that
            nothing here matches is stacked along axis 0.
        variable_broadcast: a filter of the collections that all iterations share. They may be
            created in the body, if their values do not depend on the iteration.
        variable_carry: a filter of the collections that iterations hand on to the next.
        split_rngs: from filters of random streams to whether every iteration gets another key.
            Other streams are not there.
        in_axes: the axes of `args` that are looped over, a pytree prefix; `linen_core.broadcast`
            for what is the same in all iterations.
        out_axes: the axes along which `y` is stacked, a pytree prefix; `broadcast` likewise.
        length: the number of iterations, if nothing that is looped over says it.
        reverse: whether the loop runs from the last entry to the first.
        unroll: how many iterations are put into one step of the compiled loop.
        _split_transpose: as for `jax.lax.scan`.
        data_transform: a function of the groups of variables and of keys that an iteration gets that
            returns others of the same form, inside of the loop: for sharding constraints, say.
        metadata_params: what boxes are told about the axis that they gain and lose.
        check_constancy_invariants: whether a broadcast variable or result that depends on the
            iteration is an error. If False, that of the last iteration is kept.

    Returns:
        A function `(scope, carry, *args)` that returns `(carry, ys)`.

    Raises:
        AxisSizeError: (when called) the axes do not exist or have different sizes.
        CarryMismatchError: (when called) the carry comes out of the body as something else.
        LoopInvariantError: (when called) a broadcast variable or result depends on the iteration.
        LoopOutputError: (when called) the body returns no pair.
        KeywordArgumentsError: (when called) there are keyword arguments.
        SplitRngsError: (when called) the body draws from a stream that `split_rngs` does not match.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import init
        >>> from linen_transforms import lift
        >>> def layer(scope, x, _):
        ...     shape = (x.shape[-1], x.shape[-1])
        ...     return x @ scope.param("kernel", jax.nn.initializers.ones, shape), None
        >>> layers = lift.scan(
        ...     layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=4
        ... )
        >>> _, variables = init(layers)(jax.random.key(0), jax.numpy.ones(3), None)
        >>> variables["params"]["kernel"].shape
        (4, 3, 3)
    """
    both = VariableAxes(variable_axes).checked("scan", broadcast_axis)
    filters, axes = tuple(both.into), tuple(both.into.values())
    axes_out = (*both.out.values(), 0)
    streams, are_split = tuple(split_rngs), tuple(split_rngs.values())

    def inner(cut: Cut, variables: Any, keys: Any, carry: Any, *args: Any) -> Any:
        shared, carried, *stacked = variables
        carried, kept = cut.split(carried)
        size = common_size(
            f"{cut.roots[0].path_text}: scan",
            "length",
            length,
            {"argument": (in_axes, args)} | cut.named(axes, tuple(stacked)),
            broadcast_axis,
        )
        keys = split_groups(keys, are_split, size)
        stacked = without_group_axes(stacked, axes, metadata_params)
        rehearsals: list[Rehearsal] = []
        key_axes = tuple(0 if is_split else broadcast_axis for is_split in are_split)

        def body(_: Any, carry: Any, stacked: Any, keys: Any, args: Any) -> Any:
            carried, carry = carry
            groups = (shared, carried, *stacked)
            if data_transform is not None:
                groups, keys = data_transform(groups, keys)
            rehearsal = _next_rehearsal(
                cut, rehearsals, variable_broadcast, check_constancy_invariants
            )
            scopes = cut.enter((kept, *groups), keys, rehearsal=rehearsal)
            carry, y = _pair(cut, fn(scopes, carry, *args))
            rehearsal.end()
            shared_out, carried_out, *stacked_out = cut.leave(scopes)
            return shared_out, (carried_out, carry), (y, tuple(stacked_out))

        run = loop(
            body,
            (axes, key_axes, in_axes),
            (out_axes, axes_out),
            length=size,
            check_invariants=check_constancy_invariants,
            options={"reverse": reverse, "unroll": unroll, "_split_transpose": _split_transpose},
            path=cut.roots[0].debug_path,
            describe=partial(_describe, cut),
        )
        shared_out, (carried, carry), (ys, stacked_out) = run(
            None, (carried, carry), stacked, keys, args
        )
        stacked_out = with_group_axes(stacked_out, axes_out, metadata_params)
        return (carry, ys), (shared_out, carried, *stacked_out)

    unstacked = (variable_broadcast, variable_carry)
    return with_cut(
        inner,
        (*unstacked, *filters),
        (*unstacked, *both.out),
        streams,
        name="scan",
        sown=subtract_filters(True, union([*unstacked, both.only_in])),
        withheld=partial(SplitRngsError, "scan"),
    )


def _pair(cut: Cut, output: Any) -> tuple[Any, Any]:
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        raise LoopOutputError("scan", cut.roots[0].debug_path, description(output))
    return output[0], output[1]


def _next_rehearsal(
    cut: Cut, rehearsals: list[Rehearsal], shared: CollectionFilter, check: bool
) -> Rehearsal:
    """Start another run of the body: flax.linen has one for every dtype of the carry, too."""
    if rehearsals:
        rehearsals[-1].take_back()
    runs = len(rehearsals) + (2 if check else 1)
    rehearsals.append(cut.rehearse(shared if check else False, runs))
    return rehearsals[-1]


def _describe(cut: Cut, path: Sequence[Any]) -> str:
    """Say what is at a key path of the result of the body."""
    part, *rest = path
    if part.idx == 0:
        return cut.describe(rest)
    is_variable = rest[0].idx == (0 if part.idx == 1 else 1)
    if is_variable:
        return cut.describe(rest[1:])
    return ("carry" if part.idx == 1 else "result") + keystr(tuple(rest[1:]))
