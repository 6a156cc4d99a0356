"""`pack`: functions of scopes from functions that transform pure ones."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Scope, apply
from linen_core.errors import (
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
)
from linen_transforms import lift
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import (
    KeywordArgumentsError,
    SplitRngsError,
    WithheldCollectionError,
)

from .places import AB, STREAMS, A, at, sow, tree

# `pack`


def packed(body: Callable[..., Any], *filters: Any, **kwargs: Any) -> Callable[..., Any]:
    """Lift by a transformation that doubles the variables that come out of a function."""

    def doubled(
        scope_fn: Any, repack_fn: Any, variables: Any, keys: Any, *args: Any, **kwargs: Any
    ) -> Any:
        scopes = scope_fn(variables, keys)
        y = body(scopes, *args, **kwargs)
        return y, jax.tree.map(lambda leaf: 2 * leaf, repack_fn(scopes))

    return lift.pack(doubled, *filters, **kwargs)


def test_a_packed_function_works_in_scopes() -> None:
    def body(scope: Scope, x: float) -> Any:
        scope.put_variable("state", "n", scope.get_variable("params", "w") + x)
        return x, scope.has_rng("noise"), scope.has_rng("dropout"), scope.variables()

    run = packed(body, ("params", "cache"), ("state",), ("noise",))
    variables = {"params": {"w": 1.0}, "state": {"n": 0.0, "m": 1.0}, "cache": {"x": 1.0}}
    (x, *has, seen), changed = apply(run, mutable=True)(variables, 5.0, rngs=STREAMS)
    assert (x, has) == (5.0, [True, False])
    assert seen == {"params": {"w": 1.0}, "cache": {"x": 1.0}, "state": {"n": 6.0}}
    assert changed == variables | {"state": {"n": 12.0, "m": 1.0}}
    assert variables["state"]["n"] == 0.0


def test_collections_that_no_filter_names_are_not_there() -> None:
    def body(scope: Scope) -> None:
        assert not scope.has_variable("state", "n")
        with pytest.raises(ModifyScopeVariableError):
            scope.put_variable("state", "n", 1.0)
        with pytest.raises(ScopeCollectionNotFound):
            scope.variable("state", "n", lambda: 1.0)

    variables = {"params": {"w": 1.0}, "state": {"n": 0.0}}
    run = packed(body, ("params",), ("params",), ())
    assert apply(run, mutable=True)(variables)[1] == {"params": {"w": 2.0}, "state": {"n": 0.0}}


def needing(col: str, scopes: Any, *filters: Any) -> Callable[[], Any]:
    """Need a variable of a collection below the first scope, in a body."""

    def body(scopes: Any) -> None:
        at(jax.tree.leaves(scopes)[0], "c").variable(col, "x", lambda: 0)

    return lambda: packed(body, *filters, (), name="loop")(scopes)


def test_a_collection_that_is_withheld() -> None:
    with pytest.raises(WithheldCollectionError) as caught:
        needing("cache", A, ("params",), ("state",))()
    assert str(caught.value) == (
        '/a/c needs "x" from collection "cache", which is there outside of loop but not inside, since '
        "no filter of collections names it. Write a filter that matches 'cache' too."
    )


# The scopes, the filters in and out, and whether "cache" is missing because of these.
WITHHELD: dict[str, tuple[Any, Any, Any, bool]] = {
    "there": (A, ("params",), (), True),
    "there where the module is": ([A, AB], (), (), True),
    "there elsewhere": ([AB, A], (), (), False),
    "nowhere": (AB, ("params",), (), False),
    "could be made": (at(tree("cache"), "ab"), ("params",), (), True),
    "could be made elsewhere": ([AB, at(tree("cache"), "a")], (), (), False),
    "goes in": (AB, ("params", "cache"), (), False),
    "goes in but is empty here": (A, ("cache",), (), False),
    "comes out": (A, (), ("cache",), False),
}


@pytest.mark.parametrize(("scopes", "into", "out", "expected"), WITHHELD.values(), ids=WITHHELD)
def test_why_a_collection_is_missing(scopes: Any, into: Any, out: Any, expected: bool) -> None:
    with pytest.raises(ScopeCollectionNotFound) as caught:
        needing("cache", scopes, into, out)()
    assert isinstance(caught.value, WithheldCollectionError) is expected


def test_groups_are_data_for_jax() -> None:
    def body(scopes: Any, x: Any) -> Any:
        scope, other = scopes
        return x * scope.get_variable("params", "w") + other.get_variable("state", "n")

    def compiled(scope_fn: Any, repack_fn: Any, variables: Any, keys: Any, *args: Any) -> Any:
        @jax.jit
        def run(variables: Any, keys: Any, args: Any) -> Any:
            scopes = scope_fn(variables, keys)
            return body(scopes, *args), repack_fn(scopes)

        return run(variables, keys, args)

    run = lift.pack(compiled, ("params", True), (), (True,))
    assert run((A, AB), jnp.ones(())).item() == 1.0 + 5.0


def hand_on(scope_fn: Any, repack_fn: Any, variables: Any, keys: Any, /, **kwargs: Any) -> Any:
    """Do nothing, and give the keyword arguments."""
    return kwargs, ()


# The function, the arguments of `pack`, and what it is called.
NAMES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "by the function": (hand_on, {}, "hand_on"),
    "by name": (hand_on, {"name": "loop"}, "loop"),
    "no name": (functools.partial(hand_on), {}, "pack"),
}


@pytest.mark.parametrize(("fn", "options", "name"), NAMES.values(), ids=NAMES)
def test_keyword_arguments_are_refused(fn: Any, options: Any, name: str) -> None:
    with pytest.raises(KeywordArgumentsError) as caught:
        lift.pack(fn, (), (), (), **options)(A, x=1, y=2)
    assert str(caught.value) == (
        f"{name} does not take keyword arguments, but got x, y. Pass them by position, or bind those "
        "that are no arrays with functools.partial."
    )


@pytest.mark.parametrize("names", ["xyz", ["scopes", "cut", "variables", "keys"]], ids=str)
def test_keyword_arguments_that_are_enabled(names: Any) -> None:
    kwargs = dict.fromkeys(names, 1)
    assert lift.pack(hand_on, (), (), (), enable_kwargs=True)(A, **kwargs) == kwargs
    assert lift.pack(hand_on, (), (), ())(A) == {}


def test_a_packed_function_is_called_what_it_was() -> None:
    run = lift.pack(hand_on, (), (), ())
    assert (run.__name__, run.__doc__) == (hand_on.__name__, hand_on.__doc__)


def test_with_cut_hands_on_the_cut() -> None:
    def inner(cut: Cut, variables: Any, keys: Any, x: float) -> Any:
        scope = cut.enter(variables, keys)
        sow(scope, x)
        with pytest.raises(SplitRngsError):
            scope.make_rng("noise")
        return scope.path_text, cut.leave(scope)

    withheld = functools.partial(SplitRngsError, "loop")
    run = with_cut(inner, ("params",), ("params",), (), "loop", sown=True, withheld=withheld)
    scope = at(tree(["sums"]), "a")
    assert run(scope, 8.0) == "/a"
    assert scope.variables()["sums"] == {"y": (8.0,)}
    with pytest.raises(KeywordArgumentsError, match=r"^loop does not take keyword"):
        run(scope, x=8.0)
