"""Layers of attention with several heads."""

import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_core.errors import MergeParamError
from linen_modules.errors import (
    AttentionInputError,
    AttentionShapeError,
    DropoutRateError,
    FeatureSizeError,
    HeadCountError,
    InputRankError,
    MaskShapeError,
    OperatorError,
    WindowError,
)

X = jax.random.normal(jax.random.key(0), (2, 5, 8))
CONTEXT = jax.random.normal(jax.random.key(1), (2, 7, 6))
VALUES = jax.random.normal(jax.random.key(2), (2, 7, 3))
MASK = (jax.random.normal(jax.random.key(3), (2, 1, 5, 7)) > 0).at[..., 2].set(True)


def build(num_heads: int = 2, **fields: Any) -> nn.MultiHeadAttention:
    return nn.MultiHeadAttention(num_heads, **fields)


def attend(*inputs: jax.Array, **options: Any) -> jax.Array:
    """Initialises a layer of the fields and calls it."""
    call = {"mask", "deterministic", "sow_weights", "dropout_rng", "inputs_kv", "inputs_v"}
    fields = {name: value for name, value in options.items() if name not in call}
    given = {name: value for name, value in options.items() if name in call}
    layer = build(**fields)
    rngs = {"params": jax.random.key(4), "dropout": jax.random.key(5)}
    return layer.init_with_output(rngs, *inputs, **given)[0]


def reference(params: Any, q: Any, k: Any, v: Any, mask: Any = True) -> np.ndarray:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    query, key, value = (
        np.einsum("...lf,fhd->...lhd", np.asarray(x, np.float64), params[name]["kernel"])
        + params[name].get("bias", 0.0)
        for name, x in (("query", q), ("key", k), ("value", v))
    )
    groups = query.shape[-2] // key.shape[-2]
    key, value = (np.repeat(array, groups, axis=-2) for array in (key, value))
    logits = np.einsum("...qhd,...khd->...hqk", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(np.where(mask, logits, -np.inf))
    weights = weights / weights.sum(-1, keepdims=True)
    heads = np.einsum("...hqk,...khd->...qhd", weights, value)
    out = np.einsum("...lhd,hdf->...lf", heads, params["out"]["kernel"])
    return out + params["out"].get("bias", 0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_heads": 4, "num_kv_heads": 2},
        {"qkv_features": 12, "out_features": 3, "num_kv_heads": 1},
        {"use_bias": False},
        {"bias_init": nn.initializers.normal(), "kernel_init": nn.initializers.orthogonal()},
    ],
    ids=str,
)
@pytest.mark.parametrize("cross", [True, False])
def test_reference(fields: dict[str, Any], cross: bool) -> None:
    layer = build(**fields)
    inputs = (X, CONTEXT, VALUES) if cross else (X,)
    mask = MASK if cross else jnp.tril(jnp.ones((1, 1, 5, 5), bool))
    outputs, variables = layer.init_with_output(jax.random.key(1), *inputs, mask=mask)
    q, k, v = (X, CONTEXT, VALUES) if cross else (X, X, X)
    expected = reference(variables["params"], q, k, v, np.asarray(mask))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_variables() -> None:
    layer = nn.MultiHeadAttention(
        4, qkv_features=16, out_features=5, num_kv_heads=2, normalize_qk=True
    )
    variables = layer.init(jax.random.key(0), X, CONTEXT)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "query": {"kernel": (8, 4, 4), "bias": (4, 4)},
            "key": {"kernel": (6, 2, 4), "bias": (2, 4)},
            "value": {"kernel": (6, 2, 4), "bias": (2, 4)},
            "query_ln": {"scale": (4,)},
            "key_ln": {"scale": (4,)},
            "out": {"kernel": (4, 4, 5), "bias": (5,)},
        }
    }


