"""`while_loop`, `cond` and `switch` over functions of scopes.

Their functions are all traced, each once, and one after the other, so that draws from random streams
go on counting. Each begins with the variables from before the call. Branches must leave variables
of the same forms, and a loop can only change variables that it carries: what a branch or a loop uses
must exist before.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import CollectionFilter, in_filter
from linen_transforms._carry import differing_forms
from linen_transforms._pack import Cut, Groups, with_cut
from linen_transforms.errors import (
    BranchMismatchError,
    CarryMismatchError,
    PredicateError,
    SplitRngsError,
)


def while_loop(
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    scope: Any,
    init: Any,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = {},
) -> Any:
    """Lift `jax.lax.while_loop`: loop a function of scopes as long as another one says so.

    Args:
        cond_fn: a function `(scope, carry)` that returns a bool. It cannot change variables.
        body_fn: a function `(scope, carry)` that returns the next carry.
        scope: a scope, or a pytree of scopes.
        init: the first carry.
        carry_variables: a filter of the collections that iterations hand on to the next. Their
            variables must exist before the loop.
        broadcast_variables: a filter of the collections that all iterations share, and cannot
            change.
        split_rngs: from filters of random streams to whether every iteration gets another key.
            Other streams are not there.

    Returns:
        The last carry.

    Raises:
        CarryMismatchError: the carry, or a carried variable, comes out of the body as something
            else.
        PredicateError: `cond_fn` returns something else than one bool.
        SplitRngsError: a draw from a stream that `split_rngs` does not match.
        NotAScopeError: there is something else in `scope`.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def doubled_until(scope, limit):
        ...     def body(scope, x):
        ...         scope.put_variable("state", "steps", scope.get_variable("state", "steps") + 1)
        ...         return 2 * x
        ...     scope.variable("state", "steps", lambda: 0)
        ...     return lift.while_loop(
        ...         lambda scope, x: x < limit, body, scope, 1, carry_variables="state"
        ...     )
        >>> y, state = apply(doubled_until, mutable="state")({}, 100)
        >>> y.item(), state["state"]["steps"].item()
        (128, 7)
    """
    streams, are_split = tuple(split_rngs), tuple(split_rngs.values())

    def inner(cut: Cut, variables: Groups, keys: Groups, init: Any) -> Any:
        path = cut.roots[0].debug_path
        changing = tuple(
            {col: tree for col, tree in collections.items() if in_filter(root.mutable, col)}
            for root, collections in zip(cut.roots, variables[0], strict=True)
        )
        has_number = any(
            is_split and any(group) for is_split, group in zip(are_split, keys, strict=True)
        )

        def enter(number: Any, changing: Any, mutable: CollectionFilter) -> Any:
            groups = (*variables, changing)
            now = tuple(
                _folded(group, number) if is_split else group
                for is_split, group in zip(are_split, keys, strict=True)
            )
            return cut.enter(groups, now, mutable=mutable)

        def condition(state: Any) -> Any:
            number, changing, carry = state
            scopes = enter(number, changing, False)
            decision = cond_fn(scopes, carry)
            cut.leave(scopes)
            _check_scalar("while_loop", path, "the result of cond_fn", decision, jnp.bool_)
            return decision

        def body(state: Any) -> Any:
            number, changing, carry = state
            scopes = enter(number, changing, True)
            after = body_fn(scopes, carry)
            changed, _ = cut.leave(scopes)
            _check_carry(cut, (carry, changing), (after, changed))
            return number if number is None else number + 1, changed, after

        state = (jnp.zeros((), jnp.int32) if has_number else None, changing, init)
        _, changed, carry = jax.lax.while_loop(condition, body, state)
        return carry, (changed,)

    filters = (carry_variables, broadcast_variables)
    # Only what is carried can be sown: the iterations cannot be stacked.
    loop = with_cut(
        inner,
        filters,
        (carry_variables,),
        streams,
        name="while_loop",
        sown=False,
        withheld=partial(SplitRngsError, "while_loop"),
    )
    return loop(scope, init)


def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    scope: Any,
    *operands: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Any:
    """Lift `jax.lax.cond`: call one of two functions of scopes.

    Args:
        pred: a scalar: which function is called.
        true_fun: a function `(scope, *operands)`, for when `pred` is true.
        false_fun: the same, for when it is false.
        scope: a scope, or a pytree of scopes.
        *operands: arguments of the functions.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        What the function returns.

    Raises:
        BranchMismatchError: results or variables of the functions have different forms.
        PredicateError: `pred` is no scalar.
        NotAScopeError: there is something else in `scope`.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scaled(scope, x, is_scaled):
        ...     return lift.cond(
        ...         is_scaled,
        ...         lambda scope, x: x * scope.get_variable("params", "scale"),
        ...         lambda scope, x: x,
        ...         scope,
        ...         x,
        ...     )
        >>> apply(scaled)({"params": {"scale": 2.0}}, 3.0, True).item()
        6.0
    """

    def choose(path: Sequence[str], branches: Sequence[Callable[..., Any]], *args: Any) -> Any:
        _check_scalar("cond", path, "the predicate", pred, jnp.bool_, jnp.number)
        return jax.lax.cond(pred, *branches, *args)

    branching = _branching("cond", choose, (true_fun, false_fun), variables, rngs)
    return branching(scope, *operands)


def switch(
    index: Any,
    branches: Sequence[Callable[..., Any]],
    scope: Any,
    *operands: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Any:
    """Lift `jax.lax.switch`: call one of several functions of scopes.

    Args:
        index: an integer scalar: the number of the function that is called; one that is out of
            bounds stands for the nearest.
        branches: functions `(scope, *operands)`.
        scope: a scope, or a pytree of scopes.
        *operands: arguments of the functions.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        What the function returns.

    Raises:
        BranchMismatchError: results or variables of the functions have different forms, or there
            are no functions.
        PredicateError: `index` is no integer scalar.
        NotAScopeError: there is something else in `scope`.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def head(scope, x, task):
        ...     branches = [
        ...         lambda scope, x, name=name: x * scope.get_variable("params", name)
        ...         for name in ("first", "second")
        ...     ]
        ...     return lift.switch(task, branches, scope, x)
        >>> apply(head)({"params": {"first": 2.0, "second": 3.0}}, 1.0, 1).item()
        3.0
    """
    branches = tuple(branches)

    def choose(path: Sequence[str], branches: Sequence[Callable[..., Any]], *args: Any) -> Any:
        _check_scalar("switch", path, "the index", index, jnp.integer)
        if not branches:
            raise BranchMismatchError.of_none("switch", path)
        return jax.lax.switch(index, branches, *args)

    return _branching("switch", choose, branches, variables, rngs)(scope, *operands)


def _branching(
    name: str,
    choose: Callable[..., Any],
    fns: Sequence[Callable[..., Any]],
    variables: CollectionFilter,
    rngs: CollectionFilter,
) -> Callable[..., Any]:
    def inner(cut: Cut, variables: Groups, keys: Groups, *operands: Any) -> Any:
        path = cut.roots[0].debug_path
        results: list[Any] = []

        def branch(fn: Callable[..., Any]) -> Callable[..., Any]:
            def run(variables: Groups, keys: Groups, operands: Any) -> Any:
                scopes = cut.enter(variables, keys)
                y = fn(scopes, *operands)
                (changed,) = cut.leave(scopes)
                results.append(jax.tree.map(_form, (y, changed)))
                _check_branches(name, cut, results)
                return y, changed

            return run

        y, changed = choose(path, [branch(fn) for fn in fns], variables, keys, operands)
        return y, (changed,)

    return with_cut(inner, (variables,), (variables,), (rngs,), name=name)


def _check_branches(name: str, cut: Cut, results: Sequence[tuple[Any, Any]]) -> None:
    rows = _differing(cut, "result", results[0], results[-1])
    if rows:
        path = cut.roots[0].debug_path
        raise BranchMismatchError.of_forms(name, path, len(results) - 1, rows)


def _check_carry(cut: Cut, before: tuple[Any, Any], after: tuple[Any, Any]) -> None:
    rows = _differing(cut, "carry", _settled(before, after), after)
    if rows:
        raise CarryMismatchError("while_loop", cut.roots[0].debug_path, rows)


def _differing(
    cut: Cut, what: str, one: tuple[Any, Any], other: tuple[Any, Any]
) -> dict[str, tuple[str, str]]:
    """Compare the forms of two pairs of a value and of the variables at each place."""
    rows = differing_forms(one[0], other[0], what)
    for root, here, there in zip(cut.roots, one[1], other[1], strict=True):
        rows |= differing_forms(here, there, f"variables of {root.path_text}: ")
    return rows


def _check_scalar(name: str, path: Sequence[str], what: str, value: Any, *kinds: Any) -> None:
    try:
        aval = jax.typeof(value)
    except TypeError:
        found = repr(value)
    else:
        if aval.shape == () and any(jnp.issubdtype(aval.dtype, kind) for kind in kinds):
            return
        found = f"{aval.dtype}{list(aval.shape)}"
    raise PredicateError(name, path, what, kinds[0] is jnp.integer, found)


def _settled(before: Any, after: Any) -> Any:
    """Let weak types of a carry take the dtype that comes out, as `jax.lax.while_loop` does."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        return before

    def settle(x: Any, y: Any) -> jax.ShapeDtypeStruct:
        gives_way = jax.typeof(x).weak_type and jnp.result_type(x, y) == jax.typeof(y).dtype
        return _form(y).update(shape=jnp.shape(x)) if gives_way else _form(x)

    return jax.tree.map(settle, before, after)


def _form(leaf: Any) -> jax.ShapeDtypeStruct:
    aval = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _folded(keys: Any, number: Any) -> Any:
    return jax.tree.map(lambda key: jax.random.fold_in(key, number), keys)
