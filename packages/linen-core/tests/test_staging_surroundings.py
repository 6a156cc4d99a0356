"""`init` around code that needs values, code that fails, and other transformations."""

import contextlib
import gc
import traceback
import types
import warnings
import weakref
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from linen_core import Module, compact
from linen_core.errors import JaxTransformError, LazyInitError

from .as_eager import check_as_eager

KEY = jax.random.key(0)
X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
initializers = jax.nn.initializers


class Layer(Module):
    features: int = 5

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", initializers.normal(), (x.shape[-1], self.features))
        bias = self.param("bias", initializers.zeros, (self.features,))
        return jnp.tanh(x @ kernel + bias[None])


# Code that needs concrete values.


class If(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(2)(x) if x.sum() > 100 else Layer(3)(x)


class AsNumpy(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(int(np.asarray(x).shape[0]))(x)


class AsInt(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(int(jnp.round(x.max())) + 1)(x)


class BooleanIndex(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(len(x[x > 0]))(x)


class Unique(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(jnp.unique(x).size)(x)


class ShapeFromValue(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        sizes = jnp.array([2, 3]) + (x[0, 0] > 100)
        return x + self.param("w", initializers.ones, tuple(sizes)).sum()


class AsList(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(len(x.tolist()))(x)


class Ready(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Layer(2)(jnp.tanh(x).block_until_ready())


VALUES = [If, AsNumpy, AsInt, BooleanIndex, Unique, ShapeFromValue, AsList]


@pytest.mark.parametrize("make", [*VALUES, Ready])
def test_code_that_needs_values_runs_eagerly(make: Any) -> None:
    check_as_eager(make(), X)


@pytest.mark.parametrize("make", VALUES)
def test_code_that_needs_the_values_of_a_shape_says_so(make: Any) -> None:
    with pytest.raises(LazyInitError, match="ShapeDtypeStruct") as caught:
        make().init(KEY, jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert "_staging.py" not in str(caught.value)


# Exceptions.


class Failing(Module):
    error: Any = None

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = Layer()(x)
        if self.error is not None:
            raise self.error
        return y @ jnp.ones((99, 99))


@pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyError("mine"), RuntimeError("a", 3)], ids=repr
)
def test_exceptions_surface_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        Failing(error).init(KEY, X)
    assert caught.value is error
    assert caught.value.__cause__ is None
    check_frames(caught.value)


def test_exceptions_of_jax_are_those_of_eager_evaluation() -> None:
    with pytest.raises(TypeError) as lazy:
        Failing().init(KEY, X)
    with pytest.raises(TypeError) as eager:
        Failing().init_with_output(KEY, X)
    assert str(lazy.value) == str(eager.value)
    check_frames(lazy.value, innermost=False)


def check_frames(error: BaseException, innermost: bool = True) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if frame.filename == __file__]
    # The user's last line is in the model; only what JAX did there itself may lie below it.
    assert frames[own[-1]].name == "__call__"
    assert not innermost or own[-1] == len(frames) - 1
    above = [frame.name for frame in frames[: own[-1]]]
    assert not [name for name in above if "trace" in name or "make_jaxpr" in name]


def test_errors_about_transformations_surface() -> None:
    class Raw(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return jax.vmap(Layer())(x)

    with pytest.raises(JaxTransformError, match='The module "Layer_0" creates the parameter'):
        Raw().init(KEY, X)


def test_values_that_need_the_data_of_a_shape_are_refused() -> None:
    class DataDependent(Module):
        @compact
        def __call__(self, x: jax.Array, scale: Any) -> None:
            Layer()(x)
            self.variable("stats", "fine", lambda: jnp.zeros(x.shape))
            self.variable("stats", "mean", lambda: (x * scale).mean())

    spec = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    with pytest.raises(LazyInitError) as caught:
        DataDependent().init(KEY, spec, jnp.ones(()))
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        "The initial value of stats/mean depends on the values of an argument that was given as "
        f"{spec}. Pass a real array for this argument."
    )
    with pytest.raises(LazyInitError, match=r"of stats/mean .* ShapeDtypeStruct\(shape=\(\), "):
        DataDependent().init(KEY, X, jax.ShapeDtypeStruct((), jnp.float32))


# Inside other transformations.


def test_init_inside_transformations() -> None:
    model, spec = Layer(), jax.ShapeDtypeStruct(X.shape, X.dtype)
    expected = model.init(KEY, X)
    chex.assert_trees_all_close(jax.jit(model.init)(KEY, X), expected, rtol=1e-5)
    abstract = jax.jit(lambda key: model.init(key, spec))(KEY)
    chex.assert_trees_all_close(abstract, expected, rtol=1e-5)
    shapes = jax.eval_shape(model.init, KEY, X)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, expected)
    stacked = jax.vmap(model.init, (0, None))(jax.random.split(KEY, 2), X)
    assert jax.tree.map(lambda a: (2, *a.shape), expected) == jax.tree.map(jnp.shape, stacked)


def test_no_tracer_leaks() -> None:
    class Small(Module):
        @compact
        def __call__(self) -> None:
            self.param("w", lambda key: jnp.arange(3.0) + 1)

    with jax.checking_leaks():
        Small().init(KEY)


class Raising(Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        raise TypeError("mine")


@pytest.mark.parametrize("make", [Layer, If, Raising])
def test_arguments_are_freed_at_once(make: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        x = X + 1
        freed = weakref.ref(x)
        with contextlib.suppress(TypeError):
            make().init(KEY, x)
        del x
        assert freed() is None
    finally:
        gc.enable()


def test_a_warning_of_the_model_is_given_once() -> None:
    class Warns(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            warnings.warn("mine", stacklevel=1)
            Layer()(x)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Warns().init(KEY, X)
    assert [str(w.message) for w in caught] == ["mine"]


def test_pytrees_that_cannot_be_rebuilt_are_passed_on() -> None:
    class Pair(NamedTuple):
        mixed: Any

    class Net(Module):
        @compact
        def __call__(self, pair: Any) -> Any:
            return self.param("w", lambda key: jnp.ones(len(pair.mixed)))

    assert Net().init(KEY, Pair({1: X, "a": X}))["params"]["w"].shape == (2,)


def test_results_that_jax_cannot_look_into_hold_no_tracers() -> None:
    class Net(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            self.variable("state", "opaque", lambda: types.SimpleNamespace(x=x + 1))

    opaque = Net().init(KEY, X)["state"]["opaque"]
    assert jnp.array_equal(opaque.x, X + 1)


def test_why_a_call_has_to_run_with_real_arrays() -> None:
    class Opaque(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            self.variable("state", "opaque", lambda: types.SimpleNamespace(x=1))

    with pytest.raises(LazyInitError) as caught:
        Opaque().init(KEY, jax.ShapeDtypeStruct((3,), "float32"))
    assert str(caught.value) == (
        "This call has to run with real arrays, because a variable holds a SimpleNamespace, but an "
        "argument was given as ShapeDtypeStruct(shape=(3,), dtype=float32). Pass a real array for "
        "this argument."
    )


def test_double_precision_for_a_part_of_the_model() -> None:
    class Precise(Module):
        @compact
        def __call__(self) -> None:
            with jax.enable_x64(True):
                self.param("w", initializers.normal(), (3,), jnp.float64)

    variables = check_as_eager(Precise())
    assert variables["params"]["w"].dtype == jnp.float64


@jax.jit
def initialize_parameter(key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.random.normal(key, x.shape), x


def test_functions_that_have_a_name_like_ours() -> None:
    class Net(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            self.param("w", lambda key: initialize_parameter(key, x))
            named = checkpoint_name(x, "initialize_parameter")
            self.variable("state", "x", lambda: named)

    check_as_eager(Net(), X)


def test_parameters_are_arrays_of_their_own_without_compilation_too() -> None:
    class Zeros(Module):
        @compact
        def __call__(self) -> None:
            self.param("a", initializers.zeros, (3,))
            self.param("b", initializers.zeros, (3,))

    with jax.disable_jit():
        a, b = jax.tree.leaves(Zeros().init(KEY))
    assert a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer()


def test_arrays_of_the_user_are_not_copied() -> None:
    class Tied(Module):
        @compact
        def __call__(self, x: jax.Array) -> None:
            for name in ("a", "b"):
                self.param(name, lambda key: X)
                self.variable("state", name, lambda: x)

    variables = Tied().init(KEY, X)
    assert all(leaf is X for leaf in jax.tree.leaves(variables))
