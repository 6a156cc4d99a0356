"""What lifted transformations need of scopes: variables out of a tree, and scopes of a tree of its own.

A lifted transformation takes the variables at a place out of their tree of scopes, hands them to a
JAX transformation, and lets the body work in an **inner scope**: a root for the same path, in the
trace of the transformation, with the variables and keys that the transformation gives it. What the
body has changed is then put back.
"""

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from linen_core._context import context
from linen_core._filters import CollectionFilter, union_filters
from linen_core._rehearsal import Rehearsal
from linen_core._rngs import Rng
from linen_core._scope import Scope
from linen_core._sown import Sown, sow_again, sown_below
from linen_core._streams import Draws, Streams


def collections_at(scope: Scope) -> dict[str, Mapping[str, Any]]:
    """Give the variables at a place and below, by collection. They are not copied: only read them.

    Args:
        scope: the place.

    Returns:
        A dict from collections to nested mappings; empty collections are left out.

    Raises:
        InvalidScopeError: the scope's `init` or `apply` has ended.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import collections_at
        >>> collections_at(bind({"params": {"dense": {"bias": 1}}}).push("dense"))
        {'params': {'bias': 1}}
    """
    scope._check_valid()
    found = {col: scope._read(col) for col in scope._root_collections()}
    return {col: tree for col, tree in found.items() if tree}


def changed_collections(scope: Scope) -> dict[str, Any]:
    """Give what a body has made of the variables at a place and below, by collection.

    Args:
        scope: the place, in an inner tree.

    Returns:
        A dict from mutable collections to nested dicts, and from collections that the body could
        only sow into to a pytree of what it has sown; for `put_collections`.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import changed_collections
        >>> changed_collections(bind({"state": {"count": 1}, "params": {}}, mutable="state"))
        {'state': {'count': 1}}
    """
    return {**scope.mutable_variables(), **sown_below(scope)}


def sowable(scope: Scope) -> CollectionFilter:
    """Give a filter of the collections that can be sown into, at the places of a tree.

    Args:
        scope: a scope of the tree.

    Returns:
        A filter: of the mutable collections, and inside of a lifted transformation, of more.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import sowable
        >>> sowable(bind({}, mutable=["state"]))
        {'state'}
    """
    return union_filters(scope.mutable, scope._tree.sowable)


def put_collections(scope: Scope, collections: Mapping[str, Any]) -> None:
    """Replace the variables at a place, by collection.

    Args:
        scope: the place.
        collections: a dict from mutable collections to nested dicts, or what
            `changed_collections` gave.

    Raises:
        ModifyScopeVariableError: a collection is immutable.
        JaxTransformError: called inside a raw JAX transformation.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import put_collections
        >>> scope = bind({}, mutable="state")
        >>> put_collections(scope.push("dense"), {"state": {"count": 1}})
        >>> scope.variables()
        {'state': {'dense': {'count': 1}}}
    """
    for col, tree in collections.items():
        if isinstance(tree, Sown):
            sow_again(scope, col, tree)
            continue
        for name, value in tree.items():
            scope.put_variable(col, name, value)


def inner_scope(
    outer: Scope,
    variables: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, Rng],
    mutable: CollectionFilter,
    rehearsal: Rehearsal | None = None,
    beside: Scope | None = None,
    is_anonymous: bool = False,
    sowable: CollectionFilter = False,
    withheld: Callable[[str, Sequence[str]], Exception] | None = None,
) -> Scope:
    """Make a root scope for the body of a transformation, at the path of another scope.

    Args:
        outer: the scope that the transformation is applied in.
        variables: the variables at that place, as the body sees them.
        keys: the random streams, as the body sees them; `outer.rngs` has what they are outside.
        mutable: a filter of the collections that the body may change.
        rehearsal: the rehearsal that the body is, if its draws count twice.
        beside: an inner scope for another place of the same tree, if there is one: the two belong
            to one tree again.
        is_anonymous: whether the scope says that its path is empty, as that of a root does, so that
            what the body does cannot depend on where it does it.
        sowable: a filter of further collections, in which the body can do nothing but sow.
        withheld: gives what to raise, from a stream and the module path, when the body draws from a
            stream that `outer` has and `keys` has not. Without it such a stream is just not there.

    Returns:
        A scope that belongs to the JAX trace that runs now. Draws go on counting.

    Example:
        >>> import jax
        >>> from linen_core import bind
        >>> from linen_core.extend import inner_scope
        >>> outer = bind({"params": {"w": 1}}, jax.random.key(0)).push("dense")
        >>> inner_scope(outer, {"params": {"b": 2}}, outer.rngs, False).path
        ('dense',)
    """
    inner = Scope(
        variables,
        name=None if is_anonymous else outer.name,
        mutable=mutable,
        path=() if is_anonymous else outer.path,
        debug_path=outer.debug_path,
        flags=outer.flags,
    )
    inner.owner = outer.owner
    inner._known_streams = Streams(keys, (), outer._streams.draws)
    if beside is not None:
        inner._tree = beside._tree
    else:
        inner._tree.rehearsal = rehearsal or outer._tree.rehearsal
        inner._tree.sowable = sowable
        inner._tree.withheld = outer._tree.withheld
        if withheld is not None:
            missing = {s: partial(withheld, s) for s in outer.rngs if s not in keys}
            inner._tree.withheld = {**outer._tree.withheld, **missing}
    return inner


