"""Abstract modules: trees of shapes and dtypes."""

import copy
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import Module, compact, intercept_methods
from linen_core.errors import (
    AbstractValueError,
    ApplyModuleInvalidMethodError,
    InvalidFilterError,
    InvalidInstanceModuleError,
    InvalidRngError,
    LinenError,
    ModifyScopeVariableError,
    NoOutputSpecsError,
    ScopeParamShapeError,
    SetAttributeFrozenModuleError,
)

Spec = jax.ShapeDtypeStruct
X = Spec((2, 3), jnp.float32)


def specs(tree: Any) -> Any:
    return jax.tree.map(lambda x: Spec(x.shape, x.dtype) if isinstance(x, jax.Array) else x, tree)


class Dense(Module):
    features: int

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = jax.nn.initializers.lecun_normal()
        return x @ self.param("kernel", init, (x.shape[-1], self.features))


class Stem(Module):
    """A compact model with a nested module, state and noise."""

    @compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = Dense(4)(x)
        mean = self.variable("stats", "mean", jnp.zeros, (4,))
        if train:
            mean.value = x.mean(axis=0)
            x = x * jax.random.bernoulli(self.make_rng("dropout"), 0.5, x.shape)
        return Dense(5, name="out")(x - mean.value[None])


class Net(Module):
    """A model with setup, which computes with parameters, and a shared module."""

    held: Any = None

    def setup(self) -> None:
        self.stem = Stem()
        self.layers = [Dense(5), Dense(2)]
        self.unused = Dense(7)
        self.shared = Reads(self.layers[0])
        self.scale = 2 * self.param("scale", jax.nn.initializers.ones, (2,))
        self.constant = np.ones((3,))
        self.calls = self.variable("state", "calls", lambda: 0)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.shared(self.head(self.stem(x)))

    def head(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return x * self.scale[None]

    def width(self) -> int:
        return self.layers[1].features


class Reads(Module):
    other: Module

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.other.variables["params"]["kernel"]
        return x @ jnp.ones((x.shape[-1], kernel.shape[-1]))


UNBOUND_HEAD: Any = Net.head

MODELS: list[tuple[Any, tuple[Any, ...]]] = [
    (Dense(4), (X,)),
    (Stem(), (X, False)),
    (Stem(), (X, True)),
    (Net(), (X,)),
    (Net([Dense(1)], name="net"), (X,)),
]
IDS = ["dense", "stem", "train", "net", "held"]


@pytest.mark.parametrize(("model", "args"), MODELS, ids=IDS)
def test_variables_and_outputs_are_those_of_init(model: Any, args: Any) -> None:
    arrays = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype) if isinstance(x, Spec) else x, args)
    y, variables = model.init_with_output(jax.random.key(0), *arrays)
    for given_ in (args, arrays):
        abstract = model.abstract(*given_)
        assert isinstance(abstract, type(model))
        assert abstract.variables == specs(variables)
        assert abstract.output_specs == specs(y)
        assert abstract(*given_) == specs(y)
        assert abstract.unbind() == (model, specs(variables))


def test_nothing_is_computed() -> None:
    huge = Spec((1 << 20, 1 << 20), jnp.float32)
    model: Any = Dense(1 << 20).abstract(huge)
    assert model.variables["params"]["kernel"] == huge
    assert model(huge) == huge


def test_submodules() -> None:
    model = Net().abstract(X)
    kernel = Spec((3, 4), jnp.float32)
    assert model.stem.variables == {
        "params": {"Dense_0": {"kernel": kernel}, "out": {"kernel": Spec((4, 5), jnp.float32)}},
        "stats": {"mean": Spec((4,), jnp.float32)},
    }
    assert model.stem.Dense_0.variables == {"params": {"kernel": kernel}}
    assert model.stem.Dense_0.path == ("stem", "Dense_0")
    assert model.stem.out.output_specs == Spec((2, 5), jnp.float32)
    assert model.layers[1].output_specs == Spec((2, 2), jnp.float32)
    assert model.shared.other is model.layers[0]
    assert {"stem", "layers", "scale"} <= set(dir(model))
    assert "Dense_0" in dir(model.stem)


