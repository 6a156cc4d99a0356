"""`vmap` over functions of scopes."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax

from linen_core import subtract_filters
from linen_transforms._axes import (
    check_axes,
    common_size,
    leaves_with_axes,
    split_groups,
    with_group_axes,
    without_group_axes,
)
from linen_transforms._in_out import Axis, VariableAxes
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import AxisSizeError, SplitRngsError


def vmap(
    fn: Callable[..., Any],
    variable_axes: Mapping[Any, Axis],
    split_rngs: Mapping[Any, bool],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
    axis_name: Hashable | None = None,
    spmd_axis_name: Hashable | tuple[Hashable, ...] | None = None,
    metadata_params: Mapping[Any, Any] = {},
) -> Callable[..., Any]:
    """Lift `jax.vmap`: map a function of scopes over axes of its arguments and variables.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        variable_axes: from filters of collections to the axis of their variables that is mapped
            over, or None for variables that all entries share. `partitioning.ScanIn` around an axis
            is for variables that do not change, and `ScanOut` for those that the body does not read.
            Other collections are not there; what is sown into them is stacked along axis 0.
        split_rngs: from filters of random streams to whether every entry gets another key. Other
            streams are not there.
        in_axes: the axes of the arguments, as for `jax.vmap`.
        out_axes: the axes of the results, as for `jax.vmap`.
        axis_size: the number of entries, if nothing that is mapped says it.
        axis_name: a name of the axis for collective operations.
        spmd_axis_name: mesh axes over which the mapped axis is sharded.
        metadata_params: what boxes are told about the axis that they gain and lose.

    Returns:
        A function of scopes and arguments. Keyword arguments are mapped over axis 0.

    Raises:
        AxisSizeError: (when called) the mapped axes do not exist or have different sizes, or what
            has none is not the same for all entries.
        SplitRngsError: (when called) the body draws from a stream that `split_rngs` does not match.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import init
        >>> from linen_transforms import lift
        >>> def dense(scope, x):
        ...     return x @ scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 2))
        >>> batch = lift.vmap(dense, variable_axes={"params": 0}, split_rngs={"params": True})
        >>> y, variables = init(batch)(jax.random.key(0), jax.numpy.ones((5, 3)))
        >>> variables["params"]["kernel"].shape
        (5, 3, 2)
    """
    both = VariableAxes(variable_axes).checked("vmap", None)
    filters, axes = tuple(both.into), tuple(both.into.values())
    out_filters, axes_out = tuple(both.out), (*both.out.values(), 0)
    streams, are_split = tuple(split_rngs), tuple(split_rngs.values())

    def inner(cut: Cut, variables: Any, keys: Any, /, *args: Any, **kwargs: Any) -> Any:
        mapped = {"argument": (in_axes, args), "keyword argument": (0, kwargs)}
        name = f"{cut.roots[0].path_text}: vmap"
        size = common_size(name, "axis_size", axis_size, mapped | cut.named(axes, variables))
        keys = split_groups(keys, are_split, size)
        variables = without_group_axes(variables, axes, metadata_params)
        returned: list[tuple[Any, Any]] = []

        @functools.partial(
            jax.vmap,
            in_axes=(axes, tuple(0 if is_split else None for is_split in are_split), in_axes, 0),
            out_axes=(out_axes, axes_out),
            axis_size=size,
            axis_name=axis_name,
            spmd_axis_name=spmd_axis_name,
        )
        def mapped_fn(variables: Any, keys: Any, args: Any, kwargs: Any) -> Any:
            scopes = cut.enter(variables, keys)
            y = fn(scopes, *args, **kwargs)
            changed = cut.leave(scopes)
            check_axes(name, out_axes, y, "result", size)
            for where, (axis, tree) in cut.named(axes_out, changed).items():
                check_axes(name, axis, tree, where, size)
            returned.append((y, changed))
            return y, changed

        try:
            y, changed = mapped_fn(variables, keys, args, kwargs)
        except ValueError as error:
            if not returned or "out_axes" not in str(error):
                raise
            # All other axes were checked: something has no axis, but is not the same everywhere.
            shared = _without_axis(name, cut, (out_axes, axes_out), returned[-1])
            hit = [what for where, what in shared.items() if f"out_axes{where}," in str(error)]
            raise AxisSizeError.of_shared(name, hit or list(shared.values())) from None
        return y, with_group_axes(changed, axes_out, metadata_params)

    sown = subtract_filters(True, both.only_in)
    return with_cut(
        inner,
        filters,
        out_filters,
        streams,
        name="vmap",
        enable_kwargs=True,
        sown=sown,
        withheld=functools.partial(SplitRngsError, "vmap"),
    )


def _without_axis(
    name: str, cut: Cut, axes: tuple[Any, Any], returned: tuple[Any, Any]
) -> dict[str, str]:
    """Say what the leaves without an axis are called, by where they are in what a body returns."""
    y, changed = returned
    results = leaves_with_axes(name, axes[0], y, "")
    shared = {f"[0]{where}": f"result{where}" for axis, where, _ in results if axis is None}
    for path, _ in jax.tree_util.tree_leaves_with_path(changed):
        if axes[1][path[0].idx] is None:
            shared[f"[1]{jax.tree_util.keystr(path)}"] = cut.describe(path[1:])
    return shared
