"""`add_metadata_axis` over functions of scopes."""

from collections.abc import Callable, Mapping
from typing import Any

from linen_transforms._axes import with_axis, without_axis
from linen_transforms._pack import Cut, Groups, with_cut


def add_metadata_axis(
    fn: Callable[..., Any],
    variable_axes: Mapping[Any, int | None] = {},
    metadata_params: Mapping[Any, Any] = {},
) -> Callable[..., Any]:
    """Tell boxes about an axis of their values that a function of scopes does not know of.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        variable_axes: from filters of collections to the position of the axis, or None. Other
            collections stay as they are.
        metadata_params: what boxes are told about the axis.

    Returns:
        A function of scopes and arguments. The boxes lose the axis on the way in, and gain it on
        the way out; the values stay what they are.

    Raises:
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import PARTITION_NAME, Partitioned, init
        >>> from linen_transforms._metadata_axis import add_metadata_axis
        >>> def bias(scope):
        ...     return scope.param("bias", lambda key: Partitioned(jax.numpy.ones(2), ("out",)))
        >>> layer = add_metadata_axis(bias, {"params": 0}, {PARTITION_NAME: "layers"})
        >>> init(layer)(jax.random.key(0))[1]["params"]["bias"].names
        ('layers', 'out')
    """
    filters, axes = (*variable_axes, True), (*variable_axes.values(), None)

    def inner(cut: Cut, variables: Groups, keys: Groups, /, *args: Any, **kwargs: Any) -> Any:
        groups = (
            without_axis(group, axis, metadata_params)
            for group, axis in zip(variables, axes, strict=True)
        )
        scopes = cut.enter(tuple(groups), keys)
        y = fn(scopes, *args, **kwargs)
        return y, tuple(
            with_axis(group, axis, metadata_params)
            for group, axis in zip(cut.leave(scopes), axes, strict=True)
        )

    return with_cut(inner, filters, filters, (True,), "add_metadata_axis", enable_kwargs=True)
