"""`purify`: bound modules as pure functions, for raw JAX transformations, and the way back."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact
from linen_core.errors import (
    CallCompactUnboundModuleError,
    InvalidRngError,
    InvalidScopeError,
    JaxTransformError,
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
)
from linen_transforms import PureFunction, purify, scan
from linen_transforms.errors import PurifyError

from .layers import Dense

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3) / 6


class Mean(Module):
    """A running mean, with noise."""

    @compact
    def __call__(self, x: Any) -> Any:
        mean = self.variable("state", "mean", jnp.zeros, (3,))
        if self.is_mutable_collection("state") and not self.is_initializing():
            mean.value = 0.5 * mean.value + 0.5 * x.mean(0)
        if self.has_rng("noise"):
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
        return x - mean.value[None]


class Model(Module):
    """Two submodules."""

    def setup(self) -> None:
        self.dense = Dense(3)
        self.mean = Mean()

    def __call__(self, x: Any) -> Any:
        return self.mean(self.dense(x))

    def doubled(self, x: Any) -> Any:
        return 2 * self.dense(x)


VARIABLES = Model().init(KEY, X)
BOUND = Model().bind(VARIABLES)

TARGETS: dict[str, tuple[Any, Any]] = {
    "module": (BOUND, VARIABLES),
    "submodule": (BOUND.dense, {"params": VARIABLES["params"]["dense"]}),
    "method": (BOUND.doubled, VARIABLES),
    "closure": (lambda x: BOUND.dense(x) + 1, None),
    "partial": (functools.partial(BOUND.dense), {"params": VARIABLES["params"]["dense"]}),
}


def closing_over(*modules: Module) -> Callable[[Any], Any]:
    def fn(x: Any) -> Any:
        for module in modules:
            x = module(x)  # type: ignore[operator]
        return x

    return fn


@pytest.mark.parametrize(("target", "expected"), TARGETS.values(), ids=TARGETS)
def test_is_the_same_function(target: Any, expected: Any) -> None:
    if expected is None:
        target = closing_over(BOUND.dense)
        expected = {"params": VARIABLES["params"]["dense"]}
    pure, variables = purify(target)
    assert isinstance(pure, PureFunction)
    chex.assert_trees_all_equal(variables, expected)
    chex.assert_trees_all_equal(pure(variables, X), target(X))
    chex.assert_trees_all_equal(jax.jit(pure)(variables, X), target(X))


def test_modules_in_several_places() -> None:
    pure, variables = purify(closing_over(BOUND.dense, BOUND.mean))
    chex.assert_trees_all_equal(variables, VARIABLES)
    expected = Model().apply(VARIABLES, X)
    chex.assert_trees_all_equal(pure(variables, X), expected)


def test_variables_are_of_the_caller() -> None:
    pure, variables = purify(BOUND.dense)
    zeros = jax.tree.map(jnp.zeros_like, variables)
    assert not pure(zeros, X).any()
    variables["params"]["kernel"] = None
    assert VARIABLES["params"]["dense"]["kernel"] is not None


RAW: dict[str, Callable[[Any, Any], Any]] = {
    "vmap": lambda pure, v: jax.vmap(pure, (None, 0))(v, jnp.stack([X, X])),
    "grad": lambda pure, v: jax.grad(lambda v: pure(v, X).sum())(v),
    "scan": lambda pure, v: jax.lax.scan(lambda x, _: (pure(v, x), None), X, length=3)[0],
    "while": lambda pure, v: jax.lax.fori_loop(0, 3, lambda _, x: pure(v, x), X),
    "linearize": lambda pure, v: jax.linearize(functools.partial(pure, v), X)[1](X),
    "checkpoint": lambda pure, v: jax.grad(lambda v: jax.checkpoint(pure)(v, X).sum())(v),
    "custom_root": lambda pure, v: jax.lax.custom_root(
        lambda x: x - pure(v, X),
        X,
        lambda f, x: x - f(x),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
}


@pytest.mark.parametrize("run", RAW.values(), ids=RAW)
def test_raw_transformations(run: Callable[[Any, Any], Any]) -> None:
    def expected(v: Any, x: Any) -> Any:
        return x @ v["params"]["kernel"]

    pure, variables = purify(BOUND.dense)
    chex.assert_trees_all_close(run(pure, variables), run(expected, variables), rtol=1e-6)


class Solver(Module):
    """Integrates a submodule with a raw loop."""

    in_setup: bool

    def setup(self) -> None:
        if self.in_setup:
            self.field = Dense(3)

    @compact
    def __call__(self, x: Any) -> Any:
        field = self.field if self.in_setup else Dense(3, name="field")
        if self.is_initializing():
            field(x)
        pure, variables = purify(field)
        return jax.lax.fori_loop(0, 3, lambda _, x: x + 0.1 * pure(variables, x), x)


@pytest.mark.parametrize("in_setup", [True, False], ids=["setup", "compact"])
def test_inside_of_a_method(in_setup: bool) -> None:
    solver = Solver(in_setup)
    variables = solver.init(KEY, X)
    kernel = variables["params"]["field"]["kernel"]
    expected = X
    for _ in range(3):
        expected = expected + 0.1 * expected @ kernel
    chex.assert_trees_all_close(solver.apply(variables, X), expected, rtol=1e-6)
    gradient = jax.grad(lambda v: solver.apply(v, X).sum())(variables)
    assert gradient["params"]["field"]["kernel"].any()


def test_methods_that_use_self() -> None:
    class Uses(Module):
        def setup(self) -> None:
            self.dense = Dense(3)

        def __call__(self, x: Any) -> Any:
            self.dense(x)
            pure, variables = purify(lambda x: self.dense(x) + 1)
            return jax.vmap(lambda row: pure(variables, row[None])[0])(x)

    y, variables = Uses().init_with_output(KEY, X)
    chex.assert_trees_all_close(y, X @ variables["params"]["dense"]["kernel"] + 1, rtol=1e-6)


def test_inside_of_a_lifted_loop() -> None:
    class Step(Module):
        @compact
        def __call__(self, x: Any, _: Any) -> Any:
            mean = Mean()
            mean(x)
            pure, variables = purify(mean)
            key = self.make_rng("key")
            return x, jnp.stack([pure(variables, x, rngs={"noise": key}) for _ in range(2)])

    loop = scan(Step, variable_broadcast="state", split_rngs={"key": True}, length=2)()
    _, ys = loop.apply({"state": {"Mean_0": {"mean": jnp.zeros(3)}}}, X, None, rngs={"key": KEY})[
        :2
    ]
    chex.assert_trees_all_equal(ys[:, 0], ys[:, 1])
    assert not jnp.array_equal(ys[0], ys[1])


def test_keys_are_explicit() -> None:
    pure, variables = purify(BOUND.mean)
    one, again, other = (
        pure(variables, X, rngs={"noise": jax.random.key(seed)}) for seed in (1, 1, 2)
    )
    chex.assert_trees_all_equal(one, again)
    assert not jnp.array_equal(one, other)
    chex.assert_trees_all_equal(pure(variables, X), X)
    with pytest.raises(InvalidRngError):
        pure(variables, X, rngs={"noise": 3})  # type: ignore[dict-item]


def test_modules_in_several_places_draw_other_numbers() -> None:
    class Noise(Module):
        def __call__(self, x: Any) -> Any:
            return x + jax.random.normal(self.make_rng("noise"))

    class Two(Module):
        def setup(self) -> None:
            self.a = Noise()
            self.b = Noise()

        def __call__(self) -> Any:
            pure, variables = purify(closing_over(self.a))
            both, _ = purify(lambda: (self.a(0.0), self.b(0.0)))
            return pure(variables, 0.0, rngs={"noise": KEY}), both({}, rngs={"noise": KEY})

    alone, (first, second) = Two().apply({})
    assert len({float(alone), float(first), float(second)}) == 3


def test_state_goes_out_and_comes_back() -> None:
    bound = Model().bind(VARIABLES, mutable=["state"])
    pure, variables = purify(bound.mean, mutable=["state"])
    _, updates = pure(variables, X)
    chex.assert_trees_all_equal(bound.mean.variables, variables)
    pure.put_back(updates)
    chex.assert_trees_all_equal(bound.mean.variables["state"]["mean"], X.mean(0) / 2)
    chex.assert_trees_all_equal(bound.variables["params"], VARIABLES["params"])


def test_parts_are_put_back() -> None:
    bound = Model().bind(VARIABLES, mutable=True)
    pure, _ = purify(closing_over(bound.dense, bound.mean), mutable=True)
    pure.put_back({"params": {"dense": {"kernel": jnp.ones((3, 3))}}})
    assert bound.variables["params"]["dense"]["kernel"].all()
    chex.assert_trees_all_equal(bound.variables["state"], VARIABLES["state"])
    pure.put_back({"state": {"mean": {"mean": 1, "new": {"a": 2, "b": {}}}}})
    assert bound.variables["state"] == {"mean": {"mean": 1, "new": {"a": 2, "b": {}}}}


def test_lives_on_when_the_call_has_ended() -> None:
    kept: list[Any] = []
    variables = Dense(3).init(KEY, X)

    class Keeps(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            dense = Dense(3)
            y = dense(x)
            kept.append(purify(dense))
            return y

    y = Keeps().apply({"params": {"Dense_0": variables["params"]}}, X)
    pure, variables = kept[-1]
    chex.assert_trees_all_equal(pure(variables, X), y)
    with pytest.raises(InvalidScopeError):
        pure.put_back(variables)


NOT_PURE: dict[str, tuple[Callable[[], Any], str]] = {
    "unbound": (
        lambda: purify(Dense(3)),
        "Dense is not bound to variables: its init and apply are",
    ),
    "no_module": (lambda: purify(lambda x: x), "purify found no bound module in <function"),
    "no_function": (lambda: purify(3), "purify found no bound module in 3"),
    "two_trees": (
        lambda: purify(closing_over(BOUND, Model().bind(VARIABLES))),
        "purify found modules that are bound to different variables",
    ),
    "no_variables": (
        lambda: purify(BOUND.dense)[0](X),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        "The variables of a purified function must be a dict from collections to nested dicts",
    ),
    "no_collections": (
        lambda: purify(BOUND.dense)[0]({"kernel": X}, X),
        r"Write y = pure\(variables, ...\)",
    ),
    "no_updates": (lambda: purify(BOUND.dense)[0].put_back({"kernel": X}), "must be a dict"),
    "module_argument": (
        lambda: purify(BOUND.dense)[0](VARIABLES, BOUND),
        "An argument of a purified function holds a bound module. Let the function capture it",
    ),
}


@pytest.mark.parametrize(("misuse", "text"), NOT_PURE.values(), ids=NOT_PURE)
def test_misuse(misuse: Callable[[], Any], text: str) -> None:
    with pytest.raises(PurifyError, match=text):
        misuse()


def test_variables_are_not_created() -> None:
    class Early(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            pure, variables = purify(Dense(3))
            return pure(variables, x)

    with pytest.raises(ScopeCollectionNotFound):
        Early().init(KEY, X)


def test_submodules_are_not_made() -> None:
    class Makes(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            pure, variables = purify(lambda x: Dense(3)(x) + self.scale())
            return pure(variables, x)

        def scale(self) -> float:
            return 1.0

    with pytest.raises(CallCompactUnboundModuleError):
        Makes().init(KEY, X)


def test_put_back_says_what_is_wrong() -> None:
    pure, variables = purify(BOUND.dense)
    with pytest.raises(ModifyScopeVariableError):
        pure.put_back(variables)
    bound = Model().bind(VARIABLES, mutable=["state"])
    mean, state = purify(bound.mean)
    with pytest.raises(JaxTransformError):
        jax.jit(mean.put_back)(state)
