"""Attention over any axes, as a function of a scope."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_modules as nn
from linen_core import apply, init
from linen_modules.errors import (
    AttentionInputError,
    AxisError,
    FeatureSizeError,
    UnsupportedFieldError,
)
from linen_modules.functional import dot_product_attention, multi_head_dot_product_attention

KEYS = jax.random.split(jax.random.key(0), 3)
HEADS = [jax.random.normal(key, (2, 3, 5, 2, 4)) for key in KEYS]
GRID = jax.random.normal(jax.random.key(1), (2, 3, 5, 8))
KEY = jax.random.key(2)


def attend(*args: Any, rngs: Any = None, **options: Any) -> jax.Array:
    given: dict[str, Any] = {"deterministic": True, **options}

    def model(scope: Any) -> Any:
        return dot_product_attention(scope, *args, **given)

    return apply(model)({}, rngs=rngs)


def heads(x: jax.Array, kv: Any = None, **options: Any) -> jax.Array:
    given: dict[str, Any] = {"deterministic": True, **options}

    def model(scope: Any) -> Any:
        return multi_head_dot_product_attention(scope, x, kv, num_heads=2, **given)

    return init(model)(KEY)[0]


@pytest.mark.parametrize("axis", [1, 2, (1,), (2,), (1, 2), (2, 1), None], ids=str)
def test_axes(axis: Any) -> None:
    axes = (1, 2) if axis is None else (axis,) if isinstance(axis, int) else tuple(sorted(axis))
    query, key, value = HEADS
    if axes == (1, 2):
        flat = [array.reshape(2, 15, 2, 4) for array in HEADS]
        expected = nn.dot_product_attention(flat[0], flat[1], flat[2], deterministic=True).reshape(
            query.shape
        )
    else:
        moved = [jnp.moveaxis(array, axes, (2,)) for array in HEADS]
        expected = jnp.moveaxis(
            nn.dot_product_attention(moved[0], moved[1], moved[2], deterministic=True), (2,), axes
        )
    chex.assert_trees_all_close(attend(query, key, value, axis=axis), expected, rtol=1e-5)


def test_keys_of_another_number() -> None:
    query, key, value = HEADS
    y = attend(query, key[:, :2], value[:, :2], axis=(1,))
    chex.assert_shape(y, query.shape)
    expected = attend(query, key[:, :2, :1], value[:, :2, :1], axis=(1, 2))
    chex.assert_shape(expected, query.shape)


@pytest.mark.parametrize("shape", [(2, 2, 3, 5, 3, 5), (2, 1, 1, 1, 3, 5)], ids=str)
def test_biases(shape: tuple[int, ...]) -> None:
    bias = jax.random.normal(KEY, shape)
    flat = [array.reshape(2, 15, 2, 4) for array in HEADS]
    whole = jnp.broadcast_to(bias, (*shape[:2], 3, 5, 3, 5)).reshape(*shape[:2], 15, 15)
    expected = nn.dot_product_attention(flat[0], flat[1], flat[2], bias=whole, deterministic=True)
    y = attend(*HEADS, bias=bias)
    chex.assert_trees_all_close(y, expected.reshape(y.shape), rtol=1e-5)


def test_dropout() -> None:
    options: dict[str, Any] = {"dropout_rate": 0.5, "deterministic": False}
    y = attend(*HEADS, **options, rngs={"dropout": KEY})
    drawn = apply(lambda scope: scope.make_rng("dropout"))({}, rngs={"dropout": KEY})
    chex.assert_trees_all_equal(y, attend(*HEADS, **options, dropout_rng=drawn))
    assert not jnp.allclose(y, attend(*HEADS))


def test_what_queries_see() -> None:
    is_first = jnp.zeros((2, 3, 5, 1), bool).at[:, :, :2].set(True)
    masked = heads(GRID, padding_mask=is_first)
    chex.assert_trees_all_close(masked[:, :, :2], heads(GRID[:, :, :2]), rtol=1e-5, atol=1e-6)
    segments = jnp.where(is_first, 0, 1)
    segmented = heads(GRID, segmentation=segments)
    chex.assert_trees_all_close(segmented[:, :, :2], masked[:, :, :2], rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(segmented[:, :, 2:], heads(GRID[:, :, 2:]), rtol=1e-5, atol=1e-6)


def test_masks_of_keys() -> None:
    everything = jnp.ones((2, 3, 5, 1))
    is_first = everything.at[:, :, 2:].set(0)
    y = heads(GRID, padding_mask=everything, key_padding_mask=is_first)
    chex.assert_trees_all_close(y, heads(GRID, GRID[:, :, :2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [(1,), (2,)])
def test_masks_along_an_axis(axis: tuple[int]) -> None:
    mask = jax.random.bernoulli(KEY, 0.5, (2, 3, 5, 1)).at[:, 0, 0].set(True)
    y = heads(GRID, attention_axis=axis, causal_mask=True, padding_mask=mask)
    chex.assert_tree_all_finite(y)
    row = heads(GRID, attention_axis=axis, causal_mask=True)
    # The first position along the axis sees itself alone, if it sees anything.
    first = (slice(None), 0) if axis == (1,) else (slice(None), slice(None), 0)
    seen = mask[first]
    chex.assert_trees_all_close(y[first] * seen, row[first] * seen, rtol=1e-5, atol=1e-6)


def test_a_query_that_sees_nothing_attends_to_all_alike() -> None:
    nothing = jnp.zeros((2, 3, 5, 1))
    y = heads(GRID, padding_mask=nothing)
    chex.assert_trees_all_close(y, jnp.broadcast_to(y[:, :1, :1], y.shape), rtol=1e-5, atol=1e-6)


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "an axis of heads": (
        lambda: attend(*HEADS, axis=(3,)),
        AxisError,
        r"dot_product_attention: found axis=\(3,\) for an array of shape \(2, 3, 5, 2, 4\); "
        "expected axes from 1 to 2, each once. Write axis=None for all of them.",
    ),
    "an axis twice": (lambda: attend(*HEADS, axis=(1, 1)), AxisError, "each once"),
    "no axis": (lambda: attend(*HEADS, axis=()), AxisError, "each once"),
    "an axis of features": (
        lambda: heads(GRID, attention_axis=(0,)),
        AxisError,
        r"multi_head_dot_product_attention: found axis=\(0,\)",
    ),
    "features": (
        lambda: heads(GRID[..., :7]),
        FeatureSizeError,
        "found num_heads=2 and 7 features of queries, keys and values; expected a divisor of the "
        "features. Write qkv_features=8.",
    ),
    "a cache": (
        lambda: heads(GRID, cache=True),
        UnsupportedFieldError,
        r"found cache=True; expected False. Write MultiHeadDotProductAttention\(num_heads, "
        r"decode=True\), which keeps a cache.",
    ),
    "a mask of keys alone": (
        lambda: heads(GRID, key_padding_mask=jnp.ones((2, 3, 5, 1))),
        AttentionInputError,
        r"found key_padding_mask without padding_mask; expected both. Write "
        r"padding_mask=jnp.ones\(...\) for queries that may attend to any key.",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), ERRORS.values(), ids=list(ERRORS))
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
