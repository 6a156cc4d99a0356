"""Copies and pickles of modules, of unbound and of bound ones."""

import copy
import dataclasses
import functools
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import FrozenDict, LazyRng, Module, compact, struct
from linen_core._context import context
from linen_core.config import Config, config
from linen_core.errors import InvalidScopeError

KEY = jax.random.key(0)
X = jnp.ones((2, 3))

ROUND_TRIPS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "pickle 2": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
    "cloudpickle": lambda x: cloudpickle.loads(cloudpickle.dumps(x)),
}
round_trips = pytest.mark.parametrize("trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)


class Dense(Module):
    features: int = 3
    activation: Any = None

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = jax.nn.initializers.lecun_normal()
        y = x @ self.param("kernel", init, (x.shape[-1], self.features))
        return y if self.activation is None else self.activation(y)


class Holder(Module):
    value: Any = None
    other: Any = None


class Net(Module):
    inner: Any

    def setup(self) -> None:
        self.layers = [Dense(4, jax.nn.relu), Dense(3)]
        self.count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.is_mutable_collection("state"):
            self.count.value += 1
        noise = jax.random.normal(self.make_rng("noise"), x.shape) if self.has_rng("noise") else 0
        return self.inner(self.layers[1](self.layers[0](x))) + noise


class Named(NamedTuple):
    function: Any
    number: int


@struct.dataclass
class Boxed:
    function: Any


def negated(x: Any) -> Any:
    return -x


@round_trips
@pytest.mark.parametrize(
    "value",
    [
        jax.nn.relu,
        jax.nn.silu,
        jnp.tanh,
        negated,
        len,
        np.sin,
        jnp.float32,
        Dense,
        functools.partial(jax.nn.leaky_relu, negative_slope=0.3),
        [jax.nn.relu, (jnp.tanh, {"a": jax.nn.silu})],
        FrozenDict(a=Named(jax.nn.relu, 1), b=Boxed(jax.nn.silu)),
        FrozenDict({"a": (1, 2)}),
        (Dense(), {"b": [Dense(4)]}),
        None,
    ],
    ids=(
        "relu silu tanh function builtin ufunc dtype class partial containers records frozen modules "
        "none"
    ).split(),
)
def test_modules_that_stand_alone(trip: Any, value: Any) -> None:
    model = Holder(value, name="holder")
    copied = trip(model)
    if isinstance(value, functools.partial):  # which compare by identity
        value, copied_value = ((f.func, f.args, f.keywords) for f in (value, copied.value))
        assert copied_value == value
        assert copied.value(-1.0) == model.value(-1.0)
    else:
        assert copied == model
    assert type(copied.value) is type(model.value)
    assert copied.parent is None
    assert copied.scope is None
    assert copied is not model
    with pytest.raises(AttributeError):
        copied.value = 3


@round_trips
def test_a_module_in_two_places_stays_one(trip: Any) -> None:
    shared = Dense()
    copied = trip(Holder(shared, [shared]))
    assert copied.value is copied.other[0]


class Derives(Module):
    width: int = 1

    def __post_init__(self) -> None:
        self.doubled = 2 * self.width
        super().__post_init__()


@round_trips
def test_attributes_beside_the_fields(trip: Any) -> None:
    assert trip(Derives(4)).doubled == 8


class Prepares(Module):
    size: dataclasses.InitVar[int] = 2
    width: int = 0

    def __post_init__(self, size: int) -> None:
        self.width = self.width or size
        super().__post_init__()


@round_trips
def test_arguments_of_the_constructor_alone(trip: Any) -> None:
    copied = trip(Prepares(5))
    assert copied == Prepares(5)
    assert copied.clone(width=0) == Prepares(5)


class Custom(Module):
    width: int = 1

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "width": -self.width}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__({**state, "width": 10 - state["width"]})


@round_trips
def test_state_of_the_users_own(trip: Any) -> None:
    assert trip(Custom(3)) == Custom(13)


def test_a_module_made_in_a_method_is_copied_as_one_that_stands_alone() -> None:
    class Layers(Module):
        layer: Any

        def setup(self) -> None:
            made = Dense(3)
            self.layers = [copy.deepcopy(self.layer), copy.copy(made), made]

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = layer(x)
            return x

    params = Layers(Dense(3)).init(KEY, X)["params"]
    assert params.keys() == {"layers_0", "layers_1", "layers_2"}


