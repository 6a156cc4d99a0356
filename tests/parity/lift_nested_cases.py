"""Lifts inside of lifts, and modules that reach a lifted body in other ways than as its target."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal

NESTED = Table()
CARRY, XS = normal(3, seed=1), normal(4, 3, seed=2)
BATCH = normal(5, 3, seed=6)
STREAMS = {"params": 0, "noise": 1}
AXES: dict[str, Any] = {
    "variable_axes": {"params": 0, "sown": 0},
    "split_rngs": {"params": True, "noise": True},
}
SHARED: dict[str, Any] = {
    "variable_axes": {"params": None, "sown": 0},
    "split_rngs": {"params": False, "noise": True},
}
LIFTS: dict[str, dict[str, Any]] = {
    "vmap": {"in_axes": (0, None), **AXES},
    "scan": {"length": 2, "in_axes": (), **AXES},
    "remat": {},
    "jit": {},
}


def layer(nn: Any) -> Any:
    """Returns a layer that makes a parameter, draws, and sows."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, scale):
            y = nn.Dense(3)(x) * scale
            self.sow("sown", "y", y)
            return y + 0.1 * jax.random.normal(self.make_rng("noise"), y.shape)

    return Layer


def as_step(nn: Any, target: Any) -> Any:
    """Returns a class whose calls take and return a carry."""

    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry):
            x, scale = carry
            return (target(name="inner")(x, scale), scale), None

    return Step


def lifted(nn: Any, name: str, target: Any) -> Any:
    """Lifts a class `(x, scale) -> y` into one of the same form."""
    if name != "scan":
        return getattr(nn, name)(target, **LIFTS[name])
    loop = nn.scan(as_step(nn, target), **LIFTS["scan"])

    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x, scale):
            return loop(name="loop")((x, jnp.asarray(scale)))[0][0]

    return Loop


def nested(names: tuple[str, ...]) -> Callable[[Any], Any]:
    def build(nn: Any) -> Any:
        target = layer(nn)
        for name in reversed(names):
            target = lifted(nn, name, target)

        class Net(nn.Module):
            @nn.compact
            def __call__(self, x, scale):
                inner = target(name="inner")
                return inner(x, scale), inner(-x, scale)

        return Net()

    return build


ORDERS = [*permutations(LIFTS, 2), ("vmap", "scan", "remat"), ("scan", "remat", "vmap")]
NESTED.extend(
    Case(
        name=f"{'_of_'.join(names)}_of_a_class",
        build=nested(names),
        args=(BATCH, normal(seed=7)),
        rngs=STREAMS,
        apply_rngs={"noise": 4},
        mutable=["sown"],
    )
    for names in [*ORDERS, ("scan", "scan"), ("jit", "jit"), ("remat", "remat")]
)
NESTED.append(
    Case(
        name="vmap_of_vmap_of_a_class",
        build=nested(("vmap", "vmap")),
        args=(normal(2, 5, 3), normal(seed=7)),
        rngs=STREAMS,
        apply_rngs={"noise": 4},
        mutable=["sown"],
    )
)


@NESTED.module(args=(CARRY, XS), rngs=STREAMS, apply_rngs={"noise": 4})
def scan_whose_body_lifts_a_function(nn):
    class Cell(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.layer = layer(nn)()

        def __call__(self, carry, x):
            each = nn.vmap(lambda mdl, y: mdl.layer(mdl.dense(y), 1.0), **SHARED)
            return carry + each(self, jnp.stack([carry, x])).sum(0), x

    return nn.scan(Cell, **AXES)()


@NESTED.module(args=(CARRY, XS))
def functions_of_functions(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, carry, xs):
            def outer(mdl, c, x):
                inner = nn.vmap(lambda m, y: m.dense(y), **SHARED)
                c = inner(mdl, jnp.stack([c, x])).sum(0)
                return c, c

            options = {"variable_broadcast": "params", "split_rngs": {"params": False}}
            return nn.scan(outer, **options)(self, carry, xs)

    return Net()


@NESTED.module(args=(BATCH,))
def a_submodule_shared_with_a_lifted_class(nn):
    class Tied(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.inner(x))

    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.tied = nn.vmap(Tied, **SHARED)(self.dense)

        def __call__(self, x):
            return self.dense(self.tied(x))

    return Net()


@NESTED.module(args=(BATCH,))
def a_submodule_shared_by_two_lifted_classes(nn):
    class Tied(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            return self.inner(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            first, second = (nn.vmap(Tied, **SHARED)(dense, name=n) for n in "ab")
            return first(x), nn.remat(Tied)(dense, name="c")(second(x))

    return Net()


@NESTED.module(args=(BATCH,))
def a_module_that_a_method_gets_as_argument(nn):
    class Caller(nn.Module):
        @nn.compact
        def __call__(self, x, other):
            return nn.Dense(3)(other(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3, name="other")
            dense(x)
            return nn.remat(Caller)()(x, dense)

    return Net()


@NESTED.module(args=(BATCH,))
def a_function_that_closes_over_a_submodule(nn):
    class Net(nn.Module):
        def setup(self):
            self.a, self.b = nn.Dense(3), nn.Dense(2)

        def __call__(self, x):
            own = self.b
            return nn.vmap(lambda mdl, x: own(mdl.a(x)), **SHARED)(self, x)

    return Net()


@NESTED.module(args=(BATCH,), mutable=["sown"], rngs=STREAMS, apply_rngs={"noise": 4})
def remat_of_a_function_inside_a_compact_method(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def block(mdl, x):
                return layer(nn)(name=None)(nn.Dense(3)(x), 2.0)

            for _ in range(2):
                x = nn.remat(block)(self, x)
            return nn.Dense(2)(x)

    return Net()


@NESTED.module(args=(CARRY,), rngs=STREAMS, apply_rngs={"noise": 4})
def remat_scan_of_two_lengths(nn):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = jnp.tanh(nn.Dense(3)(x))
            return y + 0.1 * jax.random.normal(self.make_rng("noise"), y.shape)

    return nn.remat_scan(Block, lengths=(2, 3))()


@NESTED.module(args=(CARRY,))
def remat_scan_of_a_broadcast_block(nn):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.tanh(nn.Dense(3)(x))

    options = {"variable_broadcast": "params", "variable_axes": {}, "split_rngs": {}}
    return nn.remat_scan(Block, lengths=(2,), **options | {"split_rngs": {"params": False}})()


@NESTED.module(args=(BATCH,))
def layers_of_a_lifted_class_in_a_list(nn):
    class Net(nn.Module):
        def setup(self):
            block = nn.remat(nn.Dense)
            self.blocks = [block(3) for _ in range(2)]
            self.named = {"last": nn.vmap(nn.Dense, **AXES)(2)}

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return self.named["last"](x)

    return Net()


@NESTED.module(args=(BATCH,))
def a_lifted_module_that_is_made_outside(nn):
    class Net(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            return self.inner(x) + self.inner(2 * x)

    return Net(partial(nn.vmap, **AXES)(nn.Dense)(3))
