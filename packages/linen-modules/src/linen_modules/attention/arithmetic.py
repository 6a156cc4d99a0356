r"""The arithmetic of attention.

Each query takes the average of the values, with the *weights*

.. math:: w = \operatorname{softmax}(q k^\top / \sqrt{d} + b)

over the keys that are *visible* to it: those that the mask allows, and that the flags of causality
and of a local window allow by position. Axes are named in the subscripts: q queries, k keys, d
features of a head, h heads. Where keys and values have fewer heads than the queries, h is theirs, and
g counts the heads of the queries that share one; no key is repeated.
"""

from functools import partial

import jax
import jax.numpy as jnp

from linen_modules._cached_jit import cached_jit
from linen_modules._contraction import contract
from linen_modules.attention.masks import visible_positions
from linen_modules.dtypes import promote_dtype
from linen_modules.typing import Array, ArrayLike, DTypeLike, EinsumOperator, PrecisionLike

__all__ = ["attention", "attention_weights", "average_values", "drop_weights"]


@cached_jit()
def attention_weights(
    query: Array,
    key: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    is_causal: bool = False,
    local_window_size: tuple[int, int] | None = None,
    force_fp32_for_softmax: bool = False,
    zero_fully_masked_rows: bool = False,
    einsum: EinsumOperator = contract,
) -> Array:
    """Computes the weights, without dropout.

    Args:
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        bias: added before the softmax, broadcast against the result.
        mask: nonzero where a query may attend to a key, broadcast against the result.
        dtype: the dtype of the computation; None infers it.
        precision: as `jax.lax.Precision`.
        is_causal: whether a query sees no key after it.
        local_window_size: how many keys before and after it a query sees.
        force_fp32_for_softmax: whether the softmax and the result are float32.
        zero_fully_masked_rows: whether a query that sees no key has weights zero.
        einsum: the operator that multiplies queries and keys.

    Returns:
        Shape (batch..., heads, queries, keys).
    """
    query, key = promote_dtype(query, key, dtype=dtype)
    computed = query.dtype
    query = query / jnp.sqrt(query.shape[-1]).astype(computed)
    einsum = partial(contract, precision=precision) if einsum is contract else einsum
    logits = _products(query, key, einsum)
    if bias is not None:
        logits = logits + _with_ndim(bias, logits.ndim)
    visible = _visible(logits, mask, is_causal, local_window_size)
    if zero_fully_masked_rows and bias is not None:
        visible = ~jnp.isneginf(logits) if visible is None else visible & ~jnp.isneginf(logits)
    if visible is not None:
        logits = jnp.where(visible, logits, jnp.finfo(computed).min)
    if force_fp32_for_softmax and computed != jnp.float32:
        weights = jax.nn.softmax(logits.astype(jnp.float32))
    else:
        weights = jax.nn.softmax(logits).astype(computed)
    if zero_fully_masked_rows and visible is not None:
        weights = jnp.where(jnp.any(visible, -1, keepdims=True), weights, 0)
    return weights


@cached_jit()
def drop_weights(
    weights: Array, key: Array, *, rate: float, broadcast: bool, dtype: DTypeLike
) -> Array:
    """Sets weights to zero at random and scales the others so that the mean stays.

    Args:
        weights: shape (batch..., heads, queries, keys).
        key: a random key.
        rate: how likely a weight is set to zero, in [0, 1).
        broadcast: whether the whole batch and all heads share the draws.
        dtype: the dtype of the factors.

    Returns:
        An array of the shape of the weights.
    """
    keep_probability = 1.0 - rate
    shape = (*[1] * (weights.ndim - 2), *weights.shape[-2:]) if broadcast else weights.shape
    keep = jax.random.bernoulli(key, keep_probability, shape)
    return weights * (keep.astype(dtype) / jnp.asarray(keep_probability, dtype))


