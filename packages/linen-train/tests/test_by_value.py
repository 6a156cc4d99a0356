import functools
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from linen_train._by_value import FunctionByValue, optimizer_by_value

OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adam": optax.adam,
    "adamw_mask": lambda rate: optax.adamw(
        rate, mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
    ),
    "chain": lambda rate: optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.warmup_cosine_decay_schedule(0.0, rate, 10, 100)),
    ),
    "multi_transform": lambda rate: optax.multi_transform(
        {"a": optax.adam(rate), "b": optax.sgd(rate)}, lambda params: "a"
    ),
    "masked": lambda rate: optax.masked(optax.sgd(rate), {"a": True}),
    "joined_schedules": lambda rate: optax.sgd(
        optax.join_schedules(
            [optax.linear_schedule(0, rate, 5), optax.constant_schedule(rate)], [5]
        )
    ),
    "lamb": optax.lamb,
    "adafactor": optax.adafactor,
    "lbfgs": optax.lbfgs,
}


def shift(x: Any, by: float) -> Any:
    return x + by


def make_shift(by: Any) -> Callable[[Any], Any]:
    return lambda x: x + by


class Scale:
    """Compared by value, as models are."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and self.by == other.by

    def __hash__(self) -> int:
        return hash(self.by)

    def apply(self, x: float) -> float:
        return x * self.by


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_rebuilt_optimizers_are_equal(
    make: Callable[[float], optax.GradientTransformation],
) -> None:
    for part in ("init", "update"):
        first, second = (FunctionByValue(getattr(make(0.1), part)) for _ in range(2))
        assert first == second
        assert hash(first) == hash(second)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_other_learning_rates_are_unequal(
    make: Callable[[float], optax.GradientTransformation],
) -> None:
    assert FunctionByValue(make(0.1).update) != FunctionByValue(make(0.2).update)


EQUAL: dict[str, Callable[[], Callable[..., Any]]] = {
    "function": lambda: shift,
    "closure": lambda: make_shift(1.0),
    "closure_over_nan": lambda: make_shift(float("nan")),
    "closure_over_containers": lambda: make_shift([1, {"a": (2, "b")}]),
    "closure_over_closure": lambda: make_shift(make_shift(2)),
    "partial": lambda: functools.partial(shift, by=2.0),
    "method": lambda: Scale(2.0).apply,
}


@pytest.mark.parametrize("make", EQUAL.values(), ids=EQUAL)
def test_functions_made_alike_are_equal(make: Callable[[], Callable[..., Any]]) -> None:
    assert FunctionByValue(make()) == FunctionByValue(make())
    assert hash(FunctionByValue(make())) == hash(FunctionByValue(make()))


UNEQUAL: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "captured_value": (make_shift(1.0), make_shift(2.0)),
    "captured_type": (make_shift(1), make_shift(1.0)),
    "captured_bool": (make_shift(1), make_shift(True)),
    "captured_sign": (make_shift(0.0), make_shift(-0.0)),
    "captured_order": (make_shift((1, 2)), make_shift((2, 1))),
    "captured_container": (make_shift((1, 2)), make_shift([1, 2])),
    "captured_array": (make_shift(jnp.ones(2)), make_shift(jnp.ones(2))),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "default": (lambda x, by=1: x + by, lambda x, by=2: x + by),
    "partial": (functools.partial(shift, by=1), functools.partial(shift, by=2)),
    "receiver": (Scale(1.0).apply, Scale(2.0).apply),
    "unrelated": (shift, Scale(1.0).apply),
}


@pytest.mark.parametrize(("first", "second"), UNEQUAL.values(), ids=UNEQUAL)
def test_functions_that_may_differ_are_unequal(
    first: Callable[..., Any], second: Callable[..., Any]
) -> None:
    assert FunctionByValue(first) != FunctionByValue(second)


def test_globals_count() -> None:
    source = "def read():\n    return [setting for _ in range(1)]"
    functions = []
    for setting in (1, 1, 2):
        namespace: dict[str, Any] = {"setting": setting}
        exec(compile(source, "<cell>", "exec"), namespace)
        functions.append(FunctionByValue(namespace["read"]))
    assert functions[0] == functions[1]
    assert functions[0] != functions[2]


def test_a_function_that_captures_itself_equals_itself_alone() -> None:
    def make() -> Callable[[int], int]:
        def count(n: int) -> int:
            return 0 if n == 0 else 1 + count(n - 1)

        return count

    count = make()
    assert FunctionByValue(count) == FunctionByValue(count)
    assert FunctionByValue(count) != FunctionByValue(make())
    assert FunctionByValue(count)(3) == 3


def test_a_schedule_that_changes_itself_when_called() -> None:
    schedule = optax.cosine_decay_schedule(0.1, decay_steps=100)
    before = FunctionByValue(optax.sgd(schedule).update)
    schedule(3)
    assert before == FunctionByValue(optax.sgd(schedule).update)
    rebuilt = optax.cosine_decay_schedule(0.1, decay_steps=100)
    assert before == FunctionByValue(optax.sgd(rebuilt).update)


def test_functions_are_not_kept_alive() -> None:
    function = make_shift(1.0)
    reference = weakref.ref(function)
    FunctionByValue(function)
    del function
    gc.collect()
    assert reference() is None


def test_it_is_nothing_else() -> None:
    function = FunctionByValue(shift)
    assert function != shift
    assert function(1, by=2) == 3
    assert function.__wrapped__ is shift
    assert "shift" in repr(function)


def test_pickle() -> None:
    function = FunctionByValue(optax.apply_updates)
    hash(function)
    assert pickle.loads(pickle.dumps(function)) == function


def accumulating(rate: float, every: int) -> optax.MultiSteps:
    return optax.MultiSteps(optax.adam(rate), every)


@pytest.mark.parametrize("part", ["init", "update"])
def test_rebuilt_accumulating_optimizers_are_equal(part: str) -> None:
    functions = [
        getattr(optimizer_by_value(optimizer), part)
        for make in (accumulating, lambda *args: accumulating(*args).gradient_transformation())
        for optimizer in (make(0.1, 2), make(0.1, 2))
    ]
    assert len(set(functions)) == 1
    others = [
        optimizer_by_value(accumulating(0.1, 3)),
        optimizer_by_value(accumulating(0.2, 2)),
        optimizer_by_value(optax.MultiSteps(optax.adam(0.1), 2, use_grad_mean=False)),
    ]
    assert not any(getattr(other, part) in functions for other in others)
