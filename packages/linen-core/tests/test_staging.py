"""`init` evaluates what the variables depend on, and nothing else."""

import collections
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import AxisMetadata, LazyRng, Module, compact, struct
from linen_core._staging import evaluate_needed, needed_equations

from .as_eager import check_as_eager

KEY = jax.random.key(0)
X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
initializers = jax.nn.initializers

executions: list[str] = []


@pytest.fixture(autouse=True)
def no_executions() -> None:
    executions.clear()


def executed(x: jax.Array, what: str = "forward") -> jax.Array:
    """Note, when the compiled code runs, that it did."""

    def note(value: np.ndarray) -> np.ndarray:
        executions.append(what)
        return np.asarray(value)

    spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(note, spec, x, vmap_method="expand_dims")


class Layer(Module):
    features: int = 5

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", initializers.normal(), (x.shape[-1], self.features))
        bias = self.param("bias", initializers.zeros, (self.features,))
        jax.debug.callback(lambda: executions.append("debug"))
        return executed(jnp.tanh(x @ kernel + bias[None]))


class Deep(Module):
    @compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        for width in (6, 5):
            x = Layer(width)(x)
            count = self.variable("state", f"count_{width}", lambda: jnp.zeros((), int))
            if train:
                count.value += 1
        return x


# Nothing but what is needed.


def test_init_does_not_run_the_forward_pass() -> None:
    variables = Deep().init(KEY, X)
    jax.block_until_ready(variables)
    jax.effects_barrier()
    assert executions == []
    assert variables["state"]["count_5"] == 1
    Deep().init_with_output(KEY, X)
    jax.effects_barrier()
    assert executions.count("forward") == 2