def guard(scope: Scope, error: Callable[[Sequence[str]], Exception]) -> None:
    """Let nobody go around the transformation that variables at a place are made in.

    Args:
        scope: the place, outside of the transformation.
        error: gives what to raise, from the path of the module that creates a variable at the place or
            below, or that finds another shape than its initializer makes.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import guard
        >>> scope = bind({}, mutable=True)
        >>> guard(scope, lambda path: ValueError("write vmap(...)"))
        >>> scope.variable("state", "count", lambda: 0)
        Traceback (most recent call last):
          ...
        ValueError: write vmap(...)
    """
    scope._tree.guards[scope.debug_path] = error


def rehearsal_in(scope: Scope, once: CollectionFilter = False, runs: int = 2) -> Rehearsal:
    """Start a rehearsal of a body.

    Args:
        scope: a scope that the body is called in.
        once: a filter of the collections whose variables only the first run creates.
        runs: the number of runs that it counts as.

    Returns:
        The rehearsal, for `inner_scope`; call its `end` when the body has run.

    Example:
        >>> import jax
        >>> from linen_core import bind
        >>> from linen_core.extend import inner_scope, rehearsal_in
        >>> scope = bind({}, jax.random.key(0))
        >>> rehearsal = rehearsal_in(scope)
        >>> _ = inner_scope(scope, {}, scope.rngs, False, rehearsal).make_rng()
        >>> rehearsal.end()  # the next draw is the third
    """
    return Rehearsal(once, scope._tree.rehearsal, runs)


def creating(scope: Scope, col: str) -> contextlib.AbstractContextManager[None]:
    """Say that draws in a `with` block are for new variables, which a rehearsal draws for once.

    Args:
        scope: a scope that the draws are from.
        col: the collection of the variables.

    Returns:
        A context manager.

    Example:
        >>> import jax
        >>> from linen_core import bind
        >>> from linen_core.extend import creating
        >>> scope = bind({}, jax.random.key(0))
        >>> with creating(scope, "params"):
        ...     key = scope.make_rng()
    """
    rehearsal = scope._tree.rehearsal
    return contextlib.nullcontext() if rehearsal is None else rehearsal.creating(col)


def is_rehearsing(scope: Scope) -> bool:
    """Say whether draws may count twice here, so that their keys are not known until the end.

    Args:
        scope: a scope.

    Returns:
        True inside of a body that is a rehearsal.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import is_rehearsing
        >>> is_rehearsing(bind({}))
        False
    """
    return scope._tree.rehearsal is not None


def withheld_streams(scope: Scope) -> frozenset[str]:
    """Name the random streams that are there outside of a lifted transformation, but not in it.

    Args:
        scope: a scope.

    Returns:
        The streams that a draw from is refused, with the reason.

    Example:
        >>> from linen_core import bind
        >>> from linen_core.extend import withheld_streams
        >>> withheld_streams(bind({}))
        frozenset()
    """
    return frozenset(scope._tree.withheld)


def are_calls_observed() -> bool:
    """Say whether somebody wants to see each call of a method: an interceptor, or what captures.

    Returns:
        True if a call must run as Python code, although what it computes is known.

    Example:
        >>> from linen_core.extend import are_calls_observed
        >>> are_calls_observed()
        False
    """
    return bool(context.interceptors)


def bookkeeping(place: Any) -> Hashable:
    """Give what was noted down at a place: names in use, open compact methods, draws here and below.

    Args:
        place: a scope or a bound module.

    Returns:
        Something that compares and hashes by value, for `restore_bookkeeping`.

    Example:
        >>> import jax
        >>> from linen_core import bind
        >>> from linen_core.extend import bookkeeping
        >>> scope = bind({}, jax.random.key(0))
        >>> before = bookkeeping(scope)
        >>> _ = scope.make_rng()
        >>> bookkeeping(scope) == before
        False
    """
    scope, state = _scope_and_state(place)
    numbers, depth = (state.autoname_counts, state.compact_depth) if state is not None else ({}, 0)
    names = sorted((name, tuple(kinds.items())) for name, kinds in scope.reservations().items())
    return tuple(names), tuple(numbers.items()), depth, _frozen_draws(scope._streams.draws)


def restore_bookkeeping(place: Any, notes: Any) -> None:
    """Note down at a place what was noted at another one at the end of the same work.

    Args:
        place: a scope or a bound module.
        notes: what `bookkeeping` gave.

    Example:
        >>> import jax
        >>> from linen_core import bind
        >>> from linen_core.extend import bookkeeping, restore_bookkeeping
        >>> one, other = bind({}, jax.random.key(0)), bind({}, jax.random.key(0))
        >>> _ = one.make_rng()
        >>> restore_bookkeeping(other, bookkeeping(one))
        >>> bookkeeping(one) == bookkeeping(other)
        True
    """
    names, numbers, depth, draws = notes
    scope, state = _scope_and_state(place)
    if state is not None:
        state.autoname_counts, state.compact_depth = dict(numbers), depth
    scope.restore_reservations({name: dict(kinds) for name, kinds in names})
    _thaw_draws(scope._streams.draws, draws)


def _scope_and_state(place: Any) -> tuple[Scope, Any]:
    return (place, None) if isinstance(place, Scope) else (place.scope, place._state)


def _frozen_draws(draws: Draws) -> Hashable:
    below = ((name, _frozen_draws(one)) for name, one in sorted(draws.below.items()))
    return tuple(sorted(draws.counts.items())), tuple(below)


def _thaw_draws(draws: Draws, notes: Any) -> None:
    counts, below = notes[0], dict(notes[1])
    draws.counts.clear()
    draws.counts.update(counts)
    for name in {**below, **draws.below}:
        _thaw_draws(draws.below.setdefault(name, Draws()), below.get(name, ((), ())))