def test_initializers_of_the_output() -> None:
    ones = nn.initializers.ones
    layer = nn.MultiHeadAttention(2, out_kernel_init=ones, out_bias_init=ones)
    params = layer.init(jax.random.key(0), X)["params"]
    chex.assert_trees_all_equal(params["out"], jax.tree.map(jnp.ones_like, params["out"]))
    assert not params["query"]["bias"].any()


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ({"is_causal": True}, lambda i, j: j <= i),
        ({"local_window_size": 1}, lambda i, j: abs(i - j) <= 1),
        ({"local_window_size": [2, 0]}, lambda i, j: (j <= i) & (j >= i - 2)),
    ],
    ids=["causal", "window", "sides"],
)
def test_flags_equal_masks(flags: dict[str, Any], rule: Any) -> None:
    mask = jnp.asarray(rule(jnp.arange(5)[:, None], jnp.arange(5)[None]))[None, None]
    np.testing.assert_array_equal(attend(X, **flags), attend(X, mask=mask))


def test_rotary_embeddings() -> None:
    layer = nn.MultiHeadAttention(2, rotary_fn=nn.rotary_embedding, attention_fn=lambda q, k, v: q)
    rotated, variables = layer.init_with_output(jax.random.key(0), X)
    params = variables["params"]
    query = jnp.einsum("blf,fhd->blhd", X, params["query"]["kernel"])
    query = nn.rotary_embedding(query, jnp.arange(5))
    expected = jnp.einsum("blhd,hdf->blf", query, params["out"]["kernel"])
    np.testing.assert_allclose(rotated, expected, rtol=1e-4, atol=1e-5)
    permuted = attend(X[:, ::-1], rotary_fn=nn.rotary_embedding)
    assert not np.allclose(permuted[:, ::-1], attend(X, rotary_fn=nn.rotary_embedding), atol=1e-3)
    np.testing.assert_allclose(attend(X[:, ::-1])[:, ::-1], attend(X), rtol=1e-4, atol=1e-5)


def test_fully_masked_rows_on_request() -> None:
    mask = MASK.at[:, :, 3].set(False)
    outputs = attend(X, CONTEXT, mask=mask, zero_fully_masked_rows=True, use_bias=False)
    np.testing.assert_array_equal(outputs[:, 3], jnp.zeros((2, 8)))
    others = attend(X, CONTEXT, mask=mask, use_bias=False)
    np.testing.assert_array_equal(outputs[:, :3], others[:, :3])
    assert others[:, 3].any()


