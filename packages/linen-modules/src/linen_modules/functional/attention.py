"""Attention over any axes, as functions of a scope."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Scope
from linen_modules import initializers
from linen_modules.attention import dot_product_attention as attention_of_arrays
from linen_modules.errors import (
    AttentionInputError,
    AxisError,
    FeatureSizeError,
    UnsupportedFieldError,
)
from linen_modules.functional.linear import dense_general
from linen_modules.linear import default_kernel_init
from linen_modules.typing import Array, Axes, DTypeLike, Initializer, PrecisionLike

__all__ = ["dot_product_attention", "multi_head_dot_product_attention"]


def dot_product_attention(
    scope: Scope,
    query: Array,
    key: Array,
    value: Array,
    dtype: DTypeLike | None = jnp.float32,
    bias: Array | None = None,
    axis: Axes | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: PrecisionLike = None,
) -> Array:
    """Averages values over some axes, each query with weights of its own.

    Args:
        scope: whose stream "dropout" the key is drawn from if there is no `dropout_rng`.
        query: shape (batch, dimensions..., heads, depth).
        key: the same; the sizes of the axes that are attended over may differ.
        value: of the shape of the key, but for the depth.
        dtype: the dtype of the computation; None infers it.
        bias: added before the softmax; it broadcasts to (batch, dimensions that are not attended
            over..., heads, those of the queries that are..., those of the keys that are...).
        axis: the axes that are attended over, all dimensions if None.
        broadcast_dropout: whether the whole batch and all heads share the draws of dropout.
        dropout_rng: the random key of dropout.
        dropout_rate: how likely a weight is set to zero.
        deterministic: whether there is no dropout.
        precision: as `jax.lax.Precision`.

    Returns:
        Shape (batch, dimensions of the queries..., heads, depth of the values).

    Raises:
        AxisError: if `axis` names the batch, the heads, the depth, or one axis twice.
        AttentionShapeError: if shapes do not fit each other, or the bias does not fit them.
        InvalidRngError: if there is dropout, but no `dropout_rng` and no stream.

    >>> import jax.numpy as jnp
    >>> from linen_core import apply
    >>> x = jnp.ones((2, 5, 7, 3, 8))
    >>> apply(dot_product_attention)({}, x, x, x, axis=(1,), deterministic=True).shape
    (2, 5, 7, 3, 8)
    """
    axes = _attended("dot_product_attention", axis, jnp.ndim(query) - 3, jnp.shape(query))
    last = tuple(range(jnp.ndim(query) - 2 - len(axes), jnp.ndim(query) - 2))
    moved = [jnp.moveaxis(array, axes, last) for array in (query, key, value)]
    lengths = [[array.shape[dim] for dim in last] for array in moved]
    flat = [array.reshape(*array.shape[: last[0]], -1, *array.shape[-2:]) for array in moved]
    if bias is not None:
        lead = bias.shape[: bias.ndim - 2 * len(axes)]
        bias = jnp.broadcast_to(bias, (*lead, *lengths[0], *lengths[1]))
        bias = bias.reshape(*lead, math.prod(lengths[0]), math.prod(lengths[1]))
    if dropout_rng is None and dropout_rate > 0.0 and not deterministic:
        dropout_rng = scope.make_rng("dropout")
    y = attention_of_arrays(
        *flat,
        bias=bias,
        broadcast_dropout=broadcast_dropout,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        deterministic=deterministic,
        dtype=dtype,
        precision=precision,
    )
    y = y.reshape(*moved[0].shape[:-1], y.shape[-1])
    return jnp.moveaxis(y, last, axes)


def multi_head_dot_product_attention(
    scope: Scope,
    inputs_q: Array,
    inputs_kv: Array | None,
    num_heads: int,
    dtype: DTypeLike | None = jnp.float32,
    qkv_features: int | None = None,
    out_features: int | None = None,
    attention_axis: Axes | None = None,
    causal_mask: bool = False,
    padding_mask: Array | None = None,
    key_padding_mask: Array | None = None,
    segmentation: Array | None = None,
    key_segmentation: Array | None = None,
    cache: bool = False,
    broadcast_dropout: bool = True,
    dropout_rng: Array | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: PrecisionLike = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
    bias: bool = True,
    attention_fn: Callable[..., Array] = dot_product_attention,
) -> Array:
    """Attends over any axes with several heads.

    A query that may attend to no key, such as one that is padding, attends to all keys alike.

    Args:
        scope: where the parameters are, in "query", "key", "value" and "out".
        inputs_q: shape (batch, dimensions..., features): what queries are made of.
        inputs_kv: the same for keys and values; None stands for `inputs_q`.
        num_heads: the number of heads.
        dtype: the dtype of the computation; None infers it.
        qkv_features: the features of queries, keys and values together; None is those of inputs_q.
        out_features: the features of the output; None is those of inputs_q.
        attention_axis: the axes that are attended over, all dimensions if None.
        causal_mask: whether a query sees no key with a higher index, over these axes in order.
        padding_mask: shape (batch, dimensions..., 1): which queries are no padding.
        key_padding_mask: the same for keys; None stands for `padding_mask`.
        segmentation: shape (batch, dimensions..., 1): numbers of segments. A query sees the keys of
            its segment.
        key_segmentation: the same for keys; None stands for `segmentation`.
        cache: not supported: it must be False.
        broadcast_dropout: whether the whole batch and all heads share the draws of dropout.
        dropout_rng: the random key of dropout, instead of one from the stream "dropout".
        dropout_rate: how likely a weight is set to zero.
        deterministic: whether there is no dropout.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the four kernels.
        bias_init: makes the four biases.
        bias: whether the four maps have a bias.
        attention_fn: what attends: it takes a scope, queries, keys, values, and the keyword
            arguments of `dot_product_attention`.

    Returns:
        Shape (batch, dimensions..., out_features).

    Raises:
        AxisError: if `attention_axis` names the batch, the features, or one axis twice.
        FeatureSizeError: if the heads do not divide the features.
        AttentionInputError: if there is a mask of the keys and none of the queries.
        UnsupportedFieldError: if `cache` is True.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> def model(scope, x):
    ...     attend = multi_head_dot_product_attention
    ...     return attend(scope, x, None, num_heads=2, causal_mask=True, deterministic=True)
    >>> y, variables = init(model)(jax.random.key(0), jnp.ones((2, 5, 8)))
    >>> y.shape, sorted(variables["params"]), variables["params"]["query"]["kernel"].shape
    ((2, 5, 8), ['key', 'out', 'query', 'value'], (8, 2, 4))
    """
    name = "multi_head_dot_product_attention"
    if cache:
        raise UnsupportedFieldError(
            f"{name}: found cache=True; expected False. Write "
            "MultiHeadDotProductAttention(num_heads, decode=True), which keeps a cache."
        )
    inputs_kv = inputs_q if inputs_kv is None else inputs_kv
    axes = _attended(name, attention_axis, jnp.ndim(inputs_q) - 2, jnp.shape(inputs_q))
    features = qkv_features or inputs_q.shape[-1]
    if features % num_heads:
        raise FeatureSizeError(
            f"{name}: found num_heads={num_heads} and {features} features of queries, keys and "
            "values; expected a divisor of the features. Write qkv_features="
            f"{-(-features // num_heads) * num_heads}."
        )
    options: dict[str, Any] = {
        "bias": bias,
        "dtype": dtype,
        "kernel_init": kernel_init,
        "bias_init": bias_init,
        "precision": precision,
    }
    inputs = {"query": inputs_q, "key": inputs_kv, "value": inputs_kv}
    heads = [
        scope.child(dense_general, role)(x, (num_heads, features // num_heads), **options)
        for role, x in inputs.items()
    ]
    masks = [
        _causal(inputs_q.shape, inputs_kv.shape, axes) if causal_mask else None,
        _pairs("padding_mask", padding_mask, key_padding_mask, axes, operator.and_),
        _pairs("segmentation", segmentation, key_segmentation, axes, operator.eq),
    ]
    y = scope.child(attention_fn)(
        *heads,
        dtype=dtype,
        axis=axes,
        bias=_as_bias(masks, dtype),
        precision=precision,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        broadcast_dropout=broadcast_dropout,
        deterministic=deterministic,
    )
    out_features = out_features or inputs_q.shape[-1]
    return scope.child(dense_general, "out")(y, out_features, axis=(-2, -1), **options)


def _attended(name: str, axis: Axes | None, count: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Brings axes to ascending indices between the batch and what follows the dimensions."""
    given = tuple(range(1, count + 1)) if axis is None else axis
    axes = sorted((given,) if isinstance(given, int) else given)
    if not axes or len({*axes}) < len(axes) or not all(1 <= dim <= count for dim in axes):
        raise AxisError(
            f"{name}: found axis={axis} for an array of shape {tuple(shape)}; expected axes from 1 "
            f"to {count}, each once. Write axis=None for all of them."
        )
    return tuple(axes)


