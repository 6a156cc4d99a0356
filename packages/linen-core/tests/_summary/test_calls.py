"""The calls that a recorder writes down, and the trace that it does so in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, init, intercept_methods
from linen_core._context import intercepting
from linen_core._module.pure import scope_function
from linen_core._summary.calls import FLAG, Call, Recorder, trace
from linen_core._trace import is_tracer
from linen_core.errors import SummaryValueError

from .models import KEY, MLP, Autoencoder, Dense, Tied, X, spec


def calls_of(module: Module, *args: Any, method: Any = None, **kwargs: Any) -> list[Call]:
    found: list[Call] = []

    def call(args: Any, kwargs: Any) -> None:
        recorder = Recorder()
        run = recorder.whole(module, "whole", scope_function(module, "test", method, False))
        with intercepting(recorder, outermost=True):
            init(run, flags={FLAG: recorder})(KEY, *args, **kwargs)
        found[:] = recorder.calls.values()

    trace(call, args, kwargs)
    return found


def names(calls: list[Call]) -> list[tuple[str, str]]:
    return [("/".join(call.path), call.method) for call in calls]


def test_calls_are_in_the_order_in_which_they_begin() -> None:
    assert names(calls_of(Autoencoder(), X)) == [
        ("", "__call__"),
        ("", "encode"),
        ("encoder_in", "__call__"),
        ("encoder_out", "__call__"),
        *[("blocks_0", "__call__"), ("blocks_0/Dense_0", "__call__")],
        *[("blocks_1", "__call__"), ("blocks_1/Dense_0", "__call__")],
        *[("blocks_0", "__call__"), ("blocks_0/Dense_0", "__call__")],
        *[("blocks_1", "__call__"), ("blocks_1/Dense_0", "__call__")],
    ]


def test_calls_have_what_went_in_and_came_out() -> None:
    whole, dense, *_ = calls_of(MLP(), X, train=True)
    assert (whole.inputs, whole.outputs) == ((X, {"train": True}), spec(8, 2))
    assert (dense.inputs, dense.outputs) == (X, spec(8, 4))


@pytest.mark.parametrize(
    ("args", "kwargs", "inputs"),
    [
        ((), {}, ()),
        ((1,), {}, 1),
        (((1,),), {}, (1,)),
        ((1, None), {}, (1, None)),
        ((1,), {"a": 2}, (1, {"a": 2})),
        ((), {"a": 2, "b": None}, {"a": 2, "b": None}),
    ],
)
def test_inputs(args: Any, kwargs: Any, inputs: Any) -> None:
    class Anything(Module):
        def __call__(self, *args: Any, **kwargs: Any) -> None:
            return None

    (call,) = calls_of(Anything(), *args, **kwargs)
    assert call.inputs == inputs
    assert call.outputs is None


def lambda_over(module: Any, x: Any) -> Any:
    return module.blocks[0](x)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("encode", ["", "encoder_in", "encoder_out"]),
        (Autoencoder.encode, ["", "encoder_in", "encoder_out"]),
        (lambda_over, ["", "blocks_0", "blocks_0/Dense_0"]),
    ],
    ids=["name", "method", "function"],
)
def test_the_top_level_module_always_has_a_call(method: Any, expected: list[str]) -> None:
    calls = calls_of(Autoencoder(), X, method=method)
    assert [path for path, _ in names(calls)] == expected
    assert (calls[0].inputs, calls[0].outputs) == (X, spec(8, 3))
    assert calls[0].method == ("whole" if method is lambda_over else "encode")


def test_setup_and_modules_that_are_not_called_make_no_calls() -> None:
    assert names(calls_of(Tied(), X)) == [("", "__call__")]


def test_calls_of_modules_without_variables_are_left_out() -> None:
    class Plain(Module):
        def double(self, x: Any) -> Any:
            return 2 * x

    class Outer(Module):
        def __call__(self, x: Any) -> Any:
            return Plain(parent=None).double(x)

    assert names(calls_of(Outer(), X)) == [("", "__call__")]


def test_another_apply_inside_is_another_model() -> None:
    class Outer(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            inner = Dense(3, parent=None)
            x = inner.apply({"params": {"kernel": jnp.eye(3)}}, x)
            return MLP((2,))(x)

    assert [path for path, _ in names(calls_of(Outer(), X))] == ["", "MLP_0", "MLP_0/Dense_0"]


def test_a_call_that_raises_is_left_out() -> None:
    class Fails(Module):
        def __call__(self, x: Any) -> Any:
            raise KeyError

    class Catches(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            try:
                return Fails()(x)
            except KeyError:
                return Dense(2)(x)

    assert [path for path, _ in names(calls_of(Catches(), X))] == ["", "Dense_0"]


def test_calls_are_as_they_look_from_outside_of_interceptors() -> None:
    def double(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        return jnp.concatenate([next_fun(*args, **kwargs)] * 2)

    with intercept_methods(double):
        (call,) = calls_of(Dense(2), X)
    assert (call.inputs, call.outputs) == (X, spec(16, 2))


def test_modules_stand_alone() -> None:
    calls = calls_of(MLP(), X)
    assert [call.module for call in calls] == [MLP(), Dense(4), Dense(2)]
    assert all(call.module.scope is None for call in calls)


def test_modules_hold_no_tracers() -> None:
    class Scale(Module):
        factor: Any

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.factor["a"] * x

    class Outer(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Scale({"a": x, "b": 2})(x)

    with jax.check_tracer_leaks(True):
        _, scale = calls_of(Outer(), X)
    assert scale.module.factor == {"a": X, "b": 2}


def test_arrays_and_specs_are_traced() -> None:
    kinds: list[bool] = []

    def fn(*leaves: Any) -> None:
        kinds.extend(is_tracer(leaf) for leaf in leaves)

    closed = trace(fn, X, jnp.ones(3), 1.0, None, True)
    assert kinds == [True, True, False, False, False]
    assert len(closed.jaxpr.invars) == 2


@pytest.mark.parametrize("needs", [bool, int, lambda x: list(range(x))], ids=["if", "int", "range"])
def test_values_that_the_code_needs_are_there(needs: Callable[[Any], Any]) -> None:
    class Branches(Module):
        def __call__(self, x: jax.Array, n: jax.Array) -> jax.Array:
            return x if needs(n) else 2 * x

    assert names(calls_of(Branches(), X, jnp.asarray(2))) == [("", "__call__")]
    with pytest.raises(SummaryValueError, match=r"JAX says: .*traced array with shape"):
        calls_of(Branches(), X, spec(dtype="int32"))
