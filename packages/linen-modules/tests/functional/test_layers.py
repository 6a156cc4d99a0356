"""Layers as functions of a scope do what the layers do."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_modules as nn
from linen_core import apply, init
from linen_modules import functional

KEY = jax.random.key(0)
STREAMS = {"params": KEY, "dropout": jax.random.key(1)}
IMAGE = jax.random.normal(KEY, (2, 6, 5, 4))
SEQUENCE = IMAGE[:, 0]

# For each function: a call of it, the same layer, the input.
PAIRS: dict[str, tuple[Callable[..., Any], Callable[[], Any], jax.Array]] = {
    "dense": (
        lambda scope, x: functional.dense(scope, x, 3, bias=False),
        lambda: nn.Dense(3, use_bias=False),
        SEQUENCE,
    ),
    "dense_general": (
        lambda scope, x: functional.dense_general(scope, x, (3, 2), axis=(1, 2)),
        lambda: nn.DenseGeneral((3, 2), axis=(1, 2)),
        SEQUENCE,
    ),
    "dense_general with a batch": (
        lambda scope, x: functional.dense_general(scope, x, 3, batch_dims=(0,)),
        lambda: nn.DenseGeneral(3, batch_dims=(0,)),
        SEQUENCE,
    ),
    "conv": (
        lambda scope, x: functional.conv(
            scope, x, 4, (3, 2), strides=2, padding="CIRCULAR", feature_group_count=2
        ),
        lambda: nn.Conv(4, (3, 2), strides=2, padding="CIRCULAR", feature_group_count=2),
        IMAGE,
    ),
    "conv_transpose": (
        lambda scope, x: functional.conv_transpose(scope, x, 3, (3, 2), strides=(2, 1)),
        lambda: nn.ConvTranspose(3, (3, 2), strides=(2, 1)),
        IMAGE,
    ),
    "layer_norm": (functional.layer_norm, nn.LayerNorm, SEQUENCE),
    "batch_norm": (
        functional.batch_norm,
        lambda: nn.BatchNorm(use_running_average=False),
        IMAGE,
    ),
    "dropout": (
        lambda scope, x: functional.dropout(scope, x, 0.5),
        lambda: nn.Dropout(0.5, deterministic=False),
        SEQUENCE,
    ),
    "attention": (
        lambda scope, x: functional.multi_head_dot_product_attention(
            scope, x, None, num_heads=2, causal_mask=True, qkv_features=6, deterministic=True
        ),
        lambda: nn.SelfAttention(2, qkv_features=6, is_causal=True, deterministic=True),
        SEQUENCE,
    ),
}


@pytest.mark.parametrize(("function", "layer", "x"), PAIRS.values(), ids=list(PAIRS))
def test_functions_are_layers(
    function: Callable[..., Any], layer: Callable[[], Any], x: jax.Array
) -> None:
    y, variables = init(function)(STREAMS, x)
    expected, same = layer().init_with_output(STREAMS, x)
    chex.assert_trees_all_equal(variables, same)
    chex.assert_trees_all_close(y, expected, rtol=1e-5, atol=1e-5)


def test_layers_in_children() -> None:
    def model(scope: Any, x: Any) -> Any:
        x = scope.child(functional.dense, "hidden")(x, 3)
        return functional.dense(scope, nn.relu(x), 2)

    y, variables = init(model)(KEY, SEQUENCE)
    assert y.shape == (2, 5, 2)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "hidden": {"kernel": (4, 3), "bias": (3,)},
            "kernel": (3, 2),
            "bias": (2,),
        }
    }
    chex.assert_trees_all_close(apply(model)(variables, SEQUENCE), y, rtol=1e-6)


@pytest.mark.parametrize("x", [SEQUENCE, IMAGE], ids=["sequence", "image"])
@pytest.mark.parametrize("groups", [{"num_groups": 2}, {"num_groups": None, "group_size": 2}])
def test_group_norm(groups: dict[str, Any], x: jax.Array) -> None:
    y, variables = init(functional.group_norm)(KEY, x, **groups)
    ones = (1,) * (x.ndim - 1)
    assert variables["params"]["scale"].shape == (*ones, 4)
    expected = nn.GroupNorm(**groups).init_with_output(KEY, x)[0]
    chex.assert_trees_all_close(y, expected, rtol=1e-6)


def test_batch_norm_in_another_collection() -> None:
    def model(scope: Any, x: Any) -> Any:
        return functional.batch_norm(scope, x, kind="averages", momentum=0.5)

    _, variables = init(model)(KEY, SEQUENCE)
    assert sorted(variables) == ["averages", "params"]
    _, updates = apply(model, mutable=["averages"])(variables, SEQUENCE + 1)
    mean = 0.5 * (SEQUENCE + 1).mean((0, 1))
    chex.assert_trees_all_close(updates["averages"]["mean"], mean, rtol=1e-5)


def test_embedding() -> None:
    def model(scope: Any, indices: Any) -> Any:
        table = functional.embedding(scope, 7, 3)
        return table.lookup(indices), table.attend(table.lookup(indices)), table

    indices = jnp.array([[3, 0], [6, 3]])
    (vectors, logits, table), variables = init(model)(KEY, indices)
    chex.assert_trees_all_equal(table, functional.Embedding(variables["params"]["table"]))
    chex.assert_trees_all_equal(vectors, table.table[indices])
    chex.assert_trees_all_close(logits, vectors @ table.table.T, rtol=1e-6)
