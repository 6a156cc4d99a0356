"""`fold_rngs` over functions of scopes."""

from collections.abc import Callable
from typing import Any

from linen_core import CollectionFilter, Scope, in_filter
from linen_core.extend import collections_at, creating
from linen_transforms._pack import Cut, Groups, with_cut


def fold_rngs(
    fn: Callable[..., Any],
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Callable[..., Any]:
    """Draw one key from each random stream at entry, which all draws of a function start from.

    What happens below then depends on the place only through that one key. `jit` does this too.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A function of scopes and arguments.

    Raises:
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def key(scope):
        ...     return lift.fold_rngs(lambda scope: scope.rngs["noise"])(scope)
        >>> drawn = apply(lambda scope: scope.make_rng("noise"))({}, rngs={"noise": jax.random.key(0)})
        >>> bool(apply(key)({}, rngs={"noise": jax.random.key(0)}) == drawn)
        True
    """

    def inner(cut: Cut, variables: Groups, keys: Groups, /, *args: Any, **kwargs: Any) -> Any:
        scopes = cut.enter(variables, drawn(cut, keys))
        y = fn(scopes, *args, **kwargs)
        return y, cut.leave(scopes)

    return with_cut(inner, (variables,), (variables,), (rngs,), "fold_rngs", enable_kwargs=True)


def drawn(cut: Cut, keys: Groups) -> Groups:
    """Draw one key from each stream."""
    return tuple(
        tuple(
            {stream: _draw(root, stream) for stream in streams}
            for root, streams in zip(cut.roots, group, strict=True)
        )
        for group in keys
    )


def _draw(root: Scope, stream: str) -> Any:
    # New parameters come of this key. A loop that shares them creates them once.
    is_new = stream == "params" and in_filter(root.mutable, "params")
    if is_new and not collections_at(root).get("params"):
        with creating(root, "params"):
            return root.make_rng(stream)
    return root.make_rng(stream)
