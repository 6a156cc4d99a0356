"""A lifted transformation traces to what one would have written by hand: no copies, no extra results."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr

import linen_transforms as lt
from linen_core import Module, compact

from .layers import Dense

W = jnp.ones((3, 3))
WS = jnp.ones((4, 3, 3))
X, XS = jnp.ones(3), jnp.ones((4, 3))
MAPPED: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}


class Lifted(Module):
    """Calls a lifted layer, or a lifted function of one."""

    call: Callable[[Any, Any], Any]

    @compact
    def __call__(self, x: Any) -> Any:
        return self.call(Dense(name="dense"), x)


class Steps(Module):
    """A layer as the body of a loop."""

    @compact
    def __call__(self, x: Any, _: Any) -> Any:
        y = Dense(name="dense")(x)
        return y, y


class Loop(Module):
    """Calls a loop of layers."""

    remat: bool

    @compact
    def __call__(self, x: Any) -> Any:
        body = lt.remat(Steps, prevent_cse=False) if self.remat else Steps
        return lt.scan(body, **MAPPED, length=4)(name="loop")(x, None)


def step(x: Any, w: Any) -> Any:
    y = x @ w
    return y, y


def layer(w: Any, x: Any) -> Any:
    return x @ w


def call(dense: Any, x: Any) -> Any:
    return dense(x)


def total(dense: Any, x: Any) -> Any:
    return jnp.sum(dense(x))


def of_vjp(dense: Any, x: Any) -> Any:
    y, pull = lt.vjp(call, dense, x)
    return pull(y)


def of_vjp_by_hand(w: Any, x: Any) -> Any:
    y, pull = jax.vjp(layer, w, x)
    return pull(y)


def of_jvp(dense: Any, x: Any) -> Any:
    return lt.jvp(call, dense, (x,), (x,), {})


def count(dense: Any, x: Any) -> Any:
    return lt.while_loop(lambda _, x: x[0] < 2, call, dense, x)


# For each transformation: a model with the parameter `dense/kernel`, the same by hand, kernel, input.
TRANSFORMATIONS: dict[str, tuple[Any, Callable[..., Any], jax.Array, jax.Array]] = {
    "vmap": (
        Lifted(lambda dense, x: lt.vmap(call, in_axes=(0,), **MAPPED)(dense, x)),
        jax.vmap(layer),
        WS,
        XS,
    ),
    "scan": (Loop(False), lambda w, x: lax.scan(step, x, w), WS, X),
    "scan of remat": (
        Loop(True),
        lambda w, x: lax.scan(jax.checkpoint(step, prevent_cse=False), x, w),
        WS,
        X,
    ),
    "remat": (Lifted(lt.remat(call)), jax.checkpoint(layer), W, X),
    "jit": (Lifted(lt.jit(call)), jax.jit(layer), W, X),
    "cond": (
        Lifted(lambda dense, x: lt.cond(x[0] > 0, call, lambda _, x: x, dense, x)),
        lambda w, x: lax.cond(x[0] > 0, layer, lambda _, x: x, w, x),
        W,
        X,
    ),
    "switch": (
        Lifted(lambda dense, x: lt.switch(1, [lambda _, x: x, call], dense, x)),
        lambda w, x: lax.switch(1, [lambda _, x: x, layer], w, x),
        W,
        X,
    ),
    "while_loop": (
        Lifted(count),
        lambda w, x: lax.while_loop(lambda x: x[0] < 2, partial(layer, w), x),
        W,
        X,
    ),
    "grad": (
        Lifted(lambda dense, x: lt.grad(total, dense, x)),
        lambda w, x: jax.grad(lambda x: jnp.sum(layer(w, x)))(x),
        W,
        X,
    ),
    "vjp": (Lifted(of_vjp), of_vjp_by_hand, W, X),
    "jvp": (
        Lifted(of_jvp),
        lambda w, x: jax.jvp(partial(layer, w), (x,), (x,)),
        W,
        X,
    ),
    "map_variables": (
        Lifted(lt.map_variables(call, "params", lambda params: jax.tree.map(jnp.sign, params))),
        lambda w, x: layer(jnp.sign(w), x),
        W,
        X,
    ),
}


def primitives(jaxpr: Any) -> list[Any]:
    """Returns the names of all primitives, with those of the jaxprs inside of each."""
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    return [
        (str(eqn.primitive), len(eqn.outvars), *map(primitives, _jaxprs(eqn.params)))
        for eqn in inner.eqns
    ]


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    return [
        leaf
        for leaf in jax.tree.leaves(
            list(params.values()), is_leaf=lambda x: isinstance(x, (Jaxpr, ClosedJaxpr))
        )
        if isinstance(leaf, (Jaxpr, ClosedJaxpr))
    ]


@pytest.mark.parametrize(
    ("model", "by_hand", "kernel", "x"), TRANSFORMATIONS.values(), ids=list(TRANSFORMATIONS)
)
def test_primitives(
    model: Any, by_hand: Callable[..., Any], kernel: jax.Array, x: jax.Array
) -> None:
    params = {"dense": {"kernel": kernel}}
    variables = {"params": {"loop": params} if isinstance(model, Loop) else params}
    found = primitives(jax.make_jaxpr(model.apply)(variables, x))
    assert found == primitives(jax.make_jaxpr(by_hand)(kernel, x))
    assert found