# Bound modules.


def bound(**options: Any) -> Any:
    model = Net(Dense(3))
    return model.bind(model.init(KEY, X), **options)


@round_trips
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_bound_module_comes_back_bound(trip: Any, used: bool) -> None:
    original = bound(rngs={"noise": jax.random.key(3)})
    expected = bound(rngs={"noise": jax.random.key(3)})(X)
    if used:
        original(X)
    copied = trip(original)
    chex.assert_trees_all_equal(copied.variables, original.variables)
    chex.assert_trees_all_equal(copied(X), expected)
    assert copied.unbind()[0] == original.unbind()[0]
    assert copied.path == ()


@round_trips
def test_copies_of_bound_modules_are_independent(trip: Any) -> None:
    original = bound(mutable=["state"])
    copied = trip(original)
    copied(X)
    assert (copied.count.value, original.count.value) == (2, 1)
    assert copied.is_mutable_collection("state")
    assert not copied.is_mutable_collection("params")


class Draws(Module):
    @compact
    def __call__(self) -> jax.Array:
        return self.make_rng("noise")


class Outer(Module):
    def setup(self) -> None:
        self.draws = Draws()
        self.dense = Dense()


@round_trips
def test_a_bound_submodule_becomes_a_top_level_one(trip: Any) -> None:
    outer = Outer().bind(
        {"params": {"dense": {"kernel": jnp.ones((3, 3))}}}, rngs={"noise": jax.random.key(7)}
    )
    dense = trip(outer.dense)
    assert dense.path == ()
    assert dense.unbind()[0] == Dense()
    chex.assert_trees_all_equal(dense(X), outer.dense(X))
    # It draws what it drew in its place.
    assert jnp.all(jax.random.key_data(trip(outer.draws)()) == jax.random.key_data(outer.draws()))


@round_trips
def test_raw_keys(trip: Any) -> None:
    raw = Draws().bind({}, rngs={"noise": jax.random.PRNGKey(1)})
    chex.assert_trees_all_equal(trip(raw)(), raw())


def test_a_module_of_an_init_that_has_ended() -> None:
    class Leaks(Module):
        def __call__(self) -> Any:
            return self

    leaked, _ = Leaks().init_with_output(KEY)
    with pytest.raises(InvalidScopeError, match=r"bound = model\.bind\(variables\)"):
        pickle.dumps(leaked)


def test_lazy_keys_pickle() -> None:
    lazy = LazyRng.create(KEY, "a", 1)
    again = pickle.loads(pickle.dumps(lazy))
    assert again.suffix == ("a", 1)
    assert again.as_jax_rng() == lazy.as_jax_rng()


@pytest.mark.parametrize("trip", [ROUND_TRIPS["deepcopy"], ROUND_TRIPS["pickle"]])
def test_there_is_one_context_and_one_config(trip: Any) -> None:
    assert trip(context) is context
    assert trip(config) is config
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(Config())


def test_classes_of_a_script_in_another_process(tmp_path: Any) -> None:
    path = tmp_path / "models.pkl"
    script = f"""
        import functools, cloudpickle, jax, linen_core
        from linen_core import Module, compact

        @jax.jit
        def halved(x):
            return x / 2

        class Base(Module):
            @compact
            def __call__(self, x):
                return x + self.param("w", lambda key: 1.0)

        class Net(Base):
            inner: Module
            function: object = halved
            @compact
            def __call__(self, x):
                return self.function(super().__call__(self.inner(x)))

        model = Net(Base(), name="net")
        bound = model.bind(model.init(jax.random.key(0), 2.0))
        with open({str(path)!r}, "wb") as file:
            cloudpickle.dump((model, bound), file)
    """
    load = f"""
        import jax, linen_core, pickle
        from linen_core.config import config
        model, bound = pickle.load(open({str(path)!r}, "rb"))
        assert bound(2.0) == 2.0
        assert model.apply(bound.variables, 2.0) == 2.0
        assert model.init(jax.random.key(0), 2.0) == bound.variables
        assert repr(model.inner) == "Base()"
        assert type(model).__call__.__globals__["config"] is config
    """
    for code in (script, load):
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
