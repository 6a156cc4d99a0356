"""Cases of attention: masks, the functions of queries, keys and values, and the layers."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .case import Case, Table, booleans, integers, normal

ATTENTION = Table()

X = normal(2, 5, 8)
CONTEXT = normal(2, 7, 6, seed=1)
VALUES = normal(2, 7, 3, seed=2)
QUERY = normal(2, 5, 4, 6)
KEY = normal(2, 7, 4, 6, seed=1)
VALUE = normal(2, 7, 4, 3, seed=2)
BIAS = normal(2, 4, 5, 7, seed=3)
MASK = booleans(2, 1, 5, 7)
CAUSAL = jnp.tril(jnp.ones((1, 1, 5, 5)))
TOKENS = integers(2, 5, below=3)
BRAIN, HALF = jnp.bfloat16, jnp.float16

# Without jit the arithmetic is one compiled call, which XLA fuses; in the peer one per operation.
FUSED = {"eager_ulps": 4, "reason": "fused when it runs eagerly"}
HALF_FUSED = {
    "eager_ulps": 4,
    "ulps": 2,
    "gradient_ulps": 8,
    "reason": "XLA skips some roundings to half precision, depending on what it fuses",
}
HALF_INSIDE = {
    "eager_ulps": 2**16,
    "ulps": 2,
    "gradient_ulps": 2**16,
    "reason": "one ulp of bfloat16, in which XLA skips some roundings; the numbers are float32",
}
NORMALIZED = {
    "eager_ulps": 16,
    "ulps": 16,
    "gradient_ulps": 32,
    "reason": "the variance of the norm is taken about the mean; the peer subtracts squares",
}
RANDOM = {"params": 0, "dropout": 1}
KEYS = {"rngs": RANDOM, "apply_rngs": {"dropout": 5}}


def called(function: str, **kwargs: Any) -> Callable[[Any], Any]:
    """Returns a builder of a module that calls one function of `nn` on its inputs."""

    def build(nn: Any) -> Any:
        class Call(nn.Module):
            def __call__(self, *args):
                return getattr(nn, function)(*args, **kwargs)

        return Call()

    return build


MASKS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "product": ("make_attention_mask", (TOKENS, integers(2, 7, below=2)), {}),
    "segments": ("make_attention_mask", (TOKENS, TOKENS), {"pairwise_fn": jnp.equal}),
    "own function": (
        "make_attention_mask",
        (TOKENS, TOKENS),
        {"pairwise_fn": lambda q, k: q > 2 * k, "dtype": bool},
    ),
    "more batch axes": (
        "make_attention_mask",
        (TOKENS, TOKENS),
        {"extra_batch_dims": 2, "dtype": BRAIN},
    ),
    "of vectors": ("make_attention_mask", (TOKENS[0], TOKENS[1]), {}),
    "causal": ("make_causal_mask", (TOKENS,), {}),
    "causal of a vector": ("make_causal_mask", (TOKENS[0],), {"dtype": bool}),
    "causal, more batch axes": ("make_causal_mask", (TOKENS,), {"extra_batch_dims": 1}),
    "one of one": ("combine_masks", (3.0 * MASK,), {}),
    "one of one, booleans": ("combine_masks", (3.0 * MASK,), {"dtype": bool}),
    "one of three": ("combine_masks", (MASK, None, 2.0 * booleans(2, 4, 1, 7, seed=1)), {}),
    "one of none": ("combine_masks", (None, None), {}),
}
ATTENTION += [
    Case(name=f"mask, {name}", build=called(function, **kwargs), args=args, gradients=False)
    for name, (function, args, kwargs) in MASKS.items()
]


def doubled(*args: Any, **kwargs: Any) -> jax.Array:
    """Returns twice a matrix product."""
    kwargs.pop("out_sharding", None)
    return 2 * lax.dot_general(*args, **kwargs)


def doubled_einsum(*args: Any, **kwargs: Any) -> jax.Array:
    """Returns twice a sum of products."""
    return 2 * jnp.einsum(*args, **kwargs)


EINSUMS = {
    "qk_attn_weights_einsum": doubled_einsum,
    "attn_weights_value_einsum": partial(jnp.einsum, precision="highest"),
}
DROPOUT = {"dropout_rng": jax.random.key(7), "dropout_rate": 0.4}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": BIAS},
    "bias of one row": {"bias": BIAS[:1, :1, :1]},
    "mask": {"mask": MASK},
    "mask of numbers, bias": {"mask": 2.0 * MASK, "bias": BIAS},
    "fully masked rows": {"mask": MASK.at[:, :, 2].set(False)},
    "dropout": DROPOUT,
    "dropout of each weight": DROPOUT | {"broadcast_dropout": False},
    "dropout, deterministic": DROPOUT | {"deterministic": True},
    "dropout, raw key": DROPOUT | {"dropout_rng": jax.random.PRNGKey(3)},
    "highest precision": {"precision": "highest"},
    "float32 softmax": {"force_fp32_for_softmax": True},
    "own dot_general": {"einsum_dot_general": doubled},
    "own dot_general, highest precision": {"einsum_dot_general": doubled, "precision": "highest"},
}
BOTH = {
    "dot_product_attention": (QUERY, KEY, VALUE),
    "dot_product_attention_weights": (QUERY, KEY),
}
ATTENTION += [
    Case(name=f"{function}, {name}", build=called(function, **options), args=args, **FUSED)
    for function, args in BOTH.items()
    for name, options in OPTIONS.items()
]
ATTENTION += [
    Case(
        name=f"{function}, {name}",
        build=called(function, **options),
        args=tuple(array.astype(dtype) for array in args),
        **HALF_FUSED,
    )
    for function, args in BOTH.items()
    for name, dtype, options in [
        ("on bfloat16", BRAIN, {}),
        ("on float16", HALF, {}),
        ("float32 arithmetic on bfloat16", BRAIN, {"dtype": jnp.float32}),
        ("bfloat16, mask and bias", BRAIN, {"mask": MASK, "bias": BIAS.astype(BRAIN)}),
        ("bfloat16, float32 bias", BRAIN, {"mask": MASK, "bias": BIAS}),
        ("bfloat16, dropout", BRAIN, DROPOUT),
        ("bfloat16, float32 softmax", BRAIN, {"force_fp32_for_softmax": True}),
        ("float16, mask", HALF, {"mask": MASK}),
        ("on integers", jnp.int32, {}),
    ]
]
ATTENTION += [
    Case(
        name=f"{function}, {name}",
        build=called(function, **options),
        args=tuple(array.astype(dtype) for array in args),
        **HALF_INSIDE,
    )
    for function, args in BOTH.items()
    for name, dtype, options in [
        ("bfloat16 arithmetic", jnp.float32, {"dtype": BRAIN}),
        (
            "bfloat16, float32 softmax, dropout",
            BRAIN,
            DROPOUT | {"force_fp32_for_softmax": True},
        ),
    ]
]
ATTENTION += [
    Case(
        name="dot_product_attention, own einsums",
        build=called("dot_product_attention", **EINSUMS),
        args=(QUERY, KEY, VALUE),
        **FUSED,
    ),
    Case(
        name="dot_product_attention_weights, own einsum",
        build=called("dot_product_attention_weights", einsum=doubled_einsum),
        args=(QUERY, KEY),
        **FUSED,
    ),
    Case(
        name="dot_product_attention, two batch axes",
        build=called("dot_product_attention"),
        args=tuple(array.reshape(2, 1, *array.shape[1:]) for array in (QUERY, KEY, VALUE)),
        **FUSED,
    ),
    Case(
        name="dot_product_attention, no batch",
        build=called("dot_product_attention", mask=MASK[0]),
        args=(QUERY[0], KEY[0], VALUE[0]),
        **FUSED,
    ),
    Case(
        name="dot_product_attention, float64",
        build=called("dot_product_attention", force_fp32_for_softmax=True),
        args=(QUERY, KEY, VALUE),
        x64=True,
        **FUSED,
    ),
]


class TwiceEinsum:
    """Makes a module that is an operator with a parameter."""

    def __init__(self, nn: Any):
        self.nn = nn

    def __call__(self) -> Any:
        nn = self.nn

        class Scaled(nn.Module):
            @nn.compact
            def __call__(self, *args):
                scale = self.param("scale", nn.initializers.constant(2.0), ())
                return scale * jnp.einsum(*args)

        return Scaled()


def attended(**kwargs: Any) -> Callable[[Any], Any]:
    """Returns a builder of a layer with two heads."""
    return lambda nn: nn.MultiHeadDotProductAttention(**{"num_heads": 2} | kwargs)


def uniform(query, key, value, mask=None, bias=None):
    """Returns the mean of all values for every query."""
    return jnp.broadcast_to(value.mean(-3, keepdims=True), (*query.shape[:-1], value.shape[-1]))


def uniform_with_all(query, key, value, *, dropout_rate, deterministic, dtype, module=None):
    """Returns the mean of all values, times a number."""
    assert module is None
    return (1 + dropout_rate) * uniform(query, key, value)


LAYERS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "plain": ((X,), {}),
    "cross": ((X, CONTEXT), {}),
    "cross with values": ((X, CONTEXT, VALUES), {}),
    "no batch": ((X[0],), {}),
    "two batch axes": ((X[None],), {}),
    "features": ((X,), {"qkv_features": 12, "out_features": 3}),
    "one head": ((X,), {"num_heads": 1}),
    "without bias": ((X,), {"use_bias": False}),
    "initializers": (
        (X,),
        {
            "kernel_init": jax.nn.initializers.orthogonal(),
            "bias_init": jax.nn.initializers.normal(),
        },
    ),
    "initializers of the output": (
        (X,),
        {
            "out_kernel_init": jax.nn.initializers.zeros,
            "out_bias_init": jax.nn.initializers.normal(),
        },
    ),
    "highest precision": ((X,), {"precision": "highest"}),
    "own dot_generals": ((X,), {"qkv_dot_general": doubled, "out_dot_general": doubled}),
    "own dot_general classes": (
        (X,),
        {"qkv_dot_general_cls": lambda: doubled, "out_dot_general_cls": lambda: doubled},
    ),
    "own einsum classes": (
        (X,),
        {
            "qk_attn_weights_einsum_cls": lambda: doubled_einsum,
            "attn_weights_value_einsum_cls": lambda: jnp.einsum,
        },
    ),
    "own attention_fn": ((X,), {"attention_fn": uniform}),
    "own attention_fn of other arguments": (
        (X,),
        {"attention_fn": uniform_with_all, "dropout_rate": 0.5, "deterministic": True},
    ),
    "dropout, deterministic": ((X,), {"dropout_rate": 0.5, "deterministic": True}),
    "named": ((X,), {"name": "attention"}),
}
ATTENTION += [
    Case(name=f"attention layer, {name}", build=attended(**options), args=args, **FUSED)
    for name, (args, options) in LAYERS.items()
]
ATTENTION += [
    Case(name=f"attention layer, {name}", build=attended(**options), args=(x,), **HALF_FUSED)
    for name, x, options in [
        ("bfloat16 arithmetic", X, {"dtype": BRAIN}),
        ("float16 arithmetic", X, {"dtype": HALF}),
        ("bfloat16 parameters", X.astype(BRAIN), {"param_dtype": BRAIN}),
        ("float16 parameters", X, {"param_dtype": HALF}),
        ("float32 softmax", X, {"dtype": BRAIN, "force_fp32_for_softmax": True}),
        ("on integers", integers(2, 5, 8, below=3), {}),
    ]
]
ATTENTION += [
    Case(
        name="attention layer, float64 parameters",
        build=attended(param_dtype=jnp.float64),
        args=(X,),
        x64=True,
        **FUSED,
    ),
    Case(
        name="attention layer, normalised",
        build=attended(normalize_qk=True),
        args=(X, CONTEXT),
        **NORMALIZED,
    ),
    Case(
        name="attention layer, mask",
        build=attended(),
        args=(X, CONTEXT),
        kwargs={"mask": MASK},
        **FUSED,
    ),
    Case(
        name="attention layer, weights sown",
        build=attended(),
        args=(X, CONTEXT),
        kwargs={"mask": MASK, "sow_weights": True},
        mutable=["intermediates"],
        **FUSED,
    ),
    Case(
        name="attention layer, weights sown before dropout",
        build=attended(dropout_rate=0.5),
        args=(X,),
        kwargs={"deterministic": False, "sow_weights": True},
        mutable=["intermediates"],
        **KEYS,
        **FUSED,
    ),
    Case(
        name="attention layer, dropout",
        build=attended(dropout_rate=0.3, deterministic=False),
        args=(X,),
        **KEYS,
        **FUSED,
    ),
    Case(
        name="attention layer, dropout of each weight",
        build=attended(dropout_rate=0.3, broadcast_dropout=False),
        args=(X,),
        kwargs={"deterministic": False},
        **KEYS,
        **FUSED,
    ),
    Case(
        name="attention layer, dropout with a key",
        build=attended(dropout_rate=0.3),
        args=(X,),
        kwargs={"deterministic": False, "dropout_rng": jax.random.key(11)},
        **FUSED,
    ),
    Case(
        name="attention layer, raw keys",
        build=attended(dropout_rate=0.3, deterministic=False),
        args=(X,),
        key=jax.random.PRNGKey,
        **KEYS,
        **FUSED,
    ),
    Case(
        name="attention layer over a mapped batch",
        build=attended(),
        args=(X,),
        around=lambda call: jax.vmap(call, in_axes=(None, 0)),
        **FUSED,
    ),
]


@ATTENTION.module(name="attention layer, operators with parameters", args=(X,), **FUSED)
def operators_with_parameters(nn):
    make = TwiceEinsum(nn)
    return nn.MultiHeadDotProductAttention(
        2, qk_attn_weights_einsum_cls=make, attn_weights_value_einsum_cls=make
    )


@ATTENTION.module(name="attention layer, deprecated names", args=(X, CONTEXT), **FUSED)
def deprecated_names(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, context):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                x = x + nn.MultiHeadAttention(2)(x, inputs_kv=context)
                x = x + nn.SelfAttention(4)(x, CAUSAL)
                return nn.SelfAttention(2, dropout_rate=0.5)(x, deterministic=True)

    return Model()


def decoding(length: int, **options: Any) -> Callable[[Any], Any]:
    """Returns a builder of a layer that makes a cache, and then decodes some tokens."""

    def build(nn: Any) -> Any:
        class Decoder(nn.Module):
            @nn.compact
            def __call__(self, x, mask=None):
                attention = nn.MultiHeadDotProductAttention(2, decode=True, **options)
                if self.is_initializing():
                    return attention(x)
                steps = [attention(x[..., i : i + 1, :], mask=mask) for i in range(length)]
                return jnp.concatenate(steps, -2)

        return Decoder()

    return build


ATTENTION += [
    Case(
        name=f"attention layer decodes {name}",
        build=decoding(length, **options),
        args=args,
        mutable=["cache"],
        **FUSED if "dtype" not in options else HALF_FUSED,
    )
    for name, length, args, options in [
        ("one token", 1, (X,), {}),
        ("all tokens", 5, (X,), {}),
        ("without batch", 3, (X[0],), {}),
        ("two batch axes", 2, (X[None],), {}),
        ("with a mask", 3, (X, booleans(2, 1, 1, 5)), {}),
        ("in bfloat16", 3, (X,), {"dtype": BRAIN}),
    ]
]
