"""Attention against PyTorch, with its weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

import linen_modules as nn

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


QUERY, KEY, VALUE = normal(2, 5, 4, 8), normal(2, 7, 4, 8, seed=1), normal(2, 7, 4, 8, seed=2)
MASK = np.random.default_rng(3).random((2, 1, 5, 7)) < 0.6
MASK[..., 1] = True
BIAS = normal(2, 4, 5, 7, seed=4)


def heads_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -2, 1).copy()).requires_grad_()


def heads_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -2)


# our arguments, those of PyTorch, heads of the keys
FUNCTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "plain": ({}, {}, 4),
    "mask": ({"mask": MASK}, {"attn_mask": torch.from_numpy(MASK)}, 4),
    "bias": ({"bias": BIAS}, {"attn_mask": torch.from_numpy(BIAS)}, 4),
    "causal": ({"is_causal": True}, {"is_causal": True}, 4),
    "shared heads": ({}, {"enable_gqa": True}, 2),
    "one head of keys": (
        {"mask": MASK},
        {"attn_mask": torch.from_numpy(MASK), "enable_gqa": True},
        1,
    ),
    "window": (
        {"local_window_size": (2, 1)},
        {"attn_mask": torch.ones(5, 7, dtype=torch.bool).tril(1).triu(-2)},
        4,
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "kv_heads"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_scaled_dot_product_attention(
    ours: dict[str, Any], theirs: dict[str, Any], kv_heads: int
) -> None:
    arrays = QUERY, KEY[:, :, :kv_heads], VALUE[:, :, :kv_heads]
    tensors = [heads_first(array) for array in arrays]
    expected = functional.scaled_dot_product_attention(*tensors, **theirs)
    expected.sin().sum().backward()

    def loss(query: Any, key: Any, value: Any) -> tuple[jax.Array, jax.Array]:
        outputs = nn.dot_product_attention(query, key, value, **ours)
        return jnp.sum(jnp.sin(outputs)), outputs

    gradients, outputs = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*arrays)
    np.testing.assert_allclose(outputs, heads_last(expected), **TOLERANCE)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(gradient, heads_last(tensor.grad), **TOLERANCE)


FEATURES, HEADS = 12, 3
X, CONTEXT = normal(2, 5, FEATURES), normal(2, 7, FEATURES, seed=1)
CAUSAL = np.tril(np.ones((5, 5), bool))


def variables(layer: torch.nn.MultiheadAttention) -> dict[str, Any]:
    """Gives the weights as parameters: PyTorch has the features of the output in front."""
    depth = FEATURES // HEADS

    def projection(weight: torch.Tensor, bias: torch.Tensor | None) -> dict[str, np.ndarray]:
        kernel = weight.detach().numpy().T.reshape(FEATURES, HEADS, depth)
        if bias is None:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": bias.detach().numpy().reshape(HEADS, depth)}

    biases = [None] * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    weights = layer.in_proj_weight.chunk(3)
    params: dict[str, Any] = {
        name: projection(weight, bias)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True)
    }
    out = layer.out_proj
    params["out"] = {"kernel": out.weight.detach().numpy().T.reshape(HEADS, depth, FEATURES)}
    if out.bias is not None:
        params["out"]["bias"] = out.bias.detach().numpy()
    return {"params": params}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_multi_head_attention(use_bias: bool, cross: bool, masked: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(FEATURES, HEADS, bias=use_bias, batch_first=True)
    if use_bias:
        torch.nn.init.normal_(layer.in_proj_bias)
        torch.nn.init.normal_(layer.out_proj.bias)
    mask = None
    if masked:
        mask = MASK[0, 0] if cross else CAUSAL
    inputs = (X, CONTEXT) if cross else (X, X)
    tensors = [torch.from_numpy(array) for array in (inputs[0], inputs[1], inputs[1])]
    hidden = None if mask is None else torch.from_numpy(~mask)
    expected, weights = layer(*tensors, attn_mask=hidden, average_attn_weights=False)

    ours = nn.MultiHeadDotProductAttention(HEADS, use_bias=use_bias)
    outputs, sown = ours.apply(
        variables(layer), *inputs, mask=mask, sow_weights=True, mutable=["intermediates"]
    )
    np.testing.assert_allclose(outputs, expected.detach().numpy(), **TOLERANCE)
    (found,) = sown["intermediates"]["attention_weights"]
    np.testing.assert_allclose(found, weights.detach().numpy(), **TOLERANCE)


def test_decoding() -> None:
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(FEATURES, HEADS, batch_first=True)
    x = torch.from_numpy(X)
    expected, _ = layer(x, x, x, attn_mask=torch.from_numpy(~CAUSAL))
    ours = nn.MultiHeadDotProductAttention(HEADS, decode=True)
    cache = ours.init(jax.random.key(0), X)["cache"]
    outputs = []
    for chunk in (X[:, :3], X[:, 3:4], X[:, 4:]):
        y, updates = ours.apply(variables(layer) | {"cache": cache}, chunk, mutable=["cache"])
        cache = updates["cache"]
        outputs.append(y)
    found = np.concatenate(outputs, 1)
    np.testing.assert_allclose(found, expected.detach().numpy(), **TOLERANCE)