def test_attributes() -> None:
    model = Net().abstract(X)
    assert model.scale == Spec((2,), jnp.float32)
    assert isinstance(model.constant, np.ndarray)
    assert model.calls.value == 0
    assert "scale=float32[2]" in repr(model)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m: m(jnp.ones((7, 3))), (7, 5)),
        (lambda m: m.stem(Spec((7, 3), jnp.float32)), (7, 5)),
        (lambda m: m.stem(Spec((7, 3), jnp.float32), train=False), (7, 5)),
        (lambda m: m.stem.Dense_0(Spec((1, 3), jnp.float32)), (1, 4)),
        (lambda m: m.stem.out(Spec((4,), jnp.float32)), (5,)),
        (lambda m: m.layers[0](Spec((6, 5), jnp.float32)), (6, 5)),
        (lambda m: m.head(Spec((6, 5), jnp.float32)), (6, 2)),
        (lambda m: UNBOUND_HEAD(m, Spec((6, 5), jnp.float32)), (6, 2)),
        (lambda m: m.shared(Spec((6, 9), jnp.float32)), (6, 5)),
    ],
)
def test_calls_give_specs(call: Any, expected: tuple[int, ...]) -> None:
    assert call(Net().abstract(X)) == Spec(expected, jnp.float32)


def test_calls_leave_no_trace() -> None:
    model: Any = Net().abstract(X)
    before = model.variables
    assert model.width() == 2
    for _ in range(2):
        model.stem(Spec((7, 3), jnp.float32))
    assert model.variables == before
    assert model.stem.output_specs == Spec((2, 5), jnp.float32)


def test_other_results_than_arrays() -> None:
    class Many(Module):
        @compact
        def __call__(self, x: jax.Array, options: Any) -> Any:
            return {"b": (x, options), "a": [None, "text", 3, np.zeros(2)], "key": self.make_rng()}

    y = Many().abstract(X, ("static", 1), rngs=jax.random.key(0)).output_specs
    assert list(y) == ["b", "a", "key"]
    assert y["b"] == (X, ("static", 1))
    assert y["a"][:3] == [None, "text", 3]
    assert y["key"] == jax.eval_shape(jax.random.key, 0)


def test_weak_types_stay() -> None:
    class Weak(Module):
        def __call__(self) -> jax.Array:
            return jnp.asarray(1.0) * 2

    assert Weak().abstract().output_specs == Spec((), jnp.float32, weak_type=True)


def test_methods_and_collections() -> None:
    model = Net().abstract(Spec((6, 5), jnp.float32), method="head", mutable=["params", "state"])
    assert model.variables.keys() == {"params", "state"}
    assert model.variables["params"].keys() == {"scale", "layers_0", "layers_1"}
    assert model.output_specs == Spec((6, 2), jnp.float32)

    class Twice(Module):
        def setup(self) -> None:
            self.embed = Tied()

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.embed.attend(self.embed(x))

    class Tied(Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return x[0]

        def attend(self, x: jax.Array) -> jax.Array:
            return x[None, None]

    assert Twice().abstract(X).embed.output_specs == Spec((1, 1, 3), jnp.float32)


def test_state_of_the_call_is_not_that_of_init() -> None:
    class Cached(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            is_ready = self.has_variable("cache", "x")
            cache = self.variable("cache", "x", jnp.zeros, x.shape)
            if not is_ready:
                return x
            assert not self.is_initializing()
            return cache.value + x[:1]

    model: Any = Cached().abstract(X)
    assert model(Spec((1, 3), jnp.float32)) == X


def test_parameters_are_checked() -> None:
    model: Any = Net().abstract(X)
    with pytest.raises(ScopeParamShapeError, match="stem/Dense_0"):
        model.stem(Spec((2, 9), jnp.float32))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.put_variable("state", "calls", 1), ModifyScopeVariableError),
        (lambda m: setattr(m.calls, "value", 1), ModifyScopeVariableError),
        (lambda m: setattr(m, "held", 1), SetAttributeFrozenModuleError),
        (lambda m: setattr(m.stem, "new", 1), SetAttributeFrozenModuleError),
        (lambda m: m.make_rng("params"), InvalidRngError),
    ],
    ids="put variable field attribute draw".split(),
)
def test_nothing_can_be_changed(change: Any, error: Any) -> None:
    with pytest.raises(error):
        change(Net().abstract(X))
    assert Net().abstract(X).sow("state", "calls", 1) is False


