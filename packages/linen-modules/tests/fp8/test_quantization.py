"""Quantization inside a differentiated function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_modules.fp8 import in_q, in_qdq, out_dq, out_qdq, quantize_dequantize_update
from linen_modules.fp8.quantization import in_q_threaded, in_qdq_threaded, out_qdq_threaded

E4M3, E5M2 = jnp.float8_e4m3fn, jnp.float8_e5m2
X = jax.random.normal(jax.random.key(0), (3, 4))
SCALE, HISTORY = jnp.array([0.5]), jnp.array([2.0, 1.0])


def loss_of(function: Callable[..., Any], dtype: Any) -> Callable[..., jax.Array]:
    def loss(x: jax.Array, scale: jax.Array, history: jax.Array) -> jax.Array:
        return jnp.sum(3 * function(jnp.float32, dtype, x, scale, history))

    return loss


def test_operands_are_rounded_forwards() -> None:
    y, scale, history = quantize_dequantize_update(X, E4M3, SCALE, HISTORY, jnp.float32)
    np.testing.assert_array_equal(in_qdq(jnp.float32, E4M3, X, SCALE, HISTORY), y)
    gradients = jax.grad(loss_of(in_qdq, E4M3), argnums=(0, 1, 2))(X, SCALE, HISTORY)
    np.testing.assert_array_equal(gradients[0], jnp.full(X.shape, 3.0))
    np.testing.assert_array_equal(gradients[1], scale)
    np.testing.assert_array_equal(gradients[2], history)


def test_gradients_are_rounded_backwards() -> None:
    np.testing.assert_array_equal(out_qdq(jnp.float32, E5M2, X, SCALE, HISTORY), X)
    gradients = jax.grad(loss_of(out_qdq, E5M2), argnums=(0, 1, 2))(X, SCALE, HISTORY)
    given = jnp.full(X.shape, 3.0)
    expected = quantize_dequantize_update(given, E5M2, SCALE, HISTORY, jnp.float32)
    for found, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_quantized_operands_pass_no_gradient() -> None:
    def loss(x: jax.Array, scale: jax.Array, history: jax.Array) -> jax.Array:
        q, factor = in_q(jnp.float32, E4M3, x, scale, history)
        return jnp.sum(q.astype(jnp.float32)) + jnp.sum(factor)

    gradients = jax.grad(loss, argnums=(0, 1, 2))(X, SCALE, HISTORY)
    _, scale, history = quantize_dequantize_update(X, E4M3, SCALE, HISTORY, jnp.float32)
    np.testing.assert_array_equal(gradients[0], jnp.zeros_like(X))
    np.testing.assert_array_equal(gradients[1], scale)
    np.testing.assert_array_equal(gradients[2], history)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_products_are_scaled(dtype: Any) -> None:
    def loss(lhs_scale: jax.Array, out: jax.Array) -> jax.Array:
        return jnp.sum(out_dq(jnp.float32, lhs_scale, jnp.array([4.0]), out))

    out = X.astype(dtype)
    scaled = out_dq(jnp.float32, SCALE, jnp.array([4.0]), out)
    np.testing.assert_array_equal(scaled, 2 * out.astype(jnp.float32))
    of_scale, of_out = jax.grad(loss, argnums=(0, 1))(SCALE, out)
    np.testing.assert_array_equal(of_scale, jnp.zeros(1))
    np.testing.assert_array_equal(of_out, jnp.ones_like(out))


@pytest.mark.parametrize(
    ("function", "dtype"),
    [(in_qdq_threaded, E4M3), (out_qdq_threaded, E5M2), (in_q_threaded, E4M3)],
    ids=["in_qdq", "out_qdq", "in_q"],
)
def test_the_largest_value_of_a_chain_goes_back(function: Any, dtype: Any) -> None:
    def loss(meta: Any) -> jax.Array:
        total = jnp.zeros(())
        for factor in (1.0, 5.0, 2.0):
            y, meta = function(jnp.float32, dtype, factor * X, meta)
            leaves = jax.tree.leaves(y)
            total += factor * sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves)
        return total

    _, (largest, *others) = jax.grad(loss)((SCALE, HISTORY))
    expected = 5.0 if function is out_qdq_threaded else 5 * jnp.max(jnp.abs(X))
    np.testing.assert_allclose(largest, expected)
    assert others == [2.0]
