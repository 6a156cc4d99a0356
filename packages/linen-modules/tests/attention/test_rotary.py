"""Rotary embeddings."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AttentionShapeError, FeatureSizeError, InputRankError

X = jax.random.normal(jax.random.key(0), (2, 5, 3, 8))


def reference(x: Any, positions: Any, base: float, interleaved: bool) -> np.ndarray:
    """Rotates each pair of features as a complex number."""
    x, (*_, depth) = np.asarray(x, np.float64), x.shape
    pairs = (x[..., ::2], x[..., 1::2]) if interleaved else np.split(x, 2, -1)
    rates = base ** (-np.arange(depth // 2) / (depth // 2))
    angles = np.asarray(positions)[..., None, None] * rates
    rotated = (pairs[0] + 1j * pairs[1]) * np.exp(1j * angles)
    if interleaved:
        return np.stack([rotated.real, rotated.imag], -1).reshape(x.shape)
    return np.concatenate([rotated.real, rotated.imag], -1)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("base", [10_000.0, 100.0])
@pytest.mark.parametrize(
    "positions",
    [np.arange(5), np.arange(5) + 7, np.array([[0, 1, 0, 1, 2], [3, 4, 5, 0, 1]])],
    ids=["from the first", "later", "of each example"],
)
def test_reference(positions: np.ndarray, base: float, interleaved: bool) -> None:
    rotated = nn.rotary_embedding(X, positions, base=base, interleaved=interleaved)
    expected = reference(X, positions, base, interleaved)
    np.testing.assert_allclose(rotated, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("interleaved", [True, False])
def test_products_depend_on_distance_only(interleaved: bool) -> None:
    def products(first: int) -> jax.Array:
        q, k = (
            nn.rotary_embedding(x, jnp.arange(5) + first, interleaved=interleaved)
            for x in (X, X[::-1])
        )
        return jnp.einsum("bqhd,bkhd->bhqk", q, k)

    np.testing.assert_allclose(products(0), products(11), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_half_precision_keeps_far_positions_apart(dtype: Any) -> None:
    positions = jnp.arange(5) + 1_000_000
    rotated = nn.rotary_embedding(X.astype(dtype), positions)
    assert rotated.dtype == dtype
    expected = reference(X.astype(dtype), positions, 10_000.0, False)
    tolerance = 0.1 if dtype == jnp.float32 else 0.15
    np.testing.assert_allclose(rotated.astype(jnp.float32), expected, atol=tolerance)


def test_x64() -> None:
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64)
        rotated = nn.rotary_embedding(x, jnp.arange(5))
        assert rotated.dtype == jnp.float64
        expected = reference(X, np.arange(5), 10_000.0, False)
        np.testing.assert_allclose(rotated, expected, rtol=1e-12, atol=1e-12)


def test_gradients_and_vmap() -> None:
    def rotated(x: jax.Array) -> jax.Array:
        return nn.rotary_embedding(x, jnp.arange(5))

    chex.assert_tree_all_finite(jax.grad(lambda x: jnp.sum(rotated(x) ** 2))(X))
    np.testing.assert_allclose(jax.vmap(rotated)(X), rotated(X), rtol=1e-6, atol=1e-6)


def test_traced_base() -> None:
    rotated = jax.jit(lambda base: nn.rotary_embedding(X, jnp.arange(5), base=base))(100.0)
    expected = nn.rotary_embedding(X, jnp.arange(5), base=100.0)
    np.testing.assert_allclose(rotated, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "positions", "error", "text"),
    [
        (
            (5, 3, 7),
            (5,),
            FeatureSizeError,
            "rotary_embedding: found heads with 7 features; expected an even number, of which "
            "pairs are rotated. Write a number of heads, or features, that makes it 8.",
        ),
        (
            (5, 8),
            (5,),
            InputRankError,
            r"found x of shape \(5, 8\); expected \(batch..., length, heads, depth\). Write",
        ),
        (
            (2, 5, 3, 8),
            (3,),
            AttentionShapeError,
            r"found positions of shape \(3,\) for x of shape \(2, 5, 3, 8\); expected \(5,\) or "
            r"\(2, 5\). Write jnp.arange\(5\).",
        ),
    ],
    ids=["odd depth", "no heads", "positions"],
)
def test_bad_shapes(
    shape: tuple[int, ...], positions: tuple[int, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        nn.rotary_embedding(jnp.ones(shape), jnp.ones(positions))
