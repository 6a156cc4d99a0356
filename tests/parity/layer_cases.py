"""Cases of the layers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .case import Case, Table, booleans, integers, normal

LAYERS = Table()

BATCH = normal(8, 7, 4)
WIDE = normal(3, 7, 32)
VECTOR = normal(5)
SEQUENCE = normal(2, 7, 4)
IMAGE = normal(2, 6, 5, 4)
VOLUME = normal(1, 4, 4, 3, 2)
HALF = jnp.float16
BRAIN = jnp.bfloat16

# Without jit a layer is one compiled call, which XLA fuses; in the peer it is one per operation.
FUSED = {"eager_ulps": 4, "reason": "fused when it runs eagerly"}
ABOUT_THE_MEAN = {
    "eager_ulps": 8,
    "ulps": 8,
    "gradient_ulps": 16,
    "reason": "the variance is taken about the mean; the peer subtracts squares",
}


def constructed(layer: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Returns a builder of one layer."""
    return lambda nn: getattr(nn, layer)(*args, **kwargs)


def shifted_dot_general(lhs, rhs, dimension_numbers, **options):
    """Returns a matrix product plus one."""
    return lax.dot_general(lhs, rhs, dimension_numbers, **options) + 1


def promote_to_half(*arrays, dtype=None, inexact=True):
    """Casts everything to float16 whatever is asked for."""
    return [None if array is None else jnp.asarray(array, HALF) for array in arrays]


DENSE = {
    "plain": {},
    "without bias": {"use_bias": False},
    "one feature": {"features": 1},
    "bfloat16 arithmetic": {"dtype": BRAIN},
    "float16 arithmetic": {"dtype": HALF},
    "bfloat16 parameters": {"param_dtype": BRAIN},
    "float16 parameters, float32 arithmetic": {"param_dtype": HALF, "dtype": jnp.float32},
    "highest precision": {"precision": "highest"},
    "precision as a pair": {"precision": (lax.Precision.HIGH, lax.Precision.DEFAULT)},
    "orthogonal kernel": {"kernel_init": jax.nn.initializers.orthogonal()},
    "normal bias": {"bias_init": jax.nn.initializers.normal(0.3)},
    "custom dot_general": {"dot_general": shifted_dot_general},
    "custom dot_general_cls": {"dot_general_cls": lambda: shifted_dot_general},
    "custom promote_dtype": {"promote_dtype": promote_to_half},
    "named": {"name": "output"},
}
LAYERS += [
    Case(name=f"Dense, {name}", build=constructed("Dense", **{"features": 4} | options))
    for name, options in DENSE.items()
]
LAYERS += [
    Case(name=f"Dense on {name}", build=constructed("Dense", 4), args=(x,))
    for name, x in {
        "a vector": VECTOR,
        "a sequence": SEQUENCE,
        "no rows": jnp.zeros((0, 3)),
        "float16": normal(2, 3, dtype=HALF),
        "bfloat16": normal(2, 3, dtype=BRAIN),
        "integers": integers(2, 3, below=9),
        "booleans": booleans(2, 3),
    }.items()
]
LAYERS += [
    Case(
        name="Dense, float64 parameters",
        build=constructed("Dense", 4, param_dtype=jnp.float64),
        x64=True,
    ),
    Case(
        name="Dense, complex parameters",
        build=constructed("Dense", 4, param_dtype=jnp.complex64),
        gradients=False,
    ),
    Case(name="Dense, raw key", build=constructed("Dense", 4), key=jax.random.PRNGKey),
    Case(
        name="Dense, rbg key",
        build=constructed("Dense", 4),
        key=partial(jax.random.key, impl="rbg"),
    ),
]