def test_interceptors_see_the_calls() -> None:
    seen = []

    def see(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        seen.append(context.module.path)
        return next_fun(*args, **kwargs)

    with intercept_methods(see):
        Dense(3).abstract(X)
    assert seen == [()]


@pytest.mark.parametrize(
    "trip", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=lambda f: ""
)
def test_copies_are_abstract(trip: Any) -> None:
    model = Net().abstract(X)
    copied = trip(model)
    assert copied.variables == model.variables
    assert copied.stem.Dense_0.output_specs == model.stem.Dense_0.output_specs
    inner = trip(model.stem.Dense_0)
    assert inner.path == ("stem", "Dense_0")
    assert inner(Spec((9, 3), jnp.float32)) == Spec((9, 4), jnp.float32)


def test_an_abstract_module_can_be_given_to_init() -> None:
    key, x = jax.random.key(0), jnp.ones(X.shape)
    chex.assert_trees_all_equal(Net().abstract(X).init(key, x), Net().init(key, x))


# Errors.


class Branches(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Dense(3)(x) if x.sum() > 0 else x


class Converts(Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(x))


class Repeats(Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return sum(x for _ in range(x.argmax()))  # type: ignore[return-value, arg-type]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (Branches(), "Attempted boolean conversion of traced array with shape bool[]."),
        (Converts(), "The numpy.ndarray conversion method __array__() was called on traced array "),
        (Repeats(), "The __index__() method was called on traced array with shape int32[]"),
    ],
    ids=["branch", "numpy", "range"],
)
def test_models_that_need_values(model: Module, found: str) -> None:
    with pytest.raises(AbstractValueError) as caught:
        model.abstract(X)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    text = str(caught.value)
    name = type(model).__name__
    assert text.startswith(
        f"{name} needs the values of arrays, but an abstract module has only their shapes and "
        f"dtypes. JAX says: {found}"
    )
    assert text.endswith(
        " Pass what Python code decides on as a Python value, or work with arrays: "
        "model.bind(model.init(key, ...))."
    )
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (
            lambda: Net().output_specs,
            "Net is not abstract, so it has no output_specs. Write model.abstract(x).output_specs.",
        ),
        (
            lambda: Net().bind({}).output_specs,
            "Net is not abstract, so it has no output_specs. Write model.abstract(x).output_specs.",
        ),
        (
            lambda: Net().abstract(X).unused.output_specs,
            'The module "unused" (Dense) was not called by the method that model.abstract traced, '
            "so it has no output_specs. Call it, which gives the specs of what it returns, or "
            "write model.abstract(..., method=...) with a method that calls it.",
        ),
    ],
    ids=["unbound", "bound", "uncalled"],
)
def test_modules_without_output_specs(use: Any, text: str) -> None:
    with pytest.raises(NoOutputSpecsError) as caught:
        use()
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda: Net.abstract(X), InvalidInstanceModuleError),  # type: ignore[arg-type]
        (lambda: Net().abstract(X, method=3), ApplyModuleInvalidMethodError),  # type: ignore[arg-type]
        (lambda: Net().abstract(X, mutable=3), InvalidFilterError),  # type: ignore[arg-type]
        (lambda: Net().abstract(X, rngs=3), InvalidRngError),  # type: ignore[arg-type]
        (lambda: Net().abstract(X, rngs={"dropout": jax.random.key(0)}), InvalidRngError),
    ],
    ids="class method mutable rngs stream".split(),
)
def test_wrong_arguments(use: Any, error: Any) -> None:
    with pytest.raises(error):
        use()


def test_errors_of_the_model_come_through() -> None:
    class Raises(Module):
        def __call__(self) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        Raises().abstract()
    assert not getattr(caught.value, "__notes__", [])


# Random models.


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 4))
def test_random_widths(widths: list[int], batch: int) -> None:
    class MLP(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for width in widths:
                x = Dense(width)(x)
            return x

    model = MLP().abstract(Spec((batch, 3), jnp.float32))
    assert model.output_specs.shape == (batch, widths[-1])
    assert model.variables == jax.eval_shape(
        MLP().init, jax.random.key(0), Spec((batch, 3), jnp.float32)
    )
