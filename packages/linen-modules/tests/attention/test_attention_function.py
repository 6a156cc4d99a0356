"""Attention functions that replace the default one."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AttentionFunctionError

X = jax.random.normal(jax.random.key(0), (2, 5, 8))
MASK = jnp.tril(jnp.ones((1, 1, 5, 5)))


def attend(function: Any, **options: Any) -> jax.Array:
    fields = options.pop("fields", {})
    layer = nn.MultiHeadAttention(2, attention_fn=function, **fields)
    return layer.init_with_output(jax.random.key(1), X, **options)[0]


def minimal(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return v


def masked(query: jax.Array, key: jax.Array, value: jax.Array, mask: Any = None) -> jax.Array:
    return nn.dot_product_attention(query, key, value, mask=mask)


def test_arguments_that_are_missing_are_left_out() -> None:
    dropout = {"fields": {"dropout_rate": 0.5}, "deterministic": True}
    np.testing.assert_array_equal(attend(minimal), attend(minimal, **dropout))
    np.testing.assert_array_equal(attend(minimal), attend(minimal, mask=MASK))
    expected = attend(nn.dot_product_attention, mask=MASK)
    np.testing.assert_array_equal(attend(masked, mask=MASK), expected)


def test_everything_is_passed_where_it_is_taken() -> None:
    def function(query: jax.Array, key: jax.Array, value: jax.Array, **rest: Any) -> jax.Array:
        seen.append(rest)
        return nn.dot_product_attention(query, key, value, **rest)

    seen: list[dict[str, Any]] = []
    expected = attend(nn.dot_product_attention, mask=MASK)
    np.testing.assert_array_equal(attend(function, mask=MASK), expected)
    assert set(seen[-1]) == {
        "mask",
        "dropout_rng",
        "dropout_rate",
        "broadcast_dropout",
        "deterministic",
        "dtype",
        "precision",
        "force_fp32_for_softmax",
        "qk_attn_weights_einsum",
        "attn_weights_value_einsum",
    }


def test_what_is_bound_beyond_the_fields_stays() -> None:
    function = functools.partial(nn.dot_product_attention, is_causal=True)
    expected = attend(nn.dot_product_attention, mask=MASK)
    np.testing.assert_array_equal(attend(function), expected)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sow_weights": True}, "module"),
        ({"fields": {"is_causal": True}}, "is_causal"),
        ({"fields": {"local_window_size": 2}}, "local_window_size"),
        ({"fields": {"zero_fully_masked_rows": True}}, "zero_fully_masked_rows"),
        ({"fields": {"implementation": "xla"}}, "implementation"),
    ],
)
def test_arguments_that_must_not_be_ignored(options: dict[str, Any], name: str) -> None:
    with pytest.raises(
        AttentionFunctionError,
        match=f"MultiHeadAttention at /: found {name}.* and an attention_fn with the parameters "
        rf"\(q, k, v\); expected one that takes it. Write a parameter {name} into the function, or "
        "attention_fn=nn.dot_product_attention.",
    ):
        attend(minimal, **options)