def test_dropout() -> None:
    assert nn.MultiHeadAttention(2).init(jax.random.key(0), X)  # no rate, so nothing to say
    kept = attend(X, dropout_rate=0.5, deterministic=True)
    np.testing.assert_array_equal(kept, attend(X))
    dropped = attend(X, dropout_rate=0.5, deterministic=False)
    assert not np.allclose(dropped, kept)
    layer = nn.MultiHeadAttention(2, dropout_rate=0.5)
    params = layer.init(jax.random.key(0), X, deterministic=True)
    by_key = [
        layer.apply(params, X, deterministic=False, dropout_rng=jax.random.key(seed))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(by_key[0], by_key[1])
    assert not np.allclose(by_key[0], by_key[2])


def test_sown_weights() -> None:
    layer = nn.MultiHeadAttention(2, dropout_rate=0.5, num_kv_heads=1)
    variables = layer.init(jax.random.key(0), X, deterministic=True)
    rngs = {"dropout": jax.random.key(1)}
    options: dict[str, Any] = {"deterministic": False, "sow_weights": True, "rngs": rngs}
    outputs, sown = layer.apply(variables, X, mutable=["intermediates"], **options)
    (weights,) = sown["intermediates"]["attention_weights"]
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    expected = layer.apply(variables, X, deterministic=False, rngs=rngs)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def doubled(*args: Any, **kwargs: Any) -> jax.Array:
    return 2 * lax.dot_general(*args, **kwargs)


class Scaled(nn.Module):
    """An einsum with a parameter."""

    @nn.compact
    def __call__(self, *args: Any) -> jax.Array:
        return self.param("scale", nn.initializers.constant(2.0), ()) * jnp.einsum(*args)


def test_operators() -> None:
    plain = attend(X)
    for fields in ({"out_dot_general": doubled}, {"out_dot_general_cls": lambda: doubled}):
        np.testing.assert_allclose(attend(X, **fields), 2 * plain, rtol=1e-5, atol=1e-6)
    uniform = {"attention_fn": lambda q, k, v: q + k + v}
    for fields in ({"qkv_dot_general": doubled}, {"qkv_dot_general_cls": lambda: doubled}):
        found, expected = attend(X, **uniform, **fields), 2 * attend(X, **uniform)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    layer = nn.MultiHeadAttention(
        2, qk_attn_weights_einsum_cls=lambda: jnp.einsum, attn_weights_value_einsum_cls=Scaled
    )
    outputs, variables = layer.init_with_output(jax.random.key(4), X)
    assert variables["params"]["Scaled_0"]["scale"] == 2.0
    rngs = {"params": jax.random.key(4)}
    expected = nn.MultiHeadAttention(2).init_with_output(rngs, X)[0]
    np.testing.assert_allclose(outputs, 2 * expected, rtol=1e-5, atol=1e-6)


def test_self_attention() -> None:
    layer = nn.SelfAttention(2, dropout_rate=0.1)
    mask = nn.make_causal_mask(X[..., 0])
    outputs, variables = layer.init_with_output(jax.random.key(0), X, mask, True)
    same = nn.MultiHeadAttention(2, is_causal=True).apply(variables, X)
    np.testing.assert_array_equal(outputs, same)
    key = jax.random.key(1)
    _, sown = layer.apply(variables, X, mask, False, key, True, mutable=["intermediates"])
    assert sown["intermediates"]["attention_weights"][0].shape == (2, 2, 5, 5)


def test_old_name_of_the_inputs() -> None:
    with pytest.warns(DeprecationWarning, match="at /: inputs_kv is an old name. Write inputs_k"):
        outputs = attend(X, inputs_kv=CONTEXT)
    np.testing.assert_array_equal(outputs, attend(X, CONTEXT))


@pytest.mark.parametrize(
    ("inputs", "stored", "dtype", "expected"),
    [
        ("float32", "float32", None, "float32"),
        ("bfloat16", "float32", None, "float32"),
        ("bfloat16", "bfloat16", None, "bfloat16"),
        ("float16", "float16", None, "float16"),
        ("float32", "float32", "bfloat16", "bfloat16"),
        ("int32", "float32", None, "float32"),
    ],
)
def test_promotion(inputs: str, stored: str, dtype: str | None, expected: str) -> None:
    layer = nn.MultiHeadAttention(2, dtype=dtype, param_dtype=stored, normalize_qk=True)
    outputs, variables = layer.init_with_output(jax.random.key(0), X.astype(inputs))
    assert outputs.dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(stored)}


def test_x64() -> None:
    with jax.enable_x64(True):
        layer = nn.MultiHeadAttention(2, rotary_fn=nn.rotary_embedding, num_kv_heads=1)
        outputs, _ = layer.init_with_output(jax.random.key(0), jnp.asarray(X, jnp.float64))
        assert outputs.dtype == jnp.float64


def test_gradients_of_a_fully_featured_layer() -> None:
    layer = nn.MultiHeadAttention(
        4,
        num_kv_heads=2,
        rotary_fn=nn.rotary_embedding,
        normalize_qk=True,
        is_causal=True,
        zero_fully_masked_rows=True,
    )
    mask = jnp.ones((2, 1, 5, 5)).at[:, :, :, 0].set(0)  # nothing is left for the first query
    variables = layer.init(jax.random.key(0), X)

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(layer.apply(variables, x, mask=mask) ** 2)

    chex.assert_tree_all_finite(jax.grad(loss, argnums=(0, 1))(variables, X))


