"""`map_variables` and `swap_collection` over functions of scopes.

A body sees its variables through two functions: one that makes what the body sees of what is stored,
and one that makes what is stored of what the body has left. With both one can mask or transpose
weights, tie one layer's to another's, or constrain their signs, while the layers know nothing of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from linen_core import CollectionFilter, in_filter, subtract_filters, union_filters
from linen_transforms._pack import Cut, Groups, with_cut
from linen_transforms.errors import MappedVariablesError

Collections = dict[str, Any]


def as_they_are(variables: Any) -> Any:
    """Give variables back."""
    return variables


def map_variables(
    fn: Callable[..., Any],
    mapped_collections: CollectionFilter,
    map_in_fn: Callable[..., Any] = as_they_are,
    map_out_fn: Callable[..., Any] = as_they_are,
    init: bool = False,
    mutable: bool = False,
    rngs: CollectionFilter = True,
    variables: CollectionFilter = True,
) -> Callable[..., Any]:
    """Let a function of scopes see other variables than those that are stored.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        mapped_collections: a filter of the collections that are mapped.
        map_in_fn: a function of these collections, a dict from names to dicts of variables, that
            returns what `fn` sees in their place.
        map_out_fn: a function of the collections that `fn` may have changed, that returns what is
            stored.
        init: whether `fn` may create variables in mapped collections that are mutable. It then
            runs twice: first to create them, and again with what `map_in_fn` makes of what is
            stored.
        mutable: whether `fn` may change variables in mapped collections that are mutable; with
            `init` it may.
        rngs: a filter of the random streams that are there.
        variables: a filter of the other collections that are there.

    Returns:
        A function of scopes and arguments.

    Raises:
        MappedVariablesError: (when called) a function returns no dict of collections.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scale(scope, x):
        ...     return x * scope.get_variable("params", "w")
        >>> def squared(variables):
        ...     return jax.tree.map(lambda w: w**2, variables)
        >>> apply(lift.map_variables(scale, "params", squared))({"params": {"w": 3.0}}, 2.0)
        18.0
    """
    is_open = init or mutable

    def inner(cut: Cut, groups: Groups, keys: Groups, /, *args: Any, **kwargs: Any) -> Any:
        mapped, others = groups

        def run(mapped: tuple[Collections, ...]) -> tuple[Any, Groups]:
            scopes = cut.enter((mapped, others), keys)
            y = fn(scopes, *args, **kwargs)
            return y, cut.leave(scopes)

        is_mutable = is_open and cut.is_mutable(mapped_collections)
        if init and is_mutable:
            start = _mapped(cut, "in", map_in_fn, mapped) if any(mapped) else mapped
            created = _mapped(cut, "out", map_out_fn, run(start)[1][0])
            mapped = tuple(map(_completed, mapped, created))
        y, (changed, rest) = run(_mapped(cut, "in", map_in_fn, mapped))
        if is_mutable:
            changed = _mapped(cut, "out", map_out_fn, changed)
        return y, (changed, rest)

    in_filters = (mapped_collections, variables)
    out_filters = (
        mapped_collections if is_open else False,
        subtract_filters(variables, mapped_collections),
    )
    return with_cut(inner, in_filters, out_filters, (rngs,), "map_variables", enable_kwargs=True)


def swap_collection(fn: Callable[..., Any], col_a: str, col_b: str) -> Callable[..., Any]:
    """Let a function of scopes see two collections under each other's names.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        col_a: a collection.
        col_b: another one.

    Returns:
        A function of scopes and arguments.

    Raises:
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scale(scope, x):
        ...     return x * scope.get_variable("params", "w")
        >>> averaged = lift.swap_collection(scale, "params", "averages")
        >>> apply(averaged)({"params": {"w": 3.0}, "averages": {"w": 4.0}}, 2.0)
        8.0
    """
    names = {col_a: col_b, col_b: col_a}

    def swapped(group: tuple[Collections, ...]) -> tuple[Collections, ...]:
        return tuple(
            {names.get(col, col): tree for col, tree in collections.items()}
            for collections in group
        )

    def swapped_filter(filter_: CollectionFilter) -> CollectionFilter:
        matched = {names[col] for col in names if in_filter(filter_, col)}
        return union_filters(subtract_filters(filter_, set(names)), matched)

    def inner(cut: Cut, groups: Groups, keys: Groups, /, *args: Any, **kwargs: Any) -> Any:
        scopes = cut.enter(tuple(map(swapped, groups)), keys, mutable=swapped_filter)
        y = fn(scopes, *args, **kwargs)
        return y, tuple(map(swapped, cut.leave(scopes)))

    return with_cut(inner, (True,), (True,), (True,), "swap_collection", enable_kwargs=True)


def _mapped(
    cut: Cut, which: str, fn: Callable[..., Any], group: tuple[Collections, ...]
) -> tuple[Collections, ...]:
    """Apply a function to the collections at each place."""
    results = []
    for root, collections in zip(cut.roots, group, strict=True):
        result = fn(jax.tree.map(lambda leaf: leaf, collections))  # it may change the dicts
        if not isinstance(result, Mapping) or not all(
            isinstance(col, str) and isinstance(tree, Mapping) for col, tree in result.items()
        ):
            raise MappedVariablesError(root.debug_path, which, result)
        results.append(dict(result))
    return tuple(results)


def _completed(stored: Mapping[str, Any], created: Mapping[str, Any]) -> dict[str, Any]:
    """Add what was created to what is stored already, which stays."""
    result = dict(created)
    for name, value in stored.items():
        both = isinstance(value, Mapping) and isinstance(created.get(name), Mapping)
        result[name] = _completed(value, created[name]) if both else value
    return result
