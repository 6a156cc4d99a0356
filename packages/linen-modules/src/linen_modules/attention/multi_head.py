"""Layers of attention with several heads."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact, merge_param, nowrap
from linen_modules import initializers
from linen_modules.attention.attention_function import call_attention_function
from linen_modules.attention.cache import declare_cache
from linen_modules.attention.checks import canonicalize_window, check_heads
from linen_modules.attention.dot_product import dot_product_attention
from linen_modules.attention.implementation import Implementation
from linen_modules.attention.projections import choose_inputs, project_to_heads, rotate_heads
from linen_modules.attention.rotary import RotaryFunction
from linen_modules.dense_general import DenseGeneral
from linen_modules.linear import default_kernel_init
from linen_modules.typing import (
    Array,
    DotGeneral,
    DTypeLike,
    EinsumOperator,
    Initializer,
    PrecisionLike,
)

__all__ = ["MultiHeadAttention", "MultiHeadDotProductAttention", "SelfAttention"]


class MultiHeadDotProductAttention(Module):
    """Attention with several heads, between maps of its inputs.

    Queries, keys and values are maps of the inputs (submodules `query`, `key` and `value`), split
    into heads; `out` maps all heads to the output.

    Attributes:
        num_heads: the number of heads; it divides `qkv_features`.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        qkv_features: the features of queries, keys and values, all heads together; None takes
            those of `inputs_q`.
        out_features: the features of the output; None takes those of `inputs_q`.
        broadcast_dropout: whether the whole batch and all heads share the draws of dropout.
        dropout_rate: how likely a weight is set to zero, in [0, 1).
        deterministic: whether there is no dropout; given here or in the call, if there is a rate.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernels.
        out_kernel_init: makes the kernel of `out`; None takes `kernel_init`.
        bias_init: makes the biases.
        out_bias_init: makes the bias of `out`; None takes `bias_init`.
        use_bias: whether the four maps add a bias.
        attention_fn: the function of queries, keys and values that attends. A replacement is
            called with those arguments of `dot_product_attention` that it has parameters for.
        decode: whether to append each input to a cache and attend to all tokens so far; see
            `linen_modules.attention.cache`.
        normalize_qk: whether to normalise queries and keys (submodules `query_ln` and `key_ln`).
        force_fp32_for_softmax: whether the softmax is float32.
        qkv_dot_general: replaces `jax.lax.dot_general` in the maps to queries, keys and values.
        out_dot_general: replaces `jax.lax.dot_general` in `out`.
        qkv_dot_general_cls: makes `qkv_dot_general`, one for each map; it takes precedence.
        out_dot_general_cls: makes `out_dot_general`; it takes precedence.
        qk_attn_weights_einsum_cls: makes what replaces the product of queries and keys.
        attn_weights_value_einsum_cls: makes what replaces the product of weights and values; both
            are given or none.
        num_kv_heads: the number of heads of keys and values, each of which serves a group of heads
            of queries; it divides `num_heads`. None is as many.
        rotary_fn: rotates queries and keys by their positions, such as `rotary_embedding`, after
            the normalisation; the features of a head are an even number.
        is_causal: whether a query sees no later key; decoding always is.
        local_window_size: how many keys before and after it a query sees; one number for both or
            (before, after).
        zero_fully_masked_rows: whether a query to which every key is masked gives zero before
            `out`, instead of the mean of all values.
        implementation: "auto", "xla" or "cudnn"; see `linen_modules.attention.implementation`.

    References:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, "Attention is all
        you need", 2017.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.MultiHeadDotProductAttention(num_heads=2, is_causal=True)
    >>> x = jnp.ones((5, 3, 8))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), x)
    >>> outputs.shape
    (5, 3, 8)
    >>> jax.tree.map(jnp.shape, variables)["params"]["query"]
    {'bias': (2, 4), 'kernel': (8, 2, 4)}
    """

    num_heads: int
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    qkv_features: int | None = None
    out_features: int | None = None
    broadcast_dropout: bool = True
    dropout_rate: float = 0.0
    deterministic: bool | None = None
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = initializers.zeros
    out_bias_init: Initializer | None = None
    use_bias: bool = True
    attention_fn: Callable[..., Array] = dot_product_attention
    decode: bool = False
    normalize_qk: bool = False
    force_fp32_for_softmax: bool = False
    qkv_dot_general: DotGeneral | None = None
    out_dot_general: DotGeneral | None = None
    qkv_dot_general_cls: Callable[[], DotGeneral] | None = None
    out_dot_general_cls: Callable[[], DotGeneral] | None = None
    qk_attn_weights_einsum_cls: Callable[[], EinsumOperator] | None = None
    attn_weights_value_einsum_cls: Callable[[], EinsumOperator] | None = None
    num_kv_heads: int | None = None
    rotary_fn: RotaryFunction | None = None
    is_causal: bool = False
    local_window_size: int | Sequence[int] | None = None
    zero_fully_masked_rows: bool = False
    implementation: Implementation = "auto"

    @compact
    def __call__(
        self,
        inputs_q: Array,
        inputs_k: Array | None = None,
        inputs_v: Array | None = None,
        *,
        inputs_kv: Array | None = None,
        mask: Array | None = None,
        deterministic: bool | None = None,
        dropout_rng: Array | None = None,
        sow_weights: bool = False,
    ) -> Array:
        """Attends from each of `inputs_q` to all of `inputs_k`.

        Args:
            inputs_q: shape (batch..., queries, features), what the queries are made of.
            inputs_k: shape (batch..., keys, features), what the keys are made of; None takes
                `inputs_q`, which is self-attention.
            inputs_v: shape (batch..., keys, features), what the values are made of; None takes
                `inputs_k`.
            inputs_kv: an old name for the same `inputs_k` and `inputs_v`.
            mask: nonzero where a query may attend to a key; it broadcasts to
                (batch..., heads, queries, keys).
            deterministic: whether there is no dropout; given here or in the constructor.
            dropout_rng: the key of dropout, instead of one from the stream "dropout".
            sow_weights: whether to sow the weights, as they are before dropout, into the
                collection "intermediates" under the name "attention_weights".

        Returns:
            Shape (batch..., queries, out_features).

        Raises:
            AttentionInputError: if the keys are missing or are given twice.
            InputRankError: if an input has fewer than two axes.
            AttentionShapeError: if the shapes of the inputs do not fit each other.
            MaskShapeError: if the mask does not fit the inputs.
            FeatureSizeError: if the heads do not divide the features, or `rotary_fn` meets an odd
                number of features.
            HeadCountError: if `num_kv_heads` does not divide `num_heads`.
            MergeParamError: if there is dropout and `deterministic` is given in both places or in
                none.
            DropoutRateError: if the rate is not in [0, 1).
            WindowError: if `local_window_size` is not one or two numbers, or negative.
            CacheShapeError: in decoding, if the inputs do not fit the cache.
            CacheOverflowError: in decoding, if there is no room for the inputs.
            ModifyScopeVariableError: in decoding, if "cache" is not mutable.
            AttentionFunctionError: if `attention_fn` does not take an argument it must honour.
            OperatorError: if one of the einsum operators is given without the other, or together
                with `precision`.
            AlgorithmError: if there is no such implementation.
            FusedAttentionError: if the fused kernel is asked for and cannot run.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        inputs_k, inputs_v = choose_inputs(self, inputs_q, inputs_k, inputs_v, inputs_kv)
        query, key, value = project_to_heads(self, inputs_q, inputs_k, inputs_v)
        cache = declare_cache(self, key, value) if self.decode else None
        query, key = rotate_heads(self, query, key, 0 if cache is None else cache.index.value)
        visibility = self._visibility()
        if cache is not None:
            window = visibility.get("local_window_size")
            key, value, mask = cache.append(query, key, value, mask, local_window_size=window)
            visibility = {}
        elif self.attention_fn is dot_product_attention:
            check_heads(self, query, key, value, mask=mask)
        outputs = call_attention_function(
            self,
            (query, key, value),
            {"mask": mask, **self._dropout(deterministic, dropout_rng), **self._arithmetic()},
            visibility | self._beyond(sow_weights),
        )
        return DenseGeneral(
            features=self.out_features or jnp.shape(inputs_q)[-1],
            axis=(-2, -1),
            kernel_init=self.out_kernel_init or self.kernel_init,
            bias_init=self.out_bias_init or self.bias_init,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            dot_general=self.out_dot_general,
            dot_general_cls=self.out_dot_general_cls,
            name="out",
        )(outputs)

    @nowrap
    def _visibility(self) -> dict[str, Any]:
        """What a query sees by its position; empty if it sees everything."""
        window = canonicalize_window(self, self.local_window_size)
        given = {"is_causal": self.is_causal, "local_window_size": window}
        return {name: value for name, value in given.items() if value}

    @nowrap
    def _dropout(self, deterministic: bool | None, dropout_rng: Array | None) -> dict[str, Any]:
        """The arguments of an attention function that say what is dropped."""
        if self.dropout_rate == 0:
            deterministic = True
        else:
            deterministic = merge_param("deterministic", self.deterministic, deterministic)
        if not deterministic and dropout_rng is None:
            dropout_rng = self.make_rng("dropout")
        return {
            "deterministic": deterministic,
            "dropout_rng": dropout_rng,
            "dropout_rate": self.dropout_rate,
            "broadcast_dropout": self.broadcast_dropout,
        }

    @nowrap
    def _arithmetic(self) -> dict[str, Any]:
        """The arguments of an attention function that say how to compute."""
        weights, values = self.qk_attn_weights_einsum_cls, self.attn_weights_value_einsum_cls
        return {
            "dtype": self.dtype,
            "precision": self.precision,
            "force_fp32_for_softmax": self.force_fp32_for_softmax,
            "qk_attn_weights_einsum": None if weights is None else weights(),
            "attn_weights_value_einsum": None if values is None else values(),
        }

    @nowrap
    def _beyond(self, sow_weights: bool) -> dict[str, Any]:
        """The arguments that an attention function must not ignore, where they were given."""
        given = {
            "zero_fully_masked_rows": (self.zero_fully_masked_rows, False),
            "implementation": (self.implementation, "auto"),
            "module": (self if sow_weights else None, None),
        }
        return {name: value for name, (value, default) in given.items() if value is not default}