CONV: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (IMAGE, {}),
    "integer kernel_size": (SEQUENCE, {"kernel_size": 3}),
    "one dimension": (SEQUENCE, {"kernel_size": (3,)}),
    "three dimensions": (VOLUME, {"kernel_size": (2, 3, 2)}),
    "pointwise": (IMAGE, {"kernel_size": (1, 1)}),
    "without batch": (IMAGE[0], {}),
    "two batch dimensions": (IMAGE[None], {}),
    "without bias": (IMAGE, {"use_bias": False}),
    "integer strides": (IMAGE, {"strides": 2}),
    "strides": (IMAGE, {"strides": (2, 1)}),
    "strides None": (IMAGE, {"strides": None}),
    "VALID": (IMAGE, {"padding": "VALID"}),
    "CIRCULAR": (IMAGE, {"padding": "CIRCULAR"}),
    "CIRCULAR, dilated": (IMAGE, {"padding": "CIRCULAR", "kernel_dilation": 2}),
    "REFLECT": (IMAGE, {"padding": "REFLECT"}),
    "CAUSAL": (SEQUENCE, {"kernel_size": (3,), "padding": "CAUSAL"}),
    "CAUSAL, dilated": (
        SEQUENCE,
        {"kernel_size": (3,), "padding": "CAUSAL", "kernel_dilation": 2},
    ),
    "integer padding": (IMAGE, {"padding": 2}),
    "padding by axis": (IMAGE, {"padding": (1, 2)}),
    "padding by side": (IMAGE, {"padding": ((1, 0), (0, 2))}),
    "padding in lists": (IMAGE, {"padding": [[1, 0], [0, 2]]}),
    "input dilation": (IMAGE, {"input_dilation": 2, "padding": 1}),
    "kernel dilation": (IMAGE, {"kernel_dilation": (1, 2)}),
    "depthwise": (IMAGE, {"feature_group_count": 4, "features": 8}),
    "two groups": (IMAGE, {"feature_group_count": 2, "features": 6}),
    "mask": (IMAGE, {"mask": booleans(3, 2, 4, 5)}),
    "bfloat16 arithmetic": (IMAGE, {"dtype": BRAIN}),
    "float16 parameters": (IMAGE, {"param_dtype": HALF}),
    "bfloat16 input": (IMAGE.astype(BRAIN), {}),
    "integer input": (integers(2, 6, 5, 4, below=9), {}),
    "highest precision": (IMAGE, {"precision": lax.Precision.HIGHEST}),
    "custom convolution": (
        IMAGE,
        {"conv_general_dilated": lambda *a, **k: 2 * lax.conv_general_dilated(*a, **k)},
    ),
    "custom convolution class": (
        IMAGE,
        {"conv_general_dilated_cls": lambda: lambda *a, **k: 2 * lax.conv_general_dilated(*a, **k)},
    ),
    "custom promote_dtype": (IMAGE, {"promote_dtype": promote_to_half}),
    "kernel_size as a list": (IMAGE, {"kernel_size": [3, 2]}),
    "normal bias": (IMAGE, {"bias_init": jax.nn.initializers.normal()}),
}
LAYERS += [
    Case(
        name=f"Conv, {name}",
        build=constructed("Conv", **{"features": 5, "kernel_size": (3, 2)} | options),
        args=(x,),
    )
    for name, (x, options) in CONV.items()
]

LAYERS += [
    Case(
        name=f"Embed, {name}",
        build=constructed("Embed", **{"num_embeddings": 6, "features": 4} | options),
        args=(tokens,),
        method=method,
    )
    for name, options, tokens, method in [
        ("plain", {}, integers(2, 3, below=6), None),
        ("a scalar token", {}, jnp.asarray(3), None),
        ("unsigned tokens", {}, integers(2, 3, below=6).astype(jnp.uint8), None),
        ("tokens out of range", {}, jnp.asarray([0, 7, -1]), None),
        ("one embedding", {"num_embeddings": 1}, integers(2, 3, below=1), None),
        ("bfloat16 arithmetic", {"dtype": BRAIN}, integers(2, 3, below=6), None),
        ("float16 parameters", {"param_dtype": HALF}, integers(2, 3, below=6), None),
        (
            "own initializer",
            {"embedding_init": jax.nn.initializers.uniform(2.0)},
            integers(2, 3, below=6),
            None,
        ),
        ("own promote_dtype", {"promote_dtype": promote_to_half}, integers(3, below=6), None),
        ("attend", {}, normal(2, 3, 4), "attend"),
        ("attend in bfloat16", {"dtype": BRAIN}, normal(2, 4), "attend"),
    ]
]

LAYER_NORM: dict[str, dict[str, Any]] = {
    "plain": {},
    "epsilon": {"epsilon": 0.1},
    "without bias": {"use_bias": False},
    "without scale": {"use_scale": False},
    "neither": {"use_bias": False, "use_scale": False},
    "two reduction axes": {"reduction_axes": (1, 2)},
    "reduction and feature axes": {"reduction_axes": (-2, -1), "feature_axes": (-2, -1)},
    "leading feature axis": {"reduction_axes": 1, "feature_axes": 1},
    "plain variance": {"use_fast_variance": False},
    "bfloat16 arithmetic": {"dtype": BRAIN},
    "float16 parameters": {"param_dtype": HALF},
    "normal scale and bias": {
        "scale_init": jax.nn.initializers.normal(),
        "bias_init": jax.nn.initializers.normal(),
    },
}
LAYERS += [
    Case(
        name=f"LayerNorm, {name}",
        build=constructed("LayerNorm", **options),
        args=(WIDE,),
        **ABOUT_THE_MEAN,
    )
    for name, options in LAYER_NORM.items()
]
LAYERS += [
    Case(
        name="LayerNorm, mask",
        build=constructed("LayerNorm"),
        args=(WIDE,),
        kwargs={"mask": booleans(3, 7, 32)},
        **ABOUT_THE_MEAN,
    ),
    Case(
        name="LayerNorm, float16 reductions",
        build=constructed("LayerNorm", force_float32_reductions=False),
        args=(WIDE.astype(HALF),),
        **dict.fromkeys(("ulps", "gradient_ulps", "eager_ulps"), 4 * 2**13),
        reason="four ulps of the statistics, which are float16; the result is float32",
    ),
    Case(
        name="LayerNorm on bfloat16",
        build=constructed("LayerNorm"),
        args=(WIDE.astype(BRAIN),),
        **ABOUT_THE_MEAN,
    ),
    Case(
        name="LayerNorm on a vector",
        build=constructed("LayerNorm"),
        args=(VECTOR,),
        **ABOUT_THE_MEAN,
    ),
]


