"""The engine of all lifted transformations: functionalise, transform, put back.

A JAX transformation wants a pure function of arrays. A body that works in scopes becomes one in
three steps:

1. **Cut**: the variables and random streams at the places of the scopes are taken out, in *groups*,
   one for each filter of collections or streams. A place below another one comes with it.
2. **Enter**: inside of the transformation, scopes of a tree of its own are made around what the
   transformation gives for these groups. The body works in them.
3. **Leave**: the variables of the collections that the body could change are taken out of the inner
   scopes, in groups again, and what the transformation makes of them is put back at the places.

What lies between is up to each transformation: it maps, carries, splits or drops whole groups.

A collection that no filter names is not there for the body. It can sow into it all the same, if the
transformation says so: what is sown there leaves as a group of its own.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax

from linen_core import (
    CollectionFilter,
    Scope,
    group_collections,
    in_filter,
    intersect_filters,
    union_filters,
)
from linen_core.errors import ScopeCollectionNotFound
from linen_core.extend import (
    Rehearsal,
    changed_collections,
    collections_at,
    inner_scope,
    put_collections,
    rehearsal_in,
    sowable,
)
from linen_transforms.errors import (
    KeywordArgumentsError,
    NotAScopeError,
    WithheldCollectionError,
)

# For each outermost place: the collections, or the streams, that match a filter.
Group: TypeAlias = tuple[dict[str, Any], ...]
# For each filter: its group.
Groups: TypeAlias = tuple[Group, ...]


class Cut:
    """The places of scopes, as data.

    Args:
        scopes: a pytree of scopes.
        out_filters: filters of the collections that the body may change.
        sown: a filter of the collections that the body may sow into, if the scopes themselves may no
            more than that or if no other filter matches. What is sown where no other filter matches
            is one more group, the last, of what leaves. None stands for those of the filters.
        withheld: gives what a draw from a stream raises that is there outside but not for the body.

    Attributes:
        roots: the outermost scopes.
        places: for each scope, the number of its root and the path from there.

    Raises:
        NotAScopeError: there is something else in `scopes`, or nothing.
    """

    def __init__(
        self,
        scopes: Any,
        out_filters: Sequence[CollectionFilter],
        sown: CollectionFilter | None = None,
        withheld: Callable[[str, Sequence[str]], Exception] | None = None,
    ) -> None:
        leaves, self._structure = jax.tree.flatten(scopes)
        if not leaves:
            raise NotAScopeError(scopes)
        for leaf in leaves:
            if not isinstance(leaf, Scope):
                raise NotAScopeError(leaf)
        self.roots = _outermost(leaves)
        self.places = [_place(leaf, self.roots) for leaf in leaves]
        self._out_filters = out_filters if sown is None else (*out_filters, sown)
        changeable: CollectionFilter = False
        for out_filter in out_filters:
            changeable = union_filters(changeable, out_filter)
        self._changeable = changeable
        self._sown = self._changeable if sown is None else sown
        self._withheld = withheld

    def variables(self, filters: Sequence[CollectionFilter]) -> Groups:
        """Take the variables out."""
        return _by_filter([collections_at(root) for root in self.roots], filters)

    def keys(self, filters: Sequence[CollectionFilter]) -> Groups:
        """Take the keys of the random streams out."""
        return _by_filter([root.rngs for root in self.roots], filters)

    def rehearse(self, once: CollectionFilter, runs: int = 2) -> Rehearsal:
        """Start a run of the body whose draws count as those of several, but for new variables `once`."""
        return rehearsal_in(self.roots[0], once, runs)

    def enter(
        self,
        variables: Groups,
        keys: Groups,
        mutable: CollectionFilter | Callable[[CollectionFilter], CollectionFilter] = True,
        rehearsal: Rehearsal | None = None,
        is_anonymous: bool = False,
    ) -> Any:
        """Make inner scopes.

        Args:
            variables: the variables in groups, as the body sees them.
            keys: the keys in groups.
            mutable: a filter of the collections that the body may change, of those that it may; or
                a function that gives the one from the other.
            rehearsal: the rehearsal that the body is, if any.
            is_anonymous: whether the scopes do not say where they are.

        Returns:
            A pytree of scopes, like that which was cut.
        """
        allowed = mutable if callable(mutable) else partial(intersect_filters, mutable)
        inner: list[Scope] = []
        for i, root in enumerate(self.roots):
            same = (j for j in range(i) if root.is_same_tree(self.roots[j]))
            beside = next((inner[j] for j in same), None)
            inner.append(
                inner_scope(
                    root,
                    _joined(variables, i),
                    _joined(keys, i),
                    allowed(intersect_filters(root.mutable, self._changeable)),
                    rehearsal,
                    beside,
                    is_anonymous,
                    allowed(self._sowable(root)),
                    self._withheld,
                )
            )
        leaves = [functools.reduce(_descend, path, inner[i]) for i, path in self.places]
        return self._structure.unflatten(leaves)

    def _sowable(self, root: Scope) -> CollectionFilter:
        # What `init` creates is what the filters say.
        is_initializing = root.get_flag("initializing", False)
        return False if is_initializing else intersect_filters(sowable(root), self._sown)

    def leave(self, scopes: Any) -> Groups:
        """Take what the body may have changed out of its scopes, which end."""
        found: dict[int, Scope] = {}
        for (i, _), scope in zip(self.places, jax.tree.leaves(scopes), strict=True):
            found[i] = scope.root
        groups = _by_filter(
            [changed_collections(found[i]) for i in range(len(self.roots))], self._out_filters
        )
        for scope in found.values():
            scope.invalidate()
        return groups

    def put(self, variables: Groups) -> None:
        """Put variables back at the places."""
        for group in variables:
            for root, collections in zip(self.roots, group, strict=True):
                put_collections(root, collections)

    def split(self, group: Group) -> tuple[Group, Group]:
        """Part the collections of a group: those that the body can change, and the others."""
        parts = tuple(
            tuple(
                {
                    col: tree
                    for col, tree in found.items()
                    if in_filter(root.mutable, col) is changes
                }
                for root, found in zip(self.roots, group, strict=True)
            )
            for changes in (True, False)
        )
        return parts[0], parts[1]

    def named(self, axes: Sequence[Any], groups: Groups) -> dict[str, tuple[Any, Any]]:
        """Give collections with the axes of their groups, by what error texts call them."""
        return {
            f'collection "{col}" of {root.path_text}': (axis, tree)
            for axis, group in zip(axes, groups, strict=True)
            for root, found in zip(self.roots, group, strict=True)
            for col, tree in found.items()
        }

    def describe(self, path: Sequence[Any]) -> str:
        """Say which variable has a key path in a group, for error texts."""
        place, col, *names = path
        where = [*self.roots[place.idx].debug_path]
        where += [jax.tree_util.keystr((name,), simple=True) for name in names]
        return f'variable /{"/".join(where)} of collection "{col.key}"'

    def has(self, col: str, path: Sequence[str]) -> bool:
        """Say whether a collection is there outside of the body, for a module at or below a place."""
        return any(
            in_filter(root.mutable, col) or col in collections_at(root)
            for root in self.roots
            if tuple(path[: len(root.debug_path)]) == tuple(root.debug_path)
        )

    def is_mutable(self, filters: CollectionFilter) -> bool:
        """Say whether the body can change any collection that a filter matches."""
        return any(
            intersect_filters(filters, intersect_filters(root.mutable, self._changeable))
            is not False
            for root in self.roots
        )


def pack(
    fn: Callable[..., Any],
    in_variable_filters: Sequence[CollectionFilter],
    out_variable_filters: Sequence[CollectionFilter],
    rng_filters: Sequence[CollectionFilter],
    name: str | None = None,
    enable_kwargs: bool = False,
) -> Callable[..., Any]:
    """Make a function of scopes from one that transforms a pure function.

    This is what all lifted transformations are made with.

    Args:
        fn: a function `(scope_fn, repack_fn, variable_groups, rng_groups, *args)` that returns a pair
            of its result and of groups of variables. `scope_fn(variable_groups, rng_groups,
            mutable=True)` makes scopes for the body, and `repack_fn(scopes)` gives the groups of
            variables that they hold at the end; both are called inside of a JAX transformation. A
            group is a pytree; there is one for each filter.
        in_variable_filters: which collections are in which group of variables. A collection is in
            the first group whose filter matches; those that match none are not there for the body.
        out_variable_filters: the same for the groups that `repack_fn` gives; only these collections
            can be changed.
        rng_filters: the same for the random streams.
        name: what the transformation is called in error texts; by default the name of `fn`.
        enable_kwargs: whether keyword arguments are handed on.

    Returns:
        A function `(scopes, *args, **kwargs)` of a scope or a pytree of scopes.

    Raises:
        NotAScopeError: (when called) the first argument has something else in it than scopes.
        KeywordArgumentsError: (when called) there are keyword arguments, and they are not enabled.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def rematerialised(fn):
        ...     def inner(scope_fn, repack_fn, variables, rngs, *args):
        ...         @jax.checkpoint
        ...         def pure(variables, rngs, *args):
        ...             scope = scope_fn(variables, rngs)
        ...             return fn(scope, *args), repack_fn(scope)
        ...         return pure(variables, rngs, *args)
        ...     return lift.pack(inner, (True,), (True,), (True,))
        >>> def double(scope, x):
        ...     return x * scope.get_variable("params", "w")
        >>> apply(rematerialised(double))({"params": {"w": 2.0}}, 3.0).item()
        6.0
    """

    @functools.wraps(fn)
    def with_functions(cut: Cut, /, *args: Any, **kwargs: Any) -> Any:
        return fn(cut.enter, cut.leave, *args, **kwargs)

    return with_cut(
        with_functions,
        in_variable_filters,
        out_variable_filters,
        rng_filters,
        name or getattr(fn, "__name__", "pack"),
        enable_kwargs,
    )


def with_cut(
    fn: Callable[..., Any],
    in_variable_filters: Sequence[CollectionFilter],
    out_variable_filters: Sequence[CollectionFilter],
    rng_filters: Sequence[CollectionFilter],
    name: str,
    enable_kwargs: bool = False,
    sown: CollectionFilter | None = None,
    withheld: Callable[[str, Sequence[str]], Exception] | None = None,
) -> Callable[..., Any]:
    """Do what `pack` does, for a function that gets the `Cut` in place of two of its methods.

    `sown` and `withheld` are arguments of `Cut`.
    """

    @functools.wraps(fn)
    def wrapper(scopes: Any, /, *args: Any, **kwargs: Any) -> Any:
        if kwargs and not enable_kwargs:
            raise KeywordArgumentsError(name, kwargs)
        cut = Cut(scopes, out_variable_filters, sown, withheld)
        variables, keys = cut.variables(in_variable_filters), cut.keys(rng_filters)
        try:
            y, changed = fn(cut, variables, keys, *args, **kwargs)
        except ScopeCollectionNotFound as error:
            named = (*in_variable_filters, *out_variable_filters)
            if cut.has(error.collection, error.path) and not _matches(named, error.collection):
                raise WithheldCollectionError(name, error) from None
            raise
        cut.put(changed)
        return y

    return wrapper


def _matches(filters: Sequence[CollectionFilter], col: str) -> bool:
    return any(in_filter(each, col) for each in filters)


def _outermost(scopes: Sequence[Scope]) -> list[Scope]:
    roots: list[Scope] = []
    for scope in sorted(scopes, key=lambda scope: len(scope.path)):
        if not any(_is_below(scope, root) for root in roots):
            roots.append(scope)
    return roots


def _is_below(scope: Scope, root: Scope) -> bool:
    return scope.is_same_tree(root) and scope.path[: len(root.path)] == root.path


def _place(scope: Scope, roots: Sequence[Scope]) -> tuple[int, tuple[str, ...]]:
    index = next(i for i, root in enumerate(roots) if _is_below(scope, root))
    return index, scope.path[len(roots[index].path) :]


def _descend(scope: Scope, name: str) -> Scope:
    return scope.push(name, reuse=True)


def _by_filter(places: Sequence[Mapping[str, Any]], filters: Sequence[CollectionFilter]) -> Groups:
    by_place = [group_collections(place, filters) for place in places]
    return tuple(tuple(dict(groups[i]) for groups in by_place) for i in range(len(filters)))


def _joined(groups: Groups, index: int) -> dict[str, Any]:
    return {name: tree for group in groups for name, tree in group[index].items()}