class MultiHeadAttention(MultiHeadDotProductAttention):
    """`MultiHeadDotProductAttention` under a shorter name.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.MultiHeadAttention(num_heads=4, num_kv_heads=2, rotary_fn=nn.rotary_embedding)
    >>> inputs, context = jnp.ones((5, 3, 8)), jnp.ones((5, 7, 6))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), inputs, context)
    >>> outputs.shape, variables["params"]["key"]["kernel"].shape
    ((5, 3, 8), (6, 2, 2))
    """


class SelfAttention(MultiHeadDotProductAttention):
    """`MultiHeadDotProductAttention` of inputs to themselves.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.SelfAttention(num_heads=2)
    >>> outputs, variables = layer.init_with_output(
    ...     jax.random.key(0), jnp.ones((5, 3, 8)), nn.make_causal_mask(jnp.ones((5, 3)))
    ... )
    >>> outputs.shape
    (5, 3, 8)
    """

    @compact
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs_q: Array,
        mask: Array | None = None,
        deterministic: bool | None = None,
        dropout_rng: Array | None = None,
        sow_weights: bool = False,
    ) -> Array:
        """Attends from each of the inputs to all of them.

        Args:
            inputs_q: shape (batch..., length, features).
            mask: nonzero where a query may attend to a key; it broadcasts to
                (batch..., heads, length, length).
            deterministic: whether there is no dropout; given here or in the constructor.
            dropout_rng: the key of dropout, instead of one from the stream "dropout".
            sow_weights: whether to sow the weights; see `MultiHeadDotProductAttention`.

        Returns:
            Shape (batch..., length, out_features).

        Raises:
            LayerError: as `MultiHeadDotProductAttention` does.
            MergeParamError: if there is dropout and `deterministic` is given in both places or in
                none.
        """
        return super().__call__(
            inputs_q,
            mask=mask,
            deterministic=deterministic,
            dropout_rng=dropout_rng,
            sow_weights=sow_weights,
        )