@LAYERS.module(
    args=(WIDE,),
    around=lambda call: jax.vmap(call, in_axes=(None, 0), axis_name="shards"),
    **ABOUT_THE_MEAN,
)
def layer_norm_over_a_mapped_axis(nn):
    class Normalize(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.LayerNorm(axis_name=None if self.is_initializing() else "shards")(x)

    return Normalize()


TRAIN = {"use_running_average": False}
BATCH_NORM: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.5},
    "epsilon": {"epsilon": 0.1},
    "without bias": {"use_bias": False},
    "without scale": {"use_scale": False},
    "second axis": {"axis": 1},
    "two axes": {"axis": (1, -1)},
    "plain variance": {"use_fast_variance": False},
    "bfloat16 arithmetic": {"dtype": BRAIN},
    "float16 parameters": {"param_dtype": HALF},
    "float32 statistics off": {"force_float32_reductions": False, "dtype": HALF},
    "normal scale and bias": {
        "scale_init": jax.nn.initializers.normal(),
        "bias_init": jax.nn.initializers.normal(),
    },
}
for name, options in BATCH_NORM.items():
    LAYERS += [
        Case(
            name=f"BatchNorm trains, {name}",
            build=constructed("BatchNorm", **TRAIN | options),
            args=(BATCH,),
            **FUSED,
            mutable=["batch_stats"],
        ),
        Case(
            name=f"BatchNorm evaluates, {name}",
            build=constructed("BatchNorm", use_running_average=True, **options),
            args=(BATCH,),
            **FUSED,
        ),
    ]
LAYERS += [
    Case(
        name="BatchNorm, mode at the call",
        build=constructed("BatchNorm"),
        args=(IMAGE,),
        kwargs=TRAIN,
        mutable=["batch_stats"],
        **FUSED,
    ),
    Case(
        name="BatchNorm, mask",
        build=constructed("BatchNorm", **TRAIN),
        args=(IMAGE,),
        kwargs={"mask": booleans(2, 6, 5, 1)},
        mutable=["batch_stats"],
        **FUSED,
    ),
    Case(
        name="BatchNorm, statistics over a mapped axis",
        build=constructed("BatchNorm", axis_name="shards", **TRAIN),
        args=(IMAGE,),
        mutable=["batch_stats"],
        around=lambda call: jax.vmap(call, in_axes=(None, 0), axis_name="shards"),
        eager_ulps=4,
        ulps=4,
        gradient_ulps=16,
        reason="sums are added up and then divided, where the peer averages means",
    ),
    Case(
        name="BatchNorm on bfloat16",
        build=constructed("BatchNorm", **TRAIN),
        args=(IMAGE.astype(BRAIN),),
        mutable=["batch_stats"],
        **FUSED,
    ),
]

RANDOM = {"params": 0, "dropout": 1}
LAYERS += [
    Case(
        name=f"Dropout, {name}",
        build=constructed("Dropout", **{"rate": 0.5, "deterministic": False} | options),
        args=(normal(8, 9, dtype=dtype),),
        rngs=RANDOM,
        apply_rngs={"dropout": 5},
    )
    for name, options, dtype in [
        ("half", {}, jnp.float32),
        ("a tenth", {"rate": 0.1}, jnp.float32),
        ("nothing", {"rate": 0.0}, jnp.float32),
        ("everything", {"rate": 1.0}, jnp.float32),
        ("rows together", {"broadcast_dims": (1,)}, jnp.float32),
        ("columns together", {"broadcast_dims": (-2,)}, jnp.float32),
        ("deterministic", {"deterministic": True}, jnp.float32),
        ("bfloat16", {}, BRAIN),
        ("float16", {"rate": 0.3}, HALF),
    ]
]
LAYERS += [
    Case(
        name="Dropout, own stream",
        build=constructed("Dropout", 0.4, rng_collection="noise"),
        kwargs={"deterministic": False},
        rngs={"params": 0, "noise": 3},
        apply_rngs={"noise": 5},
    ),
    Case(
        name="Dropout, explicit key",
        build=constructed("Dropout", 0.4, deterministic=False),
        kwargs={"rng": jax.random.key(9)},
    ),
    Case(
        name="Dropout, raw keys",
        build=constructed("Dropout", 0.4, deterministic=False),
        rngs=RANDOM,
        apply_rngs={"dropout": 5},
        key=jax.random.PRNGKey,
    ),
]
