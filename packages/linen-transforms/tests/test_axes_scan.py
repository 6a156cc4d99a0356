"""`axes_scan`: the public form of the loop."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

import linen_core
from linen_transforms import axes_scan


def test_broadcast_is_that_of_linen_core() -> None:
    assert axes_scan.broadcast is linen_core.broadcast


def test_trees_of_axes_and_gradients() -> None:
    def body(scale: Any, carry: Any, xs: Any, y: Any) -> Any:
        carry = carry + scale * xs["a"] * xs["b"]
        return (), carry, {"c": carry, "d": y}

    axes = ({"a": 1, "b": axes_scan.broadcast}, 0)
    run = axes_scan.scan(body, axes, {"c": 1, "d": 0}, _split_transpose=True)
    args = ({"a": jnp.ones((3, 4)), "b": jnp.arange(3.0)}, jnp.arange(4))
    _, carry, ys = run(2.0, jnp.zeros(3), *args)
    chex.assert_trees_all_equal(carry, 8 * jnp.arange(3.0))
    chex.assert_shape(ys["c"], (3, 4))
    chex.assert_trees_all_equal(ys["d"], jnp.arange(4))
    gradient = jax.grad(lambda scale: run(scale, jnp.zeros(3), *args)[1].sum())(2.0)
    assert gradient == 12
