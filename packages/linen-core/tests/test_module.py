"""Functions of modules as pure functions of variables."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, module
from linen_core.errors import (
    ApplyModuleInvalidMethodError,
    InvalidFilterError,
    InvalidInstanceModuleError,
    InvalidRngError,
)

KEY = jax.random.key(0)


class Scale(Module):
    value: float = 2.0

    def setup(self) -> None:
        self.calls = self.variable("state", "calls", lambda: 0)

    @compact
    def __call__(self, x: Any) -> Any:
        if self.is_mutable_collection("state"):
            self.calls.value += 1
        return x * self.param("scale", lambda key: self.value)


def twice(scale: Scale, x: Any, *, plus: float = 0.0) -> Any:
    return scale(scale(x)) + plus


VARIABLES = {"params": {"scale": 3.0}, "state": {"calls": 4}}


def test_apply() -> None:
    run = module.apply(twice, Scale())
    assert run(VARIABLES, 1.0) == 9.0
    assert run(VARIABLES, 1.0, plus=1.0) == 10.0
    assert jax.jit(run)(VARIABLES, 2.0) == 18.0


@pytest.mark.parametrize(
    ("mutable", "capture", "updates"),
    [
        ("state", False, {"state": {"calls": 6}}),
        (False, True, {"intermediates": {"__call__": (3.0, 9.0)}}),
        ("state", lambda m, name: False, {"state": {"calls": 6}}),
        ([], False, {}),
    ],
    ids=["mutable", "captured", "captured nothing", "nothing"],
)
def test_apply_with_updates(mutable: Any, capture: Any, updates: Any) -> None:
    run = module.apply(twice, Scale(), mutable=mutable, capture_intermediates=capture)
    assert run(VARIABLES, 1.0) == (9.0, updates)


def test_init() -> None:
    created = {"params": {"scale": 2.0}, "state": {"calls": 2}}
    assert module.init(twice, Scale())(KEY, 1.0) == created
    assert module.init_with_output(twice, Scale())(KEY, 1.0, plus=1.0) == (5.0, created)
    some = module.init(twice, Scale(), mutable=["params", "state"])(KEY, 1.0)
    assert some == created
    captured = module.init(twice, Scale(), capture_intermediates=True)(KEY, 1.0)
    assert captured["intermediates"] == {"__call__": (2.0, 4.0)}


def test_init_takes_specs() -> None:
    spec = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert module.init(twice, Scale())({"params": KEY}, spec)["params"] == {"scale": 2.0}


@pytest.mark.parametrize("fn", [Scale.__call__, Scale().__call__, "__call__"])
def test_methods_are_functions_of_a_module(fn: Any) -> None:
    assert module.apply(fn, Scale())(VARIABLES, 1.0) == 3.0


def test_streams() -> None:
    def draw(scale: Scale) -> jax.Array:
        return scale.make_rng("noise")

    assert module.apply(draw, Scale())({}, rngs={"noise": KEY}) == Scale().apply(
        {}, rngs={"noise": KEY}, method=draw
    )
    with pytest.raises(InvalidRngError):
        module.apply(draw, Scale())({})


@pytest.mark.parametrize("function", ["apply", "init", "init_with_output"])
def test_wrong_arguments(function: str) -> None:
    make = getattr(module, function)
    with pytest.raises(ApplyModuleInvalidMethodError):
        make(3, Scale())
    with pytest.raises(InvalidFilterError):
        make(twice, Scale(), mutable=3)(KEY if "init" in function else {}, 1.0)
    for given, text in [(Scale, repr(Scale)), (3, "3")]:
        with pytest.raises(InvalidInstanceModuleError) as caught:
            make(twice, given)
        assert str(caught.value) == (
            f"module.{function} needs an instance of a module, but got {text}. Construct the module "
            f"first: module.{function}(fn, MyModule(...))."
        )