def _causal(query: Sequence[int], key: Sequence[int], axes: Sequence[int]) -> Array:
    """Gives a mask over the attended axes, by the order of their flat indices."""
    queries, keys = (tuple(shape[dim] for dim in axes) for shape in (query, key))
    order = [jnp.arange(math.prod(sizes)).reshape(sizes) for sizes in (queries, keys)]
    return order[0].reshape(*queries, *(1,) * len(axes)) >= order[1].reshape(
        *(1,) * len(axes), *keys
    )


def _pairs(
    name: str,
    query: Array | None,
    key: Array | None,
    axes: Sequence[int],
    compare: Callable[[Any, Any], Array],
) -> Array | None:
    """Gives a mask from what is compared of each query and each key."""
    if query is None:
        if key is None:
            return None
        raise AttentionInputError(
            f"multi_head_dot_product_attention: found key_{name} without {name}; expected both. "
            f"Write {name}=jnp.ones(...) for queries that may attend to any key."
        )
    arrays = [array[..., 0] for array in (query, query if key is None else key)]
    count, lead = len(axes), arrays[0].ndim - len(axes)
    last = tuple(range(lead, arrays[0].ndim))
    queries, keys = (jnp.moveaxis(array, axes, last) for array in arrays)
    if compare is operator.and_:
        queries, keys = queries.astype(bool), keys.astype(bool)
    # An axis of heads, then the attended axes of the queries, then those of the keys.
    queries = jnp.expand_dims(queries, (lead, *range(lead + 1 + count, lead + 1 + 2 * count)))
    keys = jnp.expand_dims(keys, tuple(range(lead, lead + 1 + count)))
    return compare(queries, keys)


def _as_bias(masks: Sequence[Array | None], dtype: DTypeLike | None) -> Array | None:
    """Gives what is added where a mask forbids to attend."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    ndim = max(mask.ndim for mask in given)
    allowed = True
    for mask in given:
        allowed = allowed & mask.reshape(*(1,) * (ndim - mask.ndim), *mask.shape)
    dtype = jnp.float32 if dtype is None else dtype
    # Half of the least number, so that a sum with it stays finite.
    return jnp.where(allowed, 0, jnp.finfo(dtype).min / 2).astype(dtype)