def test_pickle() -> None:
    layer = nn.MultiHeadAttention(4, rotary_fn=nn.rotary_embedding, num_kv_heads=2)
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert hash(layer) == hash(layer.clone())


class Model(nn.Module):
    """A layer that is not at the root."""

    @nn.compact
    def __call__(self, *inputs: Any, **options: Any) -> jax.Array:
        fields = options.pop("fields", {})
        return build(**fields, name="attention")(*inputs, **options)


AT = "MultiHeadAttention at /attention: "
ERRORS: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "heads": (
        (X,),
        {"fields": {"num_heads": 3}},
        FeatureSizeError,
        "found num_heads=3 and 8 features of queries, keys and values; expected a divisor of the "
        "features. Write qkv_features=9, or a number of heads that divides 8.",
    ),
    "shared heads": (
        (X,),
        {"fields": {"num_heads": 4, "num_kv_heads": 3}},
        HeadCountError,
        "found num_kv_heads=3 and num_heads=4; expected a divisor, each head of the keys serving a "
        "group of queries. Write num_kv_heads=1 for keys that all heads share.",
    ),
    "odd depth": (
        (X[..., :6],),
        {"fields": {"rotary_fn": nn.rotary_embedding}},
        FeatureSizeError,
        "found heads with 3 features; expected an even number, of which pairs are rotated.",
    ),
    "batches": ((X, CONTEXT[:1]), {}, AttentionShapeError, r"found query \(2, 5, 2, 4\) and key"),
    "lengths": (
        (X, CONTEXT, VALUES[:, 1:]),
        {},
        AttentionShapeError,
        r"key \(2, 7, 2, 4\) and value \(2, 6, 2, 4\); expected one batch shape, and keys and",
    ),
    "mask": (
        (X, CONTEXT),
        {"mask": jnp.ones((3, 5, 7))},
        MaskShapeError,
        r"found a mask of shape \(3, 5, 7\); expected one that broadcasts to \(batch..., heads, "
        r"queries, keys\), here \(2, 2, 5, 7\). Write mask\[:, None\] if the axis of heads",
    ),
    "no length": (
        (X[0, 0],),
        {},
        InputRankError,
        r"found inputs_q of shape \(8,\); expected \(batch..., length, features\). Write inputs",
    ),
    "values without keys": (
        (X,),
        {"inputs_v": X},
        AttentionInputError,
        "found inputs_v without inputs_k; expected keys for these values. Write inputs_k=..., or "
        "mask=... if the array is a mask.",
    ),
    "two names": (
        (X, X),
        {"inputs_kv": X},
        AttentionInputError,
        "found inputs_kv together with inputs_k or inputs_v; expected one or the other. Write",
    ),
    "window": (
        (X,),
        {"fields": {"local_window_size": -2}},
        WindowError,
        "found local_window_size=-2; expected how many keys a query sees on either side",
    ),
}


@pytest.mark.parametrize(("inputs", "options", "error", "text"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(inputs: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"{AT}.*{text}"):
        Model().init(jax.random.key(0), *inputs, **options)


@pytest.mark.parametrize(
    ("field", "argument"), [({}, {}), ({"deterministic": True},) * 2], ids=["missing", "twice"]
)
def test_deterministic(field: dict[str, Any], argument: dict[str, Any]) -> None:
    with pytest.raises(MergeParamError, match="deterministic"):
        Model().init(jax.random.key(0), X, fields={"dropout_rate": 0.5} | field, **argument)


def test_errors_of_the_function() -> None:
    fields: dict[str, Any] = {"dropout_rate": 1.5, "deterministic": False}
    with pytest.raises(DropoutRateError, match=r"found dropout_rate=1\.5"):
        Model().init(jax.random.key(0), X, fields=fields)
    fields = {"qk_attn_weights_einsum_cls": lambda: jnp.einsum}
    with pytest.raises(OperatorError, match="expected both or none"):
        Model().init(jax.random.key(0), X, fields=fields)
