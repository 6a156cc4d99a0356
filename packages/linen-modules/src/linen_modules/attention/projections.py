"""What an attention layer does before it attends: inputs, and their maps to heads."""

import warnings
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from linen_modules.attention.rotary import check_even_depth
from linen_modules.dense_general import DenseGeneral
from linen_modules.errors import (
    AttentionInputError,
    FeatureSizeError,
    HeadCountError,
    InputRankError,
    location,
)
from linen_modules.norm import LayerNorm
from linen_modules.typing import Array, ArrayLike

__all__ = ["choose_inputs", "project_to_heads", "rotate_heads"]


def choose_inputs(
    layer: Any,
    inputs_q: Array,
    inputs_k: Array | None,
    inputs_v: Array | None,
    inputs_kv: Array | None,
) -> tuple[Array, Array]:
    """Decides what keys and values are made of.

    Raises:
        AttentionInputError: if the keys are missing or are given twice.
    """
    if inputs_kv is not None:
        if inputs_k is not None or inputs_v is not None:
            raise AttentionInputError(
                f"{location(layer)}: found inputs_kv together with inputs_k or inputs_v; expected "
                "one or the other. Write inputs_k=..., and inputs_v=... if the values are made of "
                "something else."
            )
        warnings.warn(
            f"{location(layer)}: inputs_kv is an old name. Write inputs_k=...; the values are made "
            "of the same.",
            DeprecationWarning,
            stacklevel=4,
        )
        return inputs_kv, inputs_kv
    if inputs_k is None and inputs_v is not None:
        raise AttentionInputError(
            f"{location(layer)}: found inputs_v without inputs_k; expected keys for these values. "
            "Write inputs_k=..., or mask=... if the array is a mask."
        )
    inputs_k = inputs_q if inputs_k is None else inputs_k
    return inputs_k, inputs_k if inputs_v is None else inputs_v


def project_to_heads(
    layer: Any, inputs_q: Array, inputs_k: Array, inputs_v: Array
) -> tuple[Array, Array, Array]:
    """Maps inputs to queries, keys and values, and normalises them.

    Args:
        layer: an attention layer.
        inputs_q: shape (batch..., queries, features).
        inputs_k: shape (batch..., keys, features).
        inputs_v: shape (batch..., keys, features).

    Returns:
        Queries of shape (batch..., queries, heads, depth), and keys and values of shape
        (batch..., keys, heads of the keys, depth).

    Raises:
        InputRankError: if an input has fewer than two axes.
        FeatureSizeError: if the heads do not divide the features.
        HeadCountError: if the heads of the keys do not divide those of the queries.
    """
    for inputs, name in ((inputs_q, "q"), (inputs_k, "k"), (inputs_v, "v")):
        if jnp.ndim(inputs) < 2:
            raise InputRankError(
                f"{location(layer)}: found inputs_{name} of shape {jnp.shape(inputs)}; expected "
                "(batch..., length, features). Write inputs[None] for a single position."
            )
    heads, kv_heads, depth = _head_sizes(layer, jnp.shape(inputs_q)[-1])
    dense = partial(
        DenseGeneral,
        axis=-1,
        dtype=layer.dtype,
        param_dtype=layer.param_dtype,
        kernel_init=layer.kernel_init,
        bias_init=layer.bias_init,
        use_bias=layer.use_bias,
        precision=layer.precision,
        dot_general=layer.qkv_dot_general,
        dot_general_cls=layer.qkv_dot_general_cls,
    )
    query = dense(features=(heads, depth), name="query")(inputs_q)
    key = dense(features=(kv_heads, depth), name="key")(inputs_k)
    value = dense(features=(kv_heads, depth), name="value")(inputs_v)
    if layer.normalize_qk:
        norm = partial(LayerNorm, use_bias=False, dtype=layer.dtype, param_dtype=layer.param_dtype)
        query, key = norm(name="query_ln")(query), norm(name="key_ln")(key)
    return query, key, value


def _head_sizes(layer: Any, input_features: int) -> tuple[int, int, int]:
    """Returns the heads of queries, those of keys and values, and the features of a head."""
    features, heads = layer.qkv_features or input_features, layer.num_heads
    kv_heads = heads if layer.num_kv_heads is None else layer.num_kv_heads
    if heads < 1 or features % heads:
        raise FeatureSizeError(
            f"{location(layer)}: found num_heads={heads} and {features} features of queries, keys "
            "and values; expected a divisor of the features. Write qkv_features="
            f"{max(heads, 1) * -(-features // max(heads, 1))}, or a number of heads that divides "
            f"{features}."
        )
    if kv_heads < 1 or heads % kv_heads:
        raise HeadCountError(
            f"{location(layer)}: found num_kv_heads={kv_heads} and num_heads={heads}; expected a "
            "divisor, each head of the keys serving a group of queries. Write num_kv_heads=1 for "
            "keys that all heads share."
        )
    return heads, kv_heads, features // heads


def rotate_heads(layer: Any, query: Array, key: Array, first: ArrayLike) -> tuple[Array, Array]:
    """Rotates queries and keys by their positions, if the layer has a function for it.

    Args:
        layer: an attention layer.
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads of the keys, depth).
        first: the position of the first query and of the first key.

    Returns:
        Queries and keys.

    Raises:
        FeatureSizeError: if the depth is odd.
    """
    if layer.rotary_fn is None:
        return query, key
    check_even_depth(layer, query.shape[-1])
    # Lengths are known, so that without a cache the positions are constants of the model.
    positions = (first + np.arange(array.shape[-3]) for array in (query, key))
    return tuple(map(layer.rotary_fn, (query, key), positions))
