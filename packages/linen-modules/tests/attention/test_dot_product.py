"""Attention of queries, keys and values."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import (
    AttentionShapeError,
    DropoutKeyError,
    DropoutRateError,
    HeadCountError,
    InputRankError,
    MaskShapeError,
    OperatorError,
    WindowError,
)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


QUERY, KEY, VALUE = normal(2, 5, 4, 6), normal(2, 7, 4, 6, seed=1), normal(2, 7, 4, 3, seed=2)
BIAS = normal(4, 5, 7, seed=3)
MASK = (normal(2, 1, 5, 7, seed=4) > 0).at[..., 2].set(True)


def reference(query: Any, key: Any, bias: Any = 0.0, mask: Any = True) -> np.ndarray:
    query, key, bias = (np.asarray(array, np.float64) for array in (query, key, bias))
    logits = np.einsum("...qhd,...khd->...hqk", query, key) / np.sqrt(query.shape[-1]) + bias
    logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def averages(weights: Any, value: Any) -> np.ndarray:
    return np.einsum("...hqk,...khd->...qhd", weights, np.asarray(value, np.float64))


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": BIAS}, {"mask": MASK}, {"bias": BIAS[:1], "mask": MASK[0, 0, :1]}],
    ids=["plain", "bias", "mask", "fewer axes"],
)
def test_reference(options: dict[str, Any]) -> None:
    weights = nn.dot_product_attention_weights(QUERY, KEY, **options)
    expected = reference(QUERY, KEY, **options)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    outputs = nn.dot_product_attention(QUERY, KEY, VALUE, **options)
    np.testing.assert_allclose(outputs, averages(expected, VALUE), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"bias": BIAS, "mask": MASK}], ids=["plain", "masked"])
def test_shared_heads_equal_repeated_ones(kv_heads: int, options: dict[str, Any]) -> None:
    key, value = KEY[:, :, :kv_heads], VALUE[:, :, :kv_heads]
    repeated = [jnp.repeat(array, 4 // kv_heads, axis=2) for array in (key, value)]
    outputs = nn.dot_product_attention(QUERY, key, value, **options)
    expected = nn.dot_product_attention(QUERY, repeated[0], repeated[1], **options)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    weights = nn.dot_product_attention_weights(QUERY, key, **options)
    expected = nn.dot_product_attention_weights(QUERY, repeated[0], **options)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)


def test_shared_heads_are_not_repeated() -> None:
    jaxpr = jax.make_jaxpr(nn.dot_product_attention)(QUERY, KEY[:, :, :1], VALUE[:, :, :1])
    assert "[2,7,4,6]" not in str(jaxpr)


FLAGS = [
    ({"is_causal": True}, lambda i, j: j <= i),
    ({"local_window_size": 1}, lambda i, j: abs(i - j) <= 1),
    ({"local_window_size": (2, 0)}, lambda i, j: (j <= i) & (j >= i - 2)),
    ({"local_window_size": (1, 3), "is_causal": True}, lambda i, j: (j <= i) & (j >= i - 1)),
]


@pytest.mark.parametrize(("flags", "rule"), FLAGS, ids=[str(flags) for flags, _ in FLAGS])
@pytest.mark.parametrize("masked", [True, False])
def test_flags_equal_masks(flags: dict[str, Any], rule: Any, masked: bool) -> None:
    visible = rule(jnp.arange(5)[:, None], jnp.arange(7)[None])
    mask = MASK if masked else None
    both = nn.combine_masks(mask, jnp.broadcast_to(visible, (1, 1, 5, 7)))
    for function, arrays in (
        (nn.dot_product_attention, (QUERY, KEY, VALUE)),
        (nn.dot_product_attention_weights, (QUERY, KEY)),
    ):
        flagged = function(*arrays, mask=mask, **flags)
        np.testing.assert_array_equal(flagged, function(*arrays, mask=both))


def test_flags_need_no_mask_as_input() -> None:
    jaxpr = jax.make_jaxpr(lambda *x: nn.dot_product_attention(*x, is_causal=True))(
        QUERY, KEY, VALUE
    )
    assert not jaxpr.consts
    assert len(jaxpr.eqns) == 1


HIDDEN = MASK.at[0, :, 3].set(False)
NOTHING = jnp.where(HIDDEN, 0.0, -jnp.inf)


def test_fully_masked_rows_attend_to_all_keys() -> None:
    weights = nn.dot_product_attention_weights(QUERY, KEY, mask=HIDDEN)
    np.testing.assert_allclose(weights[0, :, 3], 1 / 7, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"mask": HIDDEN}, {"bias": NOTHING}, {"bias": NOTHING, "mask": MASK}],
    ids=["mask", "bias", "both"],
)
def test_fully_masked_rows_are_zero_on_request(options: dict[str, Any]) -> None:
    def attended(query: jax.Array, key: jax.Array, value: jax.Array, bias: Any) -> jax.Array:
        given = options | ({} if bias is None else {"bias": bias})
        return nn.dot_product_attention(query, key, value, zero_fully_masked_rows=True, **given)

    outputs = attended(QUERY, KEY, VALUE, None)
    np.testing.assert_array_equal(outputs[0, 3], jnp.zeros((4, 3)))
    others = reference(QUERY, KEY, mask=HIDDEN.at[0, :, 3].set(True))
    expected = averages(others, VALUE)
    np.testing.assert_allclose(outputs[1], expected[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[0, :3], expected[0, :3], rtol=1e-5, atol=1e-5)
    gradients = jax.grad(lambda *x: jnp.sum(jnp.sin(attended(*x))), argnums=(0, 1, 2, 3))(
        QUERY, KEY, VALUE, options.get("bias", jnp.zeros((1, 1, 1, 1)))
    )
    chex.assert_tree_all_finite(gradients)
    np.testing.assert_array_equal(gradients[0][0, 3], jnp.zeros((4, 6)))


def test_rows_outside_of_a_window_are_zero_on_request() -> None:
    options: dict[str, Any] = {"local_window_size": (0, 0), "zero_fully_masked_rows": True}
    outputs = nn.dot_product_attention(KEY, QUERY, VALUE[:, :5], **options)
    np.testing.assert_array_equal(outputs[:, 5:], jnp.zeros((2, 2, 4, 3)))
    np.testing.assert_allclose(outputs[:, :5], VALUE[:, :5], rtol=1e-6)


@pytest.mark.parametrize("broadcast", [True, False])
def test_dropout(broadcast: bool) -> None:
    options: dict[str, Any] = {"dropout_rng": jax.random.key(0), "dropout_rate": 0.25}
    options["broadcast_dropout"] = broadcast
    plain = nn.dot_product_attention_weights(QUERY, KEY)
    weights = nn.dot_product_attention_weights(QUERY, KEY, **options)
    kept = np.asarray(weights) != 0
    np.testing.assert_allclose(weights, np.where(kept, plain / 0.75, 0), rtol=1e-6)
    assert (kept == kept[:1, :1]).all() == broadcast
    outputs = nn.dot_product_attention(QUERY, KEY, VALUE, **options)
    np.testing.assert_allclose(outputs, averages(weights, VALUE), rtol=1e-5, atol=1e-5)
    again = nn.dot_product_attention_weights(QUERY, KEY, deterministic=True, **options)
    np.testing.assert_array_equal(again, plain)


@pytest.mark.parametrize(
    ("inputs", "dtype", "forced", "expected"),
    [
        ("float32", None, False, "float32"),
        ("bfloat16", None, False, "bfloat16"),
        ("float16", None, False, "float16"),
        ("int32", None, False, "float32"),
        ("float32", "bfloat16", False, "bfloat16"),
        ("bfloat16", "float32", False, "float32"),
        ("bfloat16", None, True, "float32"),
        ("float16", None, True, "float32"),
    ],
)
def test_promotion(inputs: str, dtype: str | None, forced: bool, expected: str) -> None:
    query, key, value = (array.astype(inputs) for array in (QUERY, KEY, VALUE))
    options: dict[str, Any] = {"dtype": dtype, "force_fp32_for_softmax": forced}
    assert nn.dot_product_attention(query, key, value, **options).dtype == expected
    assert nn.dot_product_attention_weights(query, key, **options).dtype == expected
    if inputs != "int32":
        outputs = nn.dot_product_attention(query, key, value, **options).astype(jnp.float32)
        np.testing.assert_allclose(outputs, averages(reference(query, key), value), atol=0.05)


def test_x64() -> None:
    with jax.enable_x64(True):
        query, key, value = (jnp.asarray(array, jnp.float64) for array in (QUERY, KEY, VALUE))
        outputs = nn.dot_product_attention(query, key, value)
        assert outputs.dtype == jnp.float64
        expected = averages(reference(QUERY, KEY), VALUE)
        np.testing.assert_allclose(outputs, expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"mask": MASK[:, 0]}, {"is_causal": True}], ids=str)
def test_vmap_equals_batch(options: dict[str, Any]) -> None:
    mask = options.get("mask")
    batched = nn.dot_product_attention(
        QUERY, KEY, VALUE, **options | ({} if mask is None else {"mask": mask[:, None]})
    )
    rest = {name: value for name, value in options.items() if name != "mask"}
    mapped = jax.vmap(lambda q, k, v, mask: nn.dot_product_attention(q, k, v, mask=mask, **rest))(
        QUERY, KEY, VALUE, mask
    )
    np.testing.assert_allclose(mapped, batched, rtol=1e-5, atol=1e-6)


def test_batch_axes() -> None:
    flat = nn.dot_product_attention(QUERY, KEY, VALUE, mask=MASK)
    split = [array.reshape(2, 1, *array.shape[1:]) for array in (QUERY, KEY, VALUE, MASK)]
    outputs = nn.dot_product_attention(*split[:3], mask=split[3])
    np.testing.assert_array_equal(outputs.reshape(flat.shape), flat)
    single = nn.dot_product_attention(QUERY[0], KEY[0], VALUE[0], mask=MASK[0])
    np.testing.assert_allclose(single, flat[0], rtol=1e-6, atol=1e-6)


class Sower(nn.Module):
    """Attends and sows the weights."""

    @nn.compact
    def __call__(self, **options: Any) -> jax.Array:
        return nn.dot_product_attention(QUERY, KEY, VALUE, module=self, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"dropout_rate": 0.5, "dropout_rng": jax.random.key(1)}, {"is_causal": True}],
    ids=["plain", "dropout", "causal"],
)
def test_sown_weights(options: dict[str, Any]) -> None:
    outputs, sown = Sower().apply({}, mutable=["intermediates"], **options)
    (weights,) = sown["intermediates"]["attention_weights"]
    expected = nn.dot_product_attention_weights(QUERY, KEY, deterministic=True, **options)
    np.testing.assert_array_equal(weights, expected)
    expected = nn.dot_product_attention(QUERY, KEY, VALUE, **options)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


def test_operators() -> None:
    def doubled(*args: Any, **kwargs: Any) -> jax.Array:
        return 2 * lax.dot_general(*args, **kwargs)

    def einsum(subscripts: str, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        seen.append(subscripts)
        return 2 * jnp.einsum(subscripts, lhs, rhs)

    seen: list[str] = []
    pair: dict[str, Any] = {"qk_attn_weights_einsum": einsum, "attn_weights_value_einsum": einsum}
    outputs = nn.dot_product_attention(QUERY, KEY, VALUE, einsum_dot_general=doubled)
    expected = averages(reference(2 * QUERY, KEY), 2 * VALUE)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    outputs = nn.dot_product_attention(QUERY, KEY, VALUE, **pair)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert seen == ["...qhd,...khd->...hqk", "...hqk,...khd->...qhd"]
    outputs = nn.dot_product_attention(QUERY, KEY[:, :, :2], VALUE[:, :, :2], **pair)
    repeated = [jnp.repeat(array[:, :, :2], 2, axis=2) for array in (KEY, VALUE)]
    expected = averages(reference(2 * QUERY, repeated[0]), 2 * repeated[1])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert seen[2:] == ["...qhgd,...khd->...hgqk", "...hgqk,...khd->...qhgd"]
    outputs, _ = Sower().apply(
        {}, einsum_dot_general=doubled, precision="highest", mutable=["intermediates"]
    )
    expected = averages(reference(2 * QUERY, KEY), 2 * VALUE)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_precision_reaches_the_products() -> None:
    jaxpr = jax.make_jaxpr(lambda *x: nn.dot_product_attention(*x, precision="highest"))(
        QUERY, KEY, VALUE
    )
    assert str(jaxpr).count("Precision.HIGHEST") + str(jaxpr).count("HIGHEST, HIGHEST") >= 2


WITH = {"dropout_rate": 0.5}
ERRORS: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "batch": (
        (QUERY, KEY[:1], VALUE[:1]),
        {},
        AttentionShapeError,
        r"dot_product_attention: found query \(2, 5, 4, 6\) and key \(1, 7, 4, 6\) and value "
        r"\(1, 7, 4, 3\); expected one batch shape, and keys and values of one length",
    ),
    "length": (
        (QUERY, KEY, VALUE[:, 1:]),
        {},
        AttentionShapeError,
        r"key \(2, 7, 4, 6\) and value \(2, 6, 4, 3\); expected one batch shape, and keys and",
    ),
    "ranks": ((QUERY, KEY[0], VALUE[0]), {}, AttentionShapeError, "expected one batch shape"),
    "depth": (
        (QUERY, KEY[..., 1:], VALUE),
        {},
        AttentionShapeError,
        "expected queries and keys of one depth, the last axis. Write nn.DenseGeneral",
    ),
    "heads": (
        (QUERY, KEY[:, :, :3], VALUE[:, :, :3]),
        {},
        HeadCountError,
        "found 4 heads of queries and 3 of keys; expected as many, or a divisor",
    ),
    "no heads": (
        (QUERY[0, 0], KEY[0, 0], VALUE[0, 0]),
        {},
        InputRankError,
        r"expected shapes \(batch..., length, heads, depth\). Write x\[..., None, :\]",
    ),
    "mask": (
        (QUERY, KEY, VALUE),
        {"mask": jnp.ones((2, 5, 7))},
        MaskShapeError,
        r"found a mask of shape \(2, 5, 7\); expected one that broadcasts to \(batch..., heads, "
        r"queries, keys\), here \(2, 4, 5, 7\). Write mask\[:, None\] if the axis of heads",
    ),
    "larger mask": (
        (QUERY[0], KEY[0], VALUE[0]),
        {"mask": jnp.ones((3, 1, 5, 7))},
        MaskShapeError,
        r"found a mask of shape \(3, 1, 5, 7\)",
    ),
    "bias": (
        (QUERY, KEY, VALUE),
        {"bias": jnp.ones((5, 6))},
        AttentionShapeError,
        r"found a bias of shape \(5, 6\); expected one that broadcasts",
    ),
    "window": (
        (QUERY, KEY, VALUE),
        {"local_window_size": (1, 2, 3)},
        WindowError,
        r"found local_window_size=\(1, 2, 3\); expected how many keys a query sees on either side",
    ),
    "negative window": (
        (QUERY, KEY, VALUE),
        {"local_window_size": -1},
        WindowError,
        "found local_window_size=-1",
    ),
    "no key": (
        (QUERY, KEY, VALUE),
        WITH,
        DropoutKeyError,
        "found dropout_rate=0.5 and no key to draw from. Write dropout_rng=self.make_rng",
    ),
    "rate": (
        (QUERY, KEY, VALUE),
        {"dropout_rate": 1.0, "dropout_rng": jax.random.key(0)},
        DropoutRateError,
        r"found dropout_rate=1.0; expected a probability in \[0, 1\)",
    ),
    "one operator": (
        (QUERY, KEY, VALUE),
        {"qk_attn_weights_einsum": jnp.einsum},
        OperatorError,
        "found one of qk_attn_weights_einsum and attn_weights_value_einsum; expected both or none",
    ),
    "operators exclude each other": (
        (QUERY, KEY, VALUE),
        {
            "qk_attn_weights_einsum": jnp.einsum,
            "attn_weights_value_einsum": jnp.einsum,
            "precision": "highest",
        },
        OperatorError,
        "found qk_attn_weights_einsum and attn_weights_value_einsum together with "
        "einsum_dot_general or precision; expected one or the other. Write functools.partial",
    ),
}


@pytest.mark.parametrize(("arrays", "options", "error", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(arrays: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        nn.dot_product_attention(*arrays, **options)


def test_errors_of_weights() -> None:
    with pytest.raises(OperatorError, match="dot_product_attention_weights: found einsum together"):
        nn.dot_product_attention_weights(
            QUERY, KEY, einsum=jnp.einsum, einsum_dot_general=lax.dot_general
        )
    with pytest.raises(MaskShapeError, match="Sower at /: found a mask"):
        Sower().apply({}, mask=jnp.ones((3, 3)))
