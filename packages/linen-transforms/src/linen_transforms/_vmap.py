"""`vmap` over functions of scopes."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax

from linen_core import subtract_filters
from linen_transforms._axes import common_size, split_keys, with_axis, without_axis
from linen_transforms._in_out import Axis, VariableAxes
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import SplitRngsError


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
        AxisSizeError: (when called) the mapped axes do not exist or have different sizes.
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
    both = VariableAxes(variable_axes)
    filters, axes = tuple(both.into), tuple(both.into.values())
    out_filters, axes_out = tuple(both.out), (*both.out.values(), 0)
    streams, are_split = tuple(split_rngs), tuple(split_rngs.values())

    def inner(cut: Cut, variables: Any, keys: Any, *args: Any, **kwargs: Any) -> Any:
        mapped = {"argument": (in_axes, args), "keyword argument": (0, kwargs)}
        size = common_size(
            f"{cut.roots[0].path_text}: vmap",
            "axis_size",
            axis_size,
            mapped | cut.named(axes, variables),
        )
        keys = tuple(
            split_keys(group, size) if is_split else group
            for group, is_split in zip(keys, are_split, strict=True)
        )
        variables = tuple(
            without_axis(group, axis, metadata_params)
            for group, axis in zip(variables, axes, strict=True)
        )

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
            return y, cut.leave(scopes)

        y, changed = mapped_fn(variables, keys, args, kwargs)
        return y, tuple(
            with_axis(group, axis, metadata_params)
            for group, axis in zip(changed, axes_out, strict=True)
        )

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
