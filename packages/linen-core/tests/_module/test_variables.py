"""What a bound module does with its variables and random streams."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import LazyRng, Module, compact
from linen_core.errors import (
    AssignVariableError,
    CallUnbindOnUnboundModuleError,
    LinenError,
    ModifyScopeVariableError,
    NameInUseError,
    UnboundModuleError,
)

KEY = jax.random.key(0)


class Counter(Module):
    start: int = 0

    @compact
    def __call__(self, step: int = 1) -> int:
        count = self.variable("state", "count", lambda: self.start)
        if not self.is_initializing():
            count.value += step
        return count.value


class Net(Module):
    def setup(self) -> None:
        self.counter = Counter(5)
        self.w = self.param("w", lambda key, scale: scale, 2.0)
        self.x = self.variable("state", "x", lambda: 1)

    def __call__(self) -> Any:
        return self.counter() * self.w


VARIABLES = {"params": {"w": 2.0}, "state": {"x": 1, "counter": {"count": 5}}}


def test_variables_are_created_by_init() -> None:
    assert Net().init(KEY) == VARIABLES


def test_state_goes_in_and_out() -> None:
    y, updates = Net().apply(VARIABLES, mutable=["state"])
    assert (y, updates) == (12.0, {"state": {"x": 1, "counter": {"count": 6}}})
    assert VARIABLES["state"] == {"x": 1, "counter": {"count": 5}}


def test_a_bound_module_keeps_its_state() -> None:
    bound = Net().bind(VARIABLES, mutable=["state"])
    assert (bound(), bound()) == (12.0, 14.0)
    assert bound.variables["state"]["counter"] == {"count": 7}
    assert VARIABLES["state"] == {"x": 1, "counter": {"count": 5}}


@pytest.mark.parametrize("mutable", [False, True])
def test_variables_are_copies(mutable: bool) -> None:
    bound = Net().bind(VARIABLES, mutable=mutable)
    bound.variables["params"].clear()
    bound.counter.variables["state"]["count"] = 0
    assert bound.variables == VARIABLES
    assert bound.counter.variables == {"state": {"count": 5}}


def test_reading_and_writing_by_name() -> None:
    bound = Net().bind(VARIABLES, mutable=["state"])
    assert bound.get_variable("params", "w") == 2.0
    assert bound.get_variable("params", "v", 3) == 3
    assert bound.get_variable("params", "v") is None
    assert (bound.has_variable("state", "x"), bound.has_variable("state", "y")) == (True, False)
    bound.put_variable("state", "y", 9)
    bound.put_variable("state", "x", 8)
    assert bound.x.value == 8
    assert bound.variables["state"] == {"x": 8, "y": 9, "counter": {"count": 5}}
    assert (bound.is_mutable_collection("state"), bound.is_mutable_collection("params")) == (
        True,
        False,
    )
    with pytest.raises(ModifyScopeVariableError, match='changes "w" in collection "params"'):
        bound.put_variable("params", "w", 1.0)


def test_is_initializing() -> None:
    class Model(Module):
        def __call__(self) -> bool:
            return self.is_initializing()

    assert Model().init_with_output(KEY)[0] is True
    assert Model().apply({}) is False
    assert Model().bind({}).is_initializing() is False
    assert Counter(3).init(KEY) == {"state": {"count": 3}}


def test_path() -> None:
    class Leaf(Module):
        def __call__(self) -> Any:
            return self.path

    class Middle(Module):
        @compact
        def __call__(self) -> Any:
            return Leaf()()

    class Top(Module):
        @compact
        def __call__(self) -> Any:
            return self.path, Middle(name="middle")()

    assert Top().apply({}) == ((), ("middle", "Leaf_0"))


# Sowing.


class Sower(Module):
    options: Any = ()

    @compact
    def __call__(self, times: int) -> list[bool]:
        return [self.sow("intermediates", "x", i, **dict(self.options)) for i in range(times)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0, 1, 2)),
        ({"reduce_fn": lambda a, b: a + b, "init_fn": lambda: 10}, 13),
        ({"reduce_fn": lambda a, b: b}, 2),
    ],
    ids=["tuple", "sum", "last"],
)
def test_sow(options: Any, expected: Any) -> None:
    model = Sower(tuple(options.items()))
    stored, updates = model.apply({}, 3, mutable=["intermediates"])
    assert (stored, updates) == ([True] * 3, {"intermediates": {"x": expected}})
    assert model.apply({}, 3) == [False] * 3
    assert model.init(KEY, 3) == {}


def test_sow_goes_on_from_what_is_there() -> None:
    _, updates = Sower().apply({"intermediates": {"x": (7,)}}, 1, mutable=True)
    assert updates == {"intermediates": {"x": (7, 0)}}


def test_sow_does_not_overwrite_what_a_submodule_sowed() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> None:
            Sower(name="x")(1)
            self.sow("intermediates", "x", 1)

    with pytest.raises(NameInUseError, match='already has something named "x"'):
        Net().apply({}, mutable=["intermediates"])


# Random streams.


def test_random_streams() -> None:
    class Noise(Module):
        @compact
        def __call__(self) -> Any:
            return self.make_rng("noise"), self.has_rng("noise"), self.has_rng("other")

    class Twice(Module):
        @compact
        def __call__(self) -> Any:
            noise = Noise()
            return noise(), noise()

    (first, has, has_not), (second, *_) = Twice().apply({}, rngs={"noise": KEY})
    assert (has, has_not) == (True, False)
    for key, count in ((first, 1), (second, 2)):
        expected = LazyRng.create(KEY, "Noise_0", count).as_jax_rng()
        chex.assert_trees_all_equal(jax.random.key_data(key), jax.random.key_data(expected))


def test_two_layers_start_differently() -> None:
    class Layer(Module):
        @compact
        def __call__(self) -> None:
            self.param("a", jax.nn.initializers.normal(), (3,))
            self.param("b", jax.nn.initializers.normal(), (3,))

    class Net(Module):
        @compact
        def __call__(self) -> None:
            Layer()()
            Layer()()

    leaves = jax.tree.leaves(Net().init(KEY))
    assert len({tuple(leaf.tolist()) for leaf in leaves}) == 4


# Where things may be made, and on what.


@pytest.mark.parametrize(
    ("define", "text"),
    [
        (
            lambda m: m.param("scale", lambda key: 1.0),
            'makes the param "scale" outside setup() and @compact. Write self.scale = '
            "self.param(...) in setup()",
        ),
        (
            lambda m: m.variable("state", "mean", lambda: 1.0),
            'makes the variable "mean" outside setup() and @compact. Write self.mean = '
            "self.variable(...) in setup()",
        ),
    ],
    ids=["param", "variable"],
)
def test_definitions_outside_setup_and_compact(define: Any, text: str) -> None:
    class Plain(Module):
        def __call__(self) -> None:
            define(self)

    with pytest.raises(AssignVariableError) as caught:
        Plain().init(KEY)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"The top-level module (Plain) {text}, or decorate the method with @compact."
    )


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda m: m.param("a", jnp.ones), 'its param "a" has no place'),
        (lambda m: m.variable("c", "a"), 'its variable "a" has no place'),
        (lambda m: m.sow("c", "a", 1), "there is no place to sow into"),
        (lambda m: m.get_variable("c", "a"), "it has no variables"),
        (lambda m: m.put_variable("c", "a", 1), "it has no variables"),
        (lambda m: m.has_variable("c", "a"), "it has no variables"),
        (lambda m: m.is_mutable_collection("c"), "it has no variables"),
        (lambda m: m.variables, "it has no variables"),
        (lambda m: m.is_initializing(), "it is never initializing"),
        (lambda m: m.make_rng(), "it has no random streams"),
        (lambda m: m.has_rng("a"), "it has no random streams"),
        (lambda m: m.path, "it has no path"),
        (lambda m: m.unbind(), "there is nothing to unbind"),
    ],
    ids=(
        "param variable sow get_variable put_variable has_variable is_mutable_collection variables "
        "is_initializing make_rng has_rng path unbind"
    ).split(),
)
def test_an_unbound_module_has_no_variables(use: Any, what: str) -> None:
    with pytest.raises(UnboundModuleError) as caught:
        use(Counter())
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == (
        f"Counter is not bound to variables, so {what}. Write model.apply(variables, ...), or "
        "bound = model.bind(variables) and use that."
    )


def test_what_an_unbound_module_lacks_can_be_told_apart() -> None:
    with pytest.raises(CallUnbindOnUnboundModuleError):
        Counter().unbind()
