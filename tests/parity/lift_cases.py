"""Lifted transformations over every form of a target: classes, methods and functions.

Every body here is a step `(carry, x) -> (carry, y)` that makes parameters, draws from a stream,
changes a collection and sows, so that each form meets all that a lift has to carry in and out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal

LIFTED = Table()

CARRY, XS = normal(3, seed=1), normal(4, 3, seed=2)
STREAMS = {"params": 0, "noise": 1}
SPLIT = {"params": True, "noise": True}
SHARED = {"params": False, "noise": True}
STEPS: dict[str, Any] = {"in_axes": (None, 0), "out_axes": 0}

# The name of the transformation, and its arguments.
LIFTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vmap": (
        "vmap",
        {"variable_axes": {"params": 0, "state": 0, "sown": 0}, "split_rngs": SPLIT, **STEPS},
    ),
    "vmap_of_shared_params": (
        "vmap",
        {"variable_axes": {"params": None, "state": 0, "sown": 1}, "split_rngs": SHARED, **STEPS},
    ),
    "scan": ("scan", {"variable_axes": {"params": 0, "state": 0, "sown": 0}, "split_rngs": SPLIT}),
    "scan_of_broadcast_params": (
        "scan",
        {
            "variable_broadcast": "params",
            "variable_axes": {"state": 0, "sown": 0},
            "split_rngs": SHARED,
        },
    ),
    "remat": ("remat", {}),
    "jit": ("jit", {}),
}


def lift(nn: Any, name: str) -> Callable[..., Any]:
    """Returns a transformation with its arguments."""
    transformation, options = LIFTS[name]
    return partial(getattr(nn, transformation), **options)


def memory(nn: Any) -> Any:
    """Returns a layer that does to variables and streams what a layer may do."""

    class Memory(nn.Module):
        @nn.compact
        def __call__(self, y):
            self.sow("sown", "y", y)
            last = self.variable("state", "last", jnp.zeros, y.shape)
            count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
            if not self.is_initializing():
                last.value, count.value = y + last.value, count.value + 1
            return y + 0.1 * jax.random.normal(self.make_rng("noise"), y.shape)

    return Memory


def compact_step(nn: Any) -> Any:
    """Returns a step whose layers are made where they are called."""

    class Step(nn.Module):
        features: int = 3

        @nn.compact
        def __call__(self, carry, x):
            y = memory(nn)()(nn.Dense(self.features)(carry))
            return carry + jnp.tanh(y), nn.Dense(2, name="out")(y * x)

    return Step


def setup_step(nn: Any) -> Any:
    """Returns a step with several methods, whose layers are made in setup."""

    class Step(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.memory = memory(nn)()
            self.out = [nn.Dense(3), nn.Dense(2)]

        def __call__(self, carry, x):
            y = self.memory(self.dense(carry))
            return carry + jnp.tanh(y), self.out[1](self.out[0](y * x))

        def other(self, carry, x):
            return carry - self.dense(x), self.out[0](carry)

    return Step


def class_at_the_top(nn: Any, lifted: Any) -> Any:
    return lifted(compact_step(nn))()


def class_in_a_compact_method(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            result = lifted(compact_step(nn))()(nn.Dense(3)(carry), xs)
            again = lifted(setup_step(nn))(name="steps")
            return result, again(carry, xs), again(-carry, xs)

    return Net()


def class_in_setup(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        def setup(self):
            self.steps = lifted(setup_step(nn))()
            self.list = [lifted(compact_step(nn))()]

        def __call__(self, carry, xs):
            return self.list[0](carry, xs), self.steps(carry, xs), self.steps(carry, xs)

    return Net()


def class_with_several_methods(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            step = lifted(setup_step(nn), methods=["__call__", "other"])()
            return step(carry, xs), step.other(carry, xs), step(carry, xs)

    return Net()


def class_that_inherits(nn: Any, lifted: Any) -> Any:
    class Further(setup_step(nn)):
        scale: float = 2.0

        def __call__(self, carry, x):
            carry, y = super().__call__(carry * self.scale, x)
            return carry, y + self.out[1](x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            return lifted(Further)(scale=0.5)(carry, xs)

    return Net()


def subclass_of_a_lifted_class(nn: Any, lifted: Any) -> Any:
    class Further(lifted(compact_step(nn))):
        def twice(self, carry, xs):
            return self(carry, xs)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            return Further()(carry, xs)

    return Net()


def decorated_method(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.memory = memory(nn)()

        @lifted
        def step(self, carry, x):
            y = self.memory(self.dense(carry))
            return carry + y, y * x

        def __call__(self, carry, xs):
            return self.step(carry, xs), self.step(-carry, xs)

    return Net()


def decorated_compact_method(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        features: int

        @lifted
        @nn.compact
        def __call__(self, carry, x):
            y = memory(nn)()(nn.Dense(3)(carry))
            return carry + y, nn.Dense(self.features)(y * x)

    return Net(2)


def function_that_makes_layers(nn: Any, lifted: Any) -> Any:
    def step(mdl, carry, x):
        y = memory(nn)()(nn.Dense(3)(carry))
        return carry + y, nn.Dense(2, name="out")(y * x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            return lifted(step)(self, carry, xs)

    return Net()


def function_that_uses_attributes(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        def setup(self):
            self.step = setup_step(nn)()
            self.dense = nn.Dense(3)

        def __call__(self, carry, xs):
            lifted_step = lifted(lambda mdl, carry, x: mdl.step(mdl.dense(carry), x))
            return lifted_step(self, carry, xs), lifted_step(self, carry, xs)

    return Net()


def function_of_a_submodule(nn: Any, lifted: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            step = compact_step(nn)(name="step")
            return lifted(lambda mdl, carry, x: mdl(carry, x))(step, carry, xs)

    return Net()


FORMS: tuple[Callable[[Any, Any], Any], ...] = (
    class_at_the_top,
    class_in_a_compact_method,
    class_in_setup,
    class_with_several_methods,
    class_that_inherits,
    subclass_of_a_lifted_class,
    decorated_method,
    decorated_compact_method,
    function_that_makes_layers,
    function_that_uses_attributes,
    function_of_a_submodule,
)

LIFTED.extend(
    Case(
        name=f"{name}_of_{form.__name__}",
        build=lambda nn, name=name, form=form: form(nn, lift(nn, name)),
        args=(CARRY, XS if LIFTS[name][0] in ("vmap", "scan") else XS[0]),
        rngs=STREAMS,
        apply_rngs={"noise": 4},
        mutable=["state", "sown"],
    )
    for name in LIFTS
    for form in FORMS
)
