"""Attention of queries, keys and values that are split into heads."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from linen_core import Module
from linen_modules._contraction import contract
from linen_modules.attention import arithmetic
from linen_modules.attention.checks import canonicalize_window, check_heads
from linen_modules.attention.implementation import (
    Implementation,
    choose_implementation,
    fused_attention,
)
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.errors import DropoutKeyError, DropoutRateError, OperatorError, location
from linen_modules.typing import Array, DotGeneral, DTypeLike, EinsumOperator, PrecisionLike

__all__ = ["dot_product_attention", "dot_product_attention_weights"]


def dot_product_attention_weights(
    query: Array,
    key: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    einsum: EinsumOperator | None = None,
    *,
    is_causal: bool = False,
    local_window_size: int | Sequence[int] | None = None,
    zero_fully_masked_rows: bool = False,
) -> Array:
    """Computes how much each query attends to each key.

    Args:
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        bias: added before the softmax; it broadcasts to (batch..., heads, queries, keys).
        mask: nonzero where a query may attend to a key; it broadcasts to the same shape.
        broadcast_dropout: whether the whole batch and all heads share the draws of dropout.
        dropout_rng: the random key of dropout.
        dropout_rate: how likely a weight is set to zero.
        deterministic: whether there is no dropout.
        dtype: the dtype of the computation; None infers it from queries and keys.
        precision: as `jax.lax.Precision`.
        module: the layer that sows the weights, as they are before dropout, into the collection
            "intermediates" under the name "attention_weights".
        force_fp32_for_softmax: whether the softmax and the result are float32.
        einsum_dot_general: replaces `jax.lax.dot_general`.
        einsum: replaces the product of queries and keys; see `linen_modules.typing`.
        is_causal: whether a query sees no key with a higher index than its own.
        local_window_size: how many keys before and after its own index a query sees; one number
            for both or (before, after).
        zero_fully_masked_rows: whether a query to which every key is masked has weights zero. If
            not, it attends to all keys alike, the masked ones included, as softmax does with equal
            logits. A bias of -inf then counts as a mask; without this flag, a row of it is NaN.

    Returns:
        Shape (batch..., heads, queries, keys).

    Raises:
        InputRankError: if queries or keys have fewer than three axes.
        AttentionShapeError: if shapes do not fit each other, or the bias does not fit them.
        HeadCountError: if the heads of the keys do not divide those of the queries.
        MaskShapeError: if the mask does not fit the queries and keys.
        WindowError: if `local_window_size` is not one or two numbers, or negative.
        OperatorError: if `einsum` is given together with `einsum_dot_general` or `precision`.
        DropoutKeyError: if there is dropout and no `dropout_rng`.
        DropoutRateError: if the rate is not in [0, 1).
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((2, 1, 8))
    >>> dot_product_attention_weights(x, x, is_causal=True).tolist()
    [[[1.0, 0.0], [0.5, 0.5]]]
    """
    where = module or "dot_product_attention_weights"
    check_heads(where, query, key, bias=bias, mask=mask)
    rate = _rate(where, dropout_rate, deterministic, dropout_rng)
    return _weights(
        module,
        (query, key, bias, mask),
        (dropout_rng, rate, broadcast_dropout),
        dtype=canonicalize_dtype(query, key, dtype=dtype),
        precision=precision,
        is_causal=is_causal,
        local_window_size=canonicalize_window(where, local_window_size),
        force_fp32_for_softmax=force_fp32_for_softmax,
        zero_fully_masked_rows=zero_fully_masked_rows,
        einsum=_einsum(where, "einsum", einsum, einsum_dot_general, precision),
    )


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    qk_attn_weights_einsum: EinsumOperator | None = None,
    attn_weights_value_einsum: EinsumOperator | None = None,
    *,
    implementation: Implementation = "auto",
    is_causal: bool = False,
    local_window_size: int | Sequence[int] | None = None,
    zero_fully_masked_rows: bool = False,
) -> Array:
    """Averages values, each query with the weights of `dot_product_attention_weights`.

    Args:
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        value: shape (batch..., keys, as many heads as the keys have, value depth).
        bias: added before the softmax; it broadcasts to (batch..., heads, queries, keys).
        mask: nonzero where a query may attend to a key; it broadcasts to the same shape.
        broadcast_dropout: whether the whole batch and all heads share the draws of dropout.
        dropout_rng: the random key of dropout.
        dropout_rate: how likely a weight is set to zero.
        deterministic: whether there is no dropout.
        dtype: the dtype of the computation; None infers it from queries, keys and values.
        precision: as `jax.lax.Precision`.
        module: the layer that sows the weights; see `dot_product_attention_weights`.
        force_fp32_for_softmax: whether the softmax and the result are float32.
        einsum_dot_general: replaces `jax.lax.dot_general` in both products.
        qk_attn_weights_einsum: replaces the product of queries and keys.
        attn_weights_value_einsum: replaces the product of weights and values.
        implementation: "xla", "cudnn" for the fused kernel of NVIDIA GPUs, or "auto", which takes
            the kernel where it can run and "xla" elsewhere; see
            `linen_modules.attention.implementation`.
        is_causal: whether a query sees no key with a higher index than its own.
        local_window_size: how many keys before and after its own index a query sees; one number
            for both or (before, after).
        zero_fully_masked_rows: whether a query to which every key is masked gives zero, with
            gradients zero. If not, it gives the mean of all values.

    Returns:
        Shape (batch..., queries, heads, value depth).

    Raises:
        InputRankError: if an array has fewer than three axes.
        AttentionShapeError: if shapes do not fit each other, or the bias does not fit them.
        HeadCountError: if the heads of the keys do not divide those of the queries.
        MaskShapeError: if the mask does not fit the queries and keys.
        WindowError: if `local_window_size` is not one or two numbers, or negative.
        OperatorError: if one of the two einsum operators is given without the other, or together
            with `einsum_dot_general` or `precision`.
        DropoutKeyError: if there is dropout and no `dropout_rng`.
        DropoutRateError: if the rate is not in [0, 1).
        AlgorithmError: if there is no such implementation.
        FusedAttentionError: if the fused kernel is asked for and cannot run.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    References:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, "Attention is all
        you need", 2017.
        Ainslie, Lee-Thorp, de Jong, Zemlyanskiy, Lebrón, Sanghai, "GQA: training generalized
        multi-query transformer models from multi-head checkpoints", 2023.

    >>> import jax.numpy as jnp
    >>> query, key = jnp.ones((1, 4, 8)), jnp.ones((3, 2, 8))
    >>> values = jnp.broadcast_to(jnp.arange(3.0)[:, None, None], (3, 2, 5))
    >>> outputs = dot_product_attention(query, key, values, mask=jnp.array([0, 1, 1]))
    >>> outputs.shape, float(outputs[0, 0, 0])
    ((1, 4, 5), 1.5)
    """
    where = module or "dot_product_attention"
    check_heads(where, query, key, value, bias=bias, mask=mask)
    rate = _rate(where, dropout_rate, deterministic, dropout_rng)
    products = _einsums(
        where, qk_attn_weights_einsum, attn_weights_value_einsum, einsum_dot_general, precision
    )
    window = canonicalize_window(where, local_window_size)
    visibility: dict[str, Any] = {"is_causal": is_causal, "local_window_size": window}
    arrays = (query, key, value, bias, mask)
    obstacle = _obstacle(
        {
            "there is dropout of weights": rate > 0,
            "the weights are to be sown": module is not None,
            "precision is given": precision is not None,
            "products are replaced": any(product is not contract for product in products),
            "force_fp32_for_softmax asks for a float32 result": force_fp32_for_softmax,
            "zero_fully_masked_rows is asked for": zero_fully_masked_rows,
        }
    )
    fused: dict[str, Any] = visibility | {"dtype": dtype}
    if choose_implementation(where, implementation, obstacle, arrays, **fused) == "cudnn":
        return fused_attention(*arrays, **fused)
    options = visibility | {
        "precision": precision,
        "force_fp32_for_softmax": force_fp32_for_softmax,
        "zero_fully_masked_rows": zero_fully_masked_rows,
    }
    if module is None:
        return arithmetic.attention(
            *arrays,
            dropout_rng if rate else None,
            dtype=dtype,
            **options,
            dropout_rate=rate,
            broadcast_dropout=broadcast_dropout,
            qk_attn_weights_einsum=products[0],
            attn_weights_value_einsum=products[1],
        )
    dtype = canonicalize_dtype(query, key, value, dtype=dtype)
    kept, dropout = (query, key, bias, mask), (dropout_rng, rate, broadcast_dropout)
    weights = _weights(module, kept, dropout, dtype=dtype, **options, einsum=products[0])
    return arithmetic.average_values(
        weights, value, dtype=dtype, precision=precision, einsum=products[1]
    )


def _weights(
    module: Module | None,
    arrays: tuple[Array, Array, Array | None, Array | None],
    dropout: tuple[Array | None, float, bool],
    *,
    dtype: DTypeLike,
    **options: Any,
) -> Array:
    """Computes weights, sows them, drops some."""
    weights = arithmetic.attention_weights(*arrays, dtype=dtype, **options)
    if module is not None:
        module.sow("intermediates", "attention_weights", weights)
    key, rate, broadcast = dropout
    if key is None or not rate:
        return weights
    return arithmetic.drop_weights(weights, key, rate=rate, broadcast=broadcast, dtype=dtype)


def _rate(
    where: Module | str, dropout_rate: float, deterministic: bool, dropout_rng: Array | None
) -> float:
    """Returns the rate of dropout, 0 where there is none."""
    if deterministic or dropout_rate == 0:
        return 0.0
    if not 0 < dropout_rate < 1:
        raise DropoutRateError(
            f"{location(where)}: found dropout_rate={dropout_rate}; expected a probability in "
            "[0, 1), that a weight is dropped. Write dropout_rate=0.1."
        )
    if dropout_rng is None:
        raise DropoutKeyError(
            f"{location(where)}: found dropout_rate={dropout_rate} and no key to draw from. Write "
            "dropout_rng=self.make_rng('dropout') in a layer, or deterministic=True for no dropout."
        )
    return dropout_rate


def _einsums(
    where: Module | str,
    weights: EinsumOperator | None,
    values: EinsumOperator | None,
    dot_general: DotGeneral | None,
    precision: PrecisionLike,
) -> tuple[EinsumOperator, EinsumOperator]:
    """Chooses the operators of the two products."""
    if (weights is None) != (values is None):
        raise OperatorError(
            f"{location(where)}: found one of qk_attn_weights_einsum and attn_weights_value_einsum;"
            " expected both or none. Write jnp.einsum for the one that stays as it is."
        )
    name = "qk_attn_weights_einsum and attn_weights_value_einsum"
    return (
        _einsum(where, name, weights, dot_general, precision),
        _einsum(where, name, values, dot_general, precision),
    )


def _einsum(
    where: Module | str,
    name: str,
    einsum: EinsumOperator | None,
    dot_general: DotGeneral | None,
    precision: PrecisionLike,
) -> EinsumOperator:
    """Chooses the operator of a product, which is given in one way only."""
    if einsum is None:
        if dot_general is None:
            return contract
        return partial(contract, precision=precision, dot_general=dot_general)
    if dot_general is not None or precision is not None:
        raise OperatorError(
            f"{location(where)}: found {name} together with einsum_dot_general or precision; "
            "expected one or the other. Write functools.partial(jnp.einsum, precision=...) as the "
            "operator."
        )
    return einsum


def _obstacle(found: dict[str, bool]) -> str | None:
    """Returns the first reason that holds against the fused kernel."""
    return next((reason for reason, holds in found.items() if holds), None)
