"""Sharing a scope: who moves where, which names are whose, what stays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, share_scope
from linen_core.errors import (
    CallShareScopeOnUnboundModuleError,
    LinenError,
    NameInUseError,
    ShareScopeAcrossModelsError,
    UnboundModuleError,
)

KEY = jax.random.key(0)


class Leaf(Module):
    names: tuple[str, ...] = ("w",)

    @compact
    def __call__(self) -> int:
        for name in self.names:
            self.param(name, lambda key: 1.0)
        return len(self.names)


class Chain(Module):
    inner: Any

    def __call__(self) -> int:
        return self.inner()


class Wrapper(Module):
    inner: Any
    own: tuple[str, ...] = ()

    def setup(self) -> None:
        share_scope(self, self.inner)

    @compact
    def __call__(self) -> int:
        for name in self.own:
            self.param(name, lambda key: 2.0)
        return self.inner()


class Net(Module):
    """Runs a function of itself in `setup`, after two submodules were made."""

    share: Callable[[Any], None]

    def setup(self) -> None:
        self.left = Leaf(("a", "b"))
        self.right = Chain(Leaf(("c",)))
        self.share(self)

    def __call__(self) -> int:
        return self.left() + self.right()


A, B, C = {"a": 1.0}, {"a": 1.0, "b": 1.0}, {"c": 1.0}


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (lambda net: share_scope(net, net.left), {**B, "right": {"inner": C}}),
        (lambda net: share_scope(net.left, net), {**B, "right": {"inner": C}}),
        (lambda net: share_scope(net, net.right), {"left": B, "inner": C}),
        (lambda net: share_scope(net, net.right.inner), {"left": B, **C}),
        (lambda net: share_scope(net.left, net.right), {"right": {**B, "inner": C}}),
        (lambda net: share_scope(net.right, net.left), {"left": {**B, "inner": C}}),
        (lambda net: share_scope(net.left, net.right.inner), {"right": {"inner": {**B, **C}}}),
        (lambda net: share_scope(net.right, net.right.inner), {"left": B, "right": C}),
        (lambda net: share_scope(net, net), {"left": B, "right": {"inner": C}}),
    ],
    ids="child parent chain grandchild sibling reversed nephew below itself".split(),
)
def test_who_moves(share: Any, expected: Any) -> None:
    variables = Net(share).init(KEY)
    assert variables == {"params": expected}
    assert Net(share).apply(variables) == 3


def several(*shares: Callable[[Any], None]) -> Callable[[Any], None]:
    def share(net: Any) -> None:
        for each in shares:
            each(net)

    return share


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (
            several(
                lambda net: share_scope(net.right, net.right.inner),
                lambda net: share_scope(net, net.right),
            ),
            {"left": B, **C},
        ),
        (
            several(
                lambda net: share_scope(net, net.left),
                lambda net: share_scope(net, net.right),
                lambda net: share_scope(net, net.right.inner),
                lambda net: share_scope(net, net.left),
            ),
            {**B, **C},
        ),
    ],
    ids=["modules move along that share a scope", "one after the other"],
)
def test_sharing_again(share: Any, expected: Any) -> None:
    assert Net(share).init(KEY) == {"params": expected}


def test_paths_and_parents() -> None:
    net = Wrapper(Chain(Chain(Leaf()))).bind({"params": {"inner": {"inner": {"w": 1.0}}}})
    assert net() == 1
    assert [m.path for m in (net.inner, net.inner.inner)] == [(), ("inner",)]
    assert net.inner.inner.inner.path == ("inner", "inner")
    assert net.inner.parent is net
    assert net.inner.inner.parent is net.inner
    assert net.inner.name == "inner"


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_wrappers_of_wrappers_of_one_kind(depth: int) -> None:
    model: Module = Leaf()
    for level in range(depth):
        model = Wrapper(model, (f"own_{level}",))
    own = {f"own_{level}": 2.0 for level in range(depth)}
    assert model.init(KEY) == {"params": {"w": 1.0, **own}}


def test_a_wrapped_module_fits_its_old_variables() -> None:
    class Deep(Module):
        def setup(self) -> None:
            self.layers = [Leaf(), Chain(Leaf())]

        def __call__(self) -> int:
            return sum(layer() for layer in self.layers)

    variables = Deep().init(KEY)
    assert Wrapper(Deep()).init(KEY) == variables
    assert Wrapper(Deep()).apply(variables) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Wrapper(Leaf(("w",)), ("w",)),
        lambda: Wrapper(Wrapper(Leaf(("w",)), ("v",)), ("v",)),
        lambda: Net(
            several(
                lambda net: net.param("inner", lambda key: 1.0),
                lambda net: share_scope(net, net.right),
            )
        ),
    ],
    ids=["parameters", "of two wrappers", "submodule that moves"],
)
def test_names_belong_to_one_of_them(make: Any) -> None:
    with pytest.raises(NameInUseError, match="already has something named"):
        make().init(KEY)


class Twice(Module):
    """Calls a submodule at its own place twice, before and after it makes a submodule itself."""

    @compact
    def __call__(self) -> int:
        class Inner(Module):
            @compact
            def __call__(self) -> int:
                return Leaf()()

        inner = Inner(name="inner")
        share_scope(self, inner)
        return inner() + inner() + Leaf(name=self.name)()


def test_names_of_the_other_stay_taken_between_its_calls() -> None:
    assert Twice(name="leaf").init(KEY) == {"params": {"Leaf_0": {"w": 1.0}, "leaf": {"w": 1.0}}}
    with pytest.raises(NameInUseError, match=r'\(Twice\) already has something named "Leaf_0"'):
        Twice(name="Leaf_0").init(KEY)


def test_a_module_that_moves_while_it_runs_can_run_again() -> None:
    class Moves(Module):
        inner: Any

        @compact
        def __call__(self) -> int:
            share_scope(self, self.inner)
            self.param("own", lambda key: 2.0)
            return self.inner() + Leaf(name="leaf")()

    class Runs(Module):
        @compact
        def __call__(self) -> int:
            moves = Moves(Leaf())
            return moves() + moves()

    expected = {"params": {"Leaf_0": {"w": 1.0, "own": 2.0, "leaf": {"w": 1.0}}}}
    assert Runs().init(KEY) == expected
    bound = Runs().bind(expected)
    assert bound() == bound() == 4


def test_what_is_sown_goes_together() -> None:
    _, updates = Wrapper(Leaf()).apply({"params": {"w": 1.0}}, capture_intermediates=True)
    assert updates == {"intermediates": {"__call__": (1, 1)}}


def test_random_streams_are_one() -> None:
    class Draw(Module):
        def __call__(self) -> jax.Array:
            return self.make_rng("params")

    class Outer(Module):
        inner: Any

        def setup(self) -> None:
            share_scope(self, self.inner)

        def __call__(self) -> Any:
            return [self.make_rng("params"), self.inner(), self.make_rng("params")]

    keys = jax.random.key_data(jnp.stack(Outer(Draw()).apply({}, rngs=KEY)))
    assert len({tuple(key.tolist()) for key in keys}) == 3


def test_variables_stay_where_they_are() -> None:
    class Inner(Module):
        def setup(self) -> None:
            self.calls = self.variable("state", "calls", lambda: 0)

        def __call__(self) -> int:
            self.calls.value += 1
            return self.calls.value

    class Outer(Module):
        def setup(self) -> None:
            self.inner = Inner()
            self.inner()
            share_scope(self, self.inner)

        def __call__(self) -> int:
            return self.inner()

    class Takes(Outer):
        @compact
        def __call__(self) -> int:
            return Leaf(name="inner")()

    variables = {"state": {"inner": {"calls": 2}}}
    assert Outer().init_with_output(KEY) == (2, variables)
    assert Outer().apply(variables, mutable="state")[0] == 4
    with pytest.raises(NameInUseError):
        Takes().init(KEY)


# Errors.


@pytest.mark.parametrize("is_first", [True, False])
def test_both_are_bound(is_first: bool) -> None:
    pair = (Leaf(), Leaf().bind({})) if is_first else (Leaf().bind({}), Leaf())
    with pytest.raises(CallShareScopeOnUnboundModuleError) as caught:
        share_scope(*pair)
    assert isinstance(caught.value, UnboundModuleError)
    assert str(caught.value) == (
        "Leaf is not bound to variables, so it cannot share its scope (call share_scope(self, "
        "self.layer) in setup(), after self.layer = ...). Write model.apply(variables, ...), or "
        "bound = model.bind(variables) and use that."
    )


def test_both_are_bound_to_the_same_variables() -> None:
    with pytest.raises(ShareScopeAcrossModelsError) as caught:
        share_scope(Wrapper(Leaf()).bind({}), Leaf().bind({}))
    assert isinstance(caught.value, LinenError)
    assert str(caught.value) == (
        "The top-level module (Wrapper) cannot share its scope with Leaf, which is bound to "
        "variables of its own. Pass the unbound module as a field instead, and call "
        "share_scope(self, self.layer) in setup()."
    )
