"""The cache of decoding."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.attention.cache import update_cache
from linen_modules.errors import CacheOverflowError, CacheShapeError, MaskShapeError

LENGTH = 6
X = jax.random.normal(jax.random.key(0), (2, LENGTH, 8))


def decoder(**fields: Any) -> tuple[nn.MultiHeadAttention, Any, Any]:
    """Returns a layer that decodes, its parameters and its empty cache."""
    layer = nn.MultiHeadAttention(**{"num_heads": 4, "decode": True} | fields)
    variables = layer.init(jax.random.key(1), X)
    return layer, variables["params"], variables["cache"]


def decode(
    layer: Any, params: Any, cache: Any, chunks: list[int], mask: Any = None, inputs: Any = X
) -> Any:
    """Returns the outputs for some chunks of inputs, and the cache after them."""
    outputs, first = [], 0
    for tokens in chunks:
        chunk = inputs[:, first : first + tokens]
        y, updates = layer.apply(
            {"params": params, "cache": cache}, chunk, mask=mask, mutable=["cache"]
        )
        cache, first = updates["cache"], first + tokens
        outputs.append(y)
    return jnp.concatenate(outputs, 1), cache


FIELDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "window": {"local_window_size": (2, 0)},
    "rotary, normalised, shared heads": {
        "num_kv_heads": 2,
        "rotary_fn": nn.rotary_embedding,
        "normalize_qk": True,
    },
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
@pytest.mark.parametrize(
    "chunks", [[1] * LENGTH, [LENGTH], [3, 1, 2]], ids=lambda chunks: "-".join(map(str, chunks))
)
def test_decoding_equals_causal_attention(fields: dict[str, Any], chunks: list[int]) -> None:
    layer, params, cache = decoder(**fields)
    outputs, cache = decode(layer, params, cache, chunks)
    expected = layer.clone(decode=False, is_causal=True).apply({"params": params}, X)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert cache["cache_index"] == LENGTH


def test_variables_of_the_cache() -> None:
    _, _, cache = decoder(num_kv_heads=2, dtype=jnp.bfloat16)
    assert jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), cache) == {
        "cached_key": ((2, LENGTH, 2, 2), "bfloat16"),
        "cached_value": ((2, LENGTH, 2, 2), "bfloat16"),
        "cache_index": ((), "int32"),
    }
    chex.assert_trees_all_equal(cache, jax.tree.map(jnp.zeros_like, cache))


def test_cache_keeps_its_dtype() -> None:
    layer, params, cache = decoder()
    cache = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.ndim else leaf, cache)
    outputs, cache = decode(layer, params, cache, [LENGTH])
    assert cache["cached_key"].dtype == jnp.bfloat16
    assert outputs.dtype == jnp.float32


def test_mask_is_joined_with_what_is_there() -> None:
    layer, params, cache = decoder()
    mask = jnp.ones((2, 1, 1, LENGTH)).at[0, ..., 0].set(0)
    outputs, _ = decode(layer, params, cache, [2, 1, 3], mask)
    plain = layer.clone(decode=False, is_causal=True)
    expected = plain.apply({"params": params}, X, mask=mask)
    np.testing.assert_allclose(outputs[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)


def test_compiled_loop() -> None:
    layer, params, cache = decoder(rotary_fn=nn.rotary_embedding)

    def step(cache: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        y, cache = layer.apply({"params": params, "cache": cache}, x[:, None], mutable=["cache"])
        return cache["cache"], y[:, 0]

    _, outputs = jax.lax.scan(step, cache, jnp.moveaxis(X, 1, 0))
    expected = layer.clone(decode=False, is_causal=True).apply({"params": params}, X)
    np.testing.assert_allclose(jnp.moveaxis(outputs, 0, 1), expected, rtol=1e-4, atol=1e-5)


def test_mapped_batch() -> None:
    layer, params, cache = decoder()
    outputs, _ = decode(layer, params, cache, [2])
    single = jax.tree.map(lambda leaf: leaf[0] if leaf.ndim else leaf, cache)
    mapped = jax.vmap(
        lambda x: layer.apply({"params": params, "cache": single}, x, mutable=["cache"])[0]
    )(X[:, :2])
    np.testing.assert_allclose(mapped, outputs, rtol=1e-5, atol=1e-6)


def test_beyond_the_end_where_nothing_can_be_raised() -> None:
    key = jnp.arange(4.0).reshape(4, 1, 1)
    new = jnp.full((2, 1, 1), 9.0)
    keys, _, index, mask = jax.jit(update_cache)(key, key, jnp.array(3), new, new, None)
    assert keys.ravel().tolist() == [0.0, 1.0, 9.0, 9.0]
    assert index == 5
    assert mask.shape == (1, 2, 4)


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (
            [4, 3],
            "MultiHeadAttention at /: found 3 tokens for a cache of 6 with 4 tokens so far; "
            r"expected at most 2. Write model.init\(key, inputs of the whole length to decode\)",
        ),
        ([1] * 7, "found 1 tokens for a cache of 6 with 6 tokens so far; expected at most 0"),
    ],
    ids=["chunk", "one"],
)
def test_overflow(chunks: list[int], text: str) -> None:
    layer, params, cache = decoder()
    inputs = jnp.ones((2, sum(chunks), 8))
    with pytest.raises(CacheOverflowError, match=text):
        decode(layer, params, cache, chunks, inputs=inputs)


def test_overflow_that_is_known_without_the_index() -> None:
    layer, params, cache = decoder()
    apply = jax.jit(lambda v, x: layer.apply(v, x, mutable="cache"))
    with pytest.raises(
        CacheOverflowError, match="found 7 tokens for a cache of 6 with an unknown number of tokens"
    ):
        apply({"params": params, "cache": cache}, jnp.ones((2, 7, 8)))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            (X[:1],),
            r"found queries, keys and values of shapes \(1, 6, 4, 2\), \(1, 6, 4, 2\) and "
            r"\(1, 6, 4, 2\), and a cache of shape \(2, 6, 4, 2\); expected the batch, heads and "
            "depth of the cache and as many queries as keys. Write model.init",
        ),
        ((X[:, :2], X[:, :3]), r"shapes \(2, 2, 4, 2\), \(2, 3, 4, 2\) and \(2, 3, 4, 2\), and a"),
        ((X[0],), r"shapes \(6, 4, 2\)"),
    ],
    ids=["batch", "lengths", "no batch"],
)
def test_tokens_that_do_not_fit(inputs: Any, text: str) -> None:
    layer, params, cache = decoder()
    with pytest.raises(CacheShapeError, match=f"MultiHeadAttention at /: {text}|{text}"):
        layer.apply({"params": params, "cache": cache}, *inputs, mutable="cache")


def test_mask_that_does_not_fit() -> None:
    layer, params, cache = decoder()
    with pytest.raises(
        MaskShapeError,
        match=r"MultiHeadAttention at /: found a mask of shape \(2, 1, 1, 2\); expected one that "
        r"broadcasts to \(batch..., heads, queries, keys\), here \(2, 4, 2, 6\)",
    ):
        decode(layer, params, cache, [2], jnp.ones((2, 1, 1, 2)))