def test_what_a_variable_depends_on_runs() -> None:
    class DataDependent(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            mean = self.variable("stats", "mean", lambda: executed(x, "mean").mean(0))
            return executed(x) - mean.value[None]

    DataDependent().init(KEY, X)
    assert executions == ["mean"]
    executions.clear()
    check_as_eager(DataDependent(), X)


def test_abstract_arguments_are_enough() -> None:
    spec = jax.ShapeDtypeStruct(X.shape, X.dtype)
    chex.assert_trees_all_equal(Deep().init(KEY, spec), Deep().init(KEY, X), strict=True)
    chex.assert_trees_all_equal(Deep().lazy_init(KEY, spec), Deep().init(KEY, X), strict=True)
    assert executions == []


# Equal to eager evaluation.


@pytest.mark.parametrize(
    "make",
    [
        initializers.lecun_normal(),
        initializers.glorot_uniform(dtype=jnp.bfloat16),
        initializers.orthogonal(),
        lambda key, shape: jnp.sin(jax.random.normal(key, shape)) / jnp.sqrt(shape[0]),
    ],
    ids="lecun_normal bfloat16 orthogonal own".split(),
)
def test_parameters_equal_eager_evaluation_bit_for_bit(make: Any) -> None:
    class Parameters(Module):
        @compact
        def __call__(self) -> None:
            self.param("a", make, (7, 5))
            self.param("b", make, (5, 7))

    first = check_as_eager(Parameters())
    key = LazyRng.create(KEY, 1).as_jax_rng()
    chex.assert_trees_all_equal(first["params"]["a"], make(key, (7, 5)), strict=True)


def test_initializers_that_differ_in_a_sign_stay_apart() -> None:
    class Constant(Module):
        value: float

        @compact
        def __call__(self) -> None:
            self.param("a", initializers.constant(self.value), (2,))

    for value in (0.0, -0.0):
        variables = Constant(value).init(KEY)
        assert np.signbit(variables["params"]["a"]).tolist() == [np.signbit(value)] * 2


def test_dependent_initial_values_equal_eager_evaluation() -> None:
    class Dependent(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            w = self.param("w", initializers.normal(), (x.shape[-1], 4))
            y = jnp.tanh(x @ w)
            self.variable("stats", "mean", lambda: y.mean(0))
            self.variable("stats", "std", lambda: jnp.sqrt(jnp.mean((y - y.mean()) ** 2)))
            self.variable("stats", "scan", lambda: jax.lax.scan(lambda c, r: (c + r, c), y[0], y))
            self.variable("stats", "loop", lambda: jax.lax.fori_loop(0, 3, lambda i, c: c * y, y))
            self.variable("stats", "noise", lambda: jax.random.normal(self.make_rng("noise"), (3,)))
            self.variable("stats", "key", lambda: self.make_rng("noise"))

    check_as_eager(Dependent(), X, rngs={"params": KEY, "noise": jax.random.key(1)})


def test_counters_and_overwritten_values() -> None:
    class Twice(Module):
        def setup(self) -> None:
            self.count = self.variable("state", "count", lambda: jnp.ones(2))
            self.plain = self.variable("state", "plain", lambda: 0)

        def __call__(self, x: jax.Array) -> None:
            self.count.value = self.count.value * 3
            self.count.value -= x.sum()
            self.plain.value += 2

    variables = check_as_eager(Twice(), X)
    assert variables["state"]["plain"] == 2


@struct.dataclass
class Named(AxisMetadata):
    value: Any
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Named":
        return Named(val, self.names)

    def add_axis(self, index: int, params: Any) -> "Named":
        return self

    def remove_axis(self, index: int, params: Any) -> "Named":
        return self


def test_leaves_keep_their_types() -> None:
    class Mixed(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            for name, value in {
                "int": 3,
                "float": 0.5,
                "bool": True,
                "none": None,
                "string": "s",
                "numpy": np.arange(3.0),
                "numpy scalar": np.float32(2),
                "array": x.sum(),
                "tuple": (1, x[0], np.ones(1)),
                "list": [x[0], "a"],
                "dict": {"z": x[0], "a": 1},
                "box": Named(x[0], ("in",)),
                "key": jax.random.key(3),
            }.items():
                self.variable("state", name, lambda value=value: value)
            self.param("boxed", lambda key: Named(initializers.ones(key, (2,)), ("out",)))

    variables = check_as_eager(Mixed(), X)
    assert variables["params"]["boxed"].names == ("out",)
    assert variables["state"]["box"].names == ("in",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jnp.array(0),
        lambda: jnp.array(0, jnp.int32),
        lambda: jnp.float32(0),
        lambda: jnp.asarray(2.0),
        lambda: jnp.zeros(()),
        lambda: jnp.array(True),
        lambda: jnp.array([1, 2]),
        lambda: jnp.asarray(np.ones(2, np.float32)),
        lambda: jnp.asarray(1.0, jnp.bfloat16),
        lambda: jnp.zeros((2, 3)),
    ],
    ids=("int int32 float32 weak zeros bool list numpy bfloat16 matrix".split()),
)
def test_constant_initial_values_are_arrays(make: Any) -> None:
    class Constant(Module):
        @compact
        def __call__(self) -> None:
            self.variable("state", "a", make)

    check_as_eager(Constant())


def test_dicts_inside_of_variables_keep_type_and_order() -> None:
    class Dicts(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            self.variable("state", "ordered", lambda: collections.OrderedDict(z=x[0], a=1))
            self.variable("state", "list", lambda: [{"z": x[0], "a": 1}])

    check_as_eager(Dicts(), X)


def test_numpy_arguments_stay_numpy() -> None:
    class Statistics(Module):
        @compact
        def __call__(self, x: np.ndarray) -> None:
            self.variable("stats", "x", lambda: x)
            self.variable("stats", "double", lambda: 2 * x)
            self.variable("stats", "sum", lambda: jnp.sum(x))

    check_as_eager(Statistics(), np.arange(3.0))
    check_as_eager(Statistics(), np.arange(3.0, dtype=np.float32))


def test_arguments_keep_the_order_of_their_keys() -> None:
    class PerInput(Module):
        @compact
        def __call__(self, inputs: dict[Any, jax.Array], **more: jax.Array) -> None:
            for value in (*inputs.values(), *more.values()):
                Layer(value.shape[-1])(value)

    inputs = {"b": jnp.ones((1, 3)), "a": jnp.ones((1, 2))}
    variables = check_as_eager(PerInput(), inputs, z=jnp.ones((1, 5)), y=jnp.ones((1, 4)))
    widths = [layer["bias"].shape[0] for layer in variables["params"].values()]
    assert widths == [3, 2, 5, 4]


def test_arguments_may_be_dicts_with_keys_of_several_types() -> None:
    class PerInput(Module):
        @compact
        def __call__(self, inputs: dict[Any, jax.Array]) -> None:
            for value in inputs.values():
                Layer(value.shape[-1])(value)

    check_as_eager(PerInput(), {1: jnp.ones((1, 3)), "a": jnp.ones((1, 2))})


@pytest.mark.parametrize(
    "static",
    [True, False, None, 3, 0.5, "train", jnp.tanh, len, {"a": "b"}, ("x", None), object(), X.dtype],
    ids=lambda x: type(x).__name__,
)
def test_arguments_that_are_no_arrays_stay_what_they_are(static: Any) -> None:
    seen = []

    class Static(Module):
        @compact
        def __call__(self, x: jax.Array, positional: Any, keyword: Any = None) -> None:
            seen.append((positional, keyword))
            self.param("w", initializers.ones, (x.shape[-1],))

    Static().init(KEY, X, static, keyword=static)
    assert len(seen) == 1
    for found in seen[0]:
        assert type(found) is type(static)
        assert found == static


def test_arrays_of_strings_stay_what_they_are() -> None:
    class Tokens(Module):
        @compact
        def __call__(self, tokens: np.ndarray) -> None:
            self.param("table", initializers.ones, (len(set(tokens.tolist())), 2))

    check_as_eager(Tokens(), np.array(["a", "b", "a"]))


def test_a_module_traces_once() -> None:
    traces = []

    class Traced(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            traces.append(x)
            return Layer()(x)

    Traced().init(KEY, X)
    assert len(traces) == 1


# The parts.


def test_evaluate_needed_is_a_call() -> None:
    def fn(x: Any, scale: float, *, extra: Any = None) -> Any:
        return {"y": x * scale, "kept": extra}

    result = evaluate_needed(fn, X, 2.0, extra="text")
    chex.assert_trees_all_equal(result["y"], X * 2)
    assert result["kept"] == "text"


def test_needed_equations_are_those_of_the_outputs() -> None:
    def fn(x: jax.Array) -> Any:
        unused = jnp.sin(x)
        jax.debug.callback(lambda: None)
        return jnp.cos(x), unused * 2

    jaxpr = jax.make_jaxpr(fn)(1.0).jaxpr
    kept = needed_equations(jaxpr, jaxpr.outvars[:1])
    assert [e.primitive.name for e in kept] == ["cos"]
    assert [e.primitive.name for e in needed_equations(jaxpr, jaxpr.outvars)] == [
        "sin",
        "cos",
        "mul",
    ]
    assert needed_equations(jaxpr, []) == []


def test_a_scan_is_reduced_to_what_is_needed() -> None:
    def fn(xs: jax.Array) -> Any:
        return jax.lax.scan(lambda c, x: (c + x, executed(x)), jnp.zeros(4), xs)

    chex.assert_trees_all_close(evaluate_needed(lambda xs: fn(xs)[0], X), X.sum(0), atol=1e-6)
    assert executions == []
