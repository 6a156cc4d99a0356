"""The jaxprs inside of equations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from linen_core._summary.bodies import bodies

X = jax.ShapeDtypeStruct((4,), "float32")


@jax.custom_vjp
def doubled(x: jax.Array) -> jax.Array:
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, y: (2 * y,))


@pytest.mark.parametrize(
    ("fn", "runs"),
    [
        pytest.param(jax.jit(jnp.sin), [1], id="jit"),
        pytest.param(jax.checkpoint(jnp.sin), [1], id="checkpoint"),
        pytest.param(jax.nn.relu, [1], id="custom_jvp"),
        pytest.param(doubled, [1], id="custom_vjp"),
        pytest.param(lambda x: lax.scan(lambda c, _: (c + 1, None), x, length=9)[0], [9], id="scan"),
        pytest.param(lambda x: lax.switch(0, [jnp.sin, jnp.cos], x), [1, 1], id="switch"),
        pytest.param(
            lambda x: lax.while_loop(lambda x: x[0] < 3, jnp.exp, x), [None, None], id="while"
        ),
        pytest.param(lambda x: lax.reduce(x, 0.0, lambda a, b: a * b + 1, (0,)), [None], id="reduce"),
        pytest.param(lambda x: lax.mul(x, x), [], id="mul"),
    ],
)  # fmt: skip
def test_bodies(fn: Callable[..., Any], runs: list[int | None]) -> None:
    *_, eqn = jax.make_jaxpr(fn)(X).jaxpr.eqns
    found = bodies(eqn)
    assert [body.runs for body in found] == runs
    assert all(body.primitive == eqn.primitive.name for body in found)