@cached_jit()
def average_values(
    weights: Array,
    value: Array,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    einsum: EinsumOperator = contract,
) -> Array:
    """Sums values times weights.

    Args:
        weights: shape (batch..., heads, queries, keys).
        value: shape (batch..., keys, heads or a divisor of them, value depth).
        dtype: what the values are converted to first; None leaves them.
        precision: as `jax.lax.Precision`.
        einsum: the operator that multiplies weights and values.

    Returns:
        Shape (batch..., queries, heads, value depth).
    """
    einsum = partial(contract, precision=precision) if einsum is contract else einsum
    value = value if dtype is None else value.astype(dtype)
    *batch, heads, queries, keys = weights.shape
    kv_heads, depth = value.shape[-2:]
    if heads == kv_heads:
        return einsum("...hqk,...khd->...qhd", weights, value)
    weights = weights.reshape(*batch, kv_heads, heads // kv_heads, queries, keys)
    averages = einsum("...hgqk,...khd->...qhgd", weights, value)
    return averages.reshape(*batch, queries, heads, depth)


@cached_jit()
def attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None,
    mask: Array | None,
    dropout_rng: Array | None,
    *,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    is_causal: bool = False,
    local_window_size: tuple[int, int] | None = None,
    force_fp32_for_softmax: bool = False,
    zero_fully_masked_rows: bool = False,
    dropout_rate: float = 0.0,
    broadcast_dropout: bool = True,
    qk_attn_weights_einsum: EinsumOperator = contract,
    attn_weights_value_einsum: EinsumOperator = contract,
) -> Array:
    """Averages values with the weights of queries and keys.

    Args:
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        value: shape (batch..., keys, as many heads as the keys have, value depth).
        bias: as in `attention_weights`, like all that is not listed here.
        mask: nonzero where a query may attend to a key.
        dropout_rng: a random key, or None where the rate is zero.
        dtype: the dtype of the computation; None infers it from queries, keys and values.
        precision: as `jax.lax.Precision`.
        is_causal: whether a query sees no key after it.
        local_window_size: how many keys before and after it a query sees.
        force_fp32_for_softmax: whether the softmax and the result are float32.
        zero_fully_masked_rows: whether a query that sees no key gives zero.
        dropout_rate: how likely a weight is set to zero.
        broadcast_dropout: whether the whole batch and all heads share the draws.
        qk_attn_weights_einsum: the operator that multiplies queries and keys.
        attn_weights_value_einsum: the operator that multiplies weights and values.

    Returns:
        Shape (batch..., queries, heads, value depth).
    """
    query, key, value = promote_dtype(query, key, value, dtype=dtype)
    weights = attention_weights(
        query,
        key,
        bias,
        mask,
        precision=precision,
        is_causal=is_causal,
        local_window_size=local_window_size,
        force_fp32_for_softmax=force_fp32_for_softmax,
        zero_fully_masked_rows=zero_fully_masked_rows,
        einsum=qk_attn_weights_einsum,
    )
    if dropout_rng is not None and dropout_rate > 0:
        weights = drop_weights(
            weights, dropout_rng, rate=dropout_rate, broadcast=broadcast_dropout, dtype=query.dtype
        )
    return average_values(weights, value, precision=precision, einsum=attn_weights_value_einsum)


def _products(query: Array, key: Array, einsum: EinsumOperator) -> Array:
    """Multiplies every query with every key; gives shape (batch..., heads, queries, keys)."""
    *batch, queries, heads, depth = query.shape
    keys, kv_heads = key.shape[-3:-1]
    if heads == kv_heads:
        return einsum("...qhd,...khd->...hqk", query, key)
    query = query.reshape(*batch, queries, kv_heads, heads // kv_heads, depth)
    products = einsum("...qhgd,...khd->...hgqk", query, key)
    return products.reshape(*batch, heads, queries, keys)


def _visible(
    logits: Array, mask: Array | None, is_causal: bool, local_window_size: tuple[int, int] | None
) -> Array | None:
    """Joins the mask and the flags; None if everything is visible."""
    visible = None if mask is None else _with_ndim(mask, logits.ndim).astype(bool)
    if not is_causal and local_window_size is None:
        return visible
    by_position = visible_positions(
        *logits.shape[-2:], is_causal=is_causal, local_window_size=local_window_size
    )
    by_position = _with_ndim(by_position, logits.ndim)
    return by_position if visible is None else visible & by_position


def _with_ndim(array: ArrayLike, ndim: int) -> Array:
    """Adds the leading axes of size one that broadcasting would."""
    return jnp.expand_dims(array, range(ndim - jnp.ndim(array)))
