"""Cases of the normalising layers beyond BatchNorm and LayerNorm."""

from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, booleans, integers, normal
from .layer_cases import ABOUT_THE_MEAN, FUSED, constructed

NORMS = Table()

WIDE = normal(3, 7, 32)
IMAGE = normal(2, 6, 5, 8)
VECTOR = normal(8)
ROWS = normal(5, 8)
HALF = jnp.float16
BRAIN = jnp.bfloat16
OWN = {"scale_init": jax.nn.initializers.normal(1.0)}
OWN_BOTH = {**OWN, "bias_init": jax.nn.initializers.normal(1.0)}

FEW = {
    "eager_ulps": 64,
    "ulps": 64,
    "gradient_ulps": 256,
    "reason": "groups of few values, whose variance the peer takes as a difference of squares",
}
ROUNDED = {
    "eager_ulps": 2**16,
    "gradient_ulps": 2**16,
    "reason": "XLA leaves out some roundings to 16 bits where it fuses; one ulp of bfloat16",
}
SQUARED = {
    "eager_ulps": 4,
    "gradient_ulps": 2,
    "reason": "fused when it runs eagerly, and the gradient of a square is one product, not two",
}

RMS_NORM: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (WIDE, {}),
    "on a vector": (VECTOR, {}),
    "epsilon": (WIDE, {"epsilon": 0.1}),
    "without scale": (WIDE, {"use_scale": False}),
    "two reduction axes": (WIDE, {"reduction_axes": (1, 2)}),
    "reduction and feature axes": (WIDE, {"reduction_axes": (-2, -1), "feature_axes": (-2, -1)}),
    "plain variance": (WIDE, {"use_fast_variance": False}),
    "bfloat16 arithmetic": (WIDE, {"dtype": BRAIN}),
    "float16 parameters": (WIDE, {"param_dtype": HALF}),
    "float16 reductions": (WIDE.astype(HALF), {"force_float32_reductions": False}),
    "bfloat16 input": (WIDE.astype(BRAIN), {}),
    "integer input": (integers(3, 32, below=9), {}),
    "normal scale": (WIDE, OWN),
}
NORMS += [
    Case(name=f"RMSNorm, {name}", build=constructed("RMSNorm", **options), args=(x,), **FUSED)
    for name, (x, options) in RMS_NORM.items()
]
NORMS += [
    Case(
        name="RMSNorm, mask",
        build=constructed("RMSNorm"),
        args=(WIDE,),
        kwargs={"mask": booleans(3, 7, 32)},
        **FUSED,
    ),
]

GROUP_NORM: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (WIDE, {"num_groups": 32}),
    "default groups": (normal(2, 3, 64), {}),
    "two groups": (IMAGE, {"num_groups": 2}),
    "one group": (IMAGE, {"num_groups": 1}),
    "group size": (IMAGE, {"num_groups": None, "group_size": 2}),
    "on a vector": (VECTOR, {"num_groups": 2}),
    "on a matrix": (ROWS, {"num_groups": 2}),
    "reduction axes": (IMAGE, {"num_groups": 2, "reduction_axes": (-1,)}),
    "over the batch": (IMAGE, {"num_groups": 2, "reduction_axes": (0, 1, 2, 3)}),
    "epsilon": (IMAGE, {"num_groups": 2, "epsilon": 0.1}),
    "neither scale nor bias": (IMAGE, {"num_groups": 2, "use_bias": False, "use_scale": False}),
    "plain variance": (IMAGE, {"num_groups": 2, "use_fast_variance": False}),
    "bfloat16 arithmetic": (IMAGE, {"num_groups": 2, "dtype": BRAIN}),
    "float16 parameters": (IMAGE, {"num_groups": 2, "param_dtype": HALF}),
    "bfloat16 input": (IMAGE.astype(BRAIN), {"num_groups": 2}),
    "normal scale and bias": (IMAGE, {"num_groups": 2, **OWN_BOTH}),
}
NORMS += [
    Case(
        name=f"GroupNorm, {name}",
        build=constructed("GroupNorm", **options),
        args=(x,),
        **(FEW if name in ("on a matrix", "reduction axes") else ABOUT_THE_MEAN),
    )
    for name, (x, options) in GROUP_NORM.items()
]

INSTANCE_NORM: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (IMAGE, {}),
    "on a sequence": (WIDE, {}),
    "two feature axes": (IMAGE, {"feature_axes": (1, -1)}),
    "epsilon": (IMAGE, {"epsilon": 0.1}),
    "neither scale nor bias": (IMAGE, {"use_bias": False, "use_scale": False}),
    "plain variance": (IMAGE, {"use_fast_variance": False}),
    "bfloat16 arithmetic": (IMAGE, {"dtype": BRAIN}),
    "float16 parameters": (IMAGE, {"param_dtype": HALF}),
    "normal scale and bias": (IMAGE, OWN_BOTH),
}
NORMS += [
    Case(
        name=f"InstanceNorm, {name}",
        build=constructed("InstanceNorm", **options),
        args=(x,),
        **ABOUT_THE_MEAN,
    )
    for name, (x, options) in INSTANCE_NORM.items()
]
NORMS += [
    Case(
        name=f"{layer}, mask",
        build=constructed(layer, **options),
        args=(IMAGE,),
        kwargs={"mask": booleans(*IMAGE.shape)},
        **ABOUT_THE_MEAN,
    )
    for layer, options in {"GroupNorm": {"num_groups": 2}, "InstanceNorm": {}}.items()
]


@NORMS.module(
    args=(IMAGE,),
    around=lambda call: jax.vmap(call, in_axes=(None, 2), out_axes=2, axis_name="shards"),
    **ABOUT_THE_MEAN | {"gradient_ulps": 64},
)
def norms_over_a_mapped_axis(nn):
    class Normalize(nn.Module):
        @nn.compact
        def __call__(self, x):
            name = None if self.is_initializing() else "shards"
            x = nn.GroupNorm(2, axis_name=name)(nn.InstanceNorm(axis_name=name)(x))
            return nn.RMSNorm()(x)

    return Normalize()


def wrapped(wrapper: str, layer: str, *args: Any, inner: Any = None, **kwargs: Any) -> Any:
    """Returns a builder of a layer in a wrapper."""
    return lambda nn: getattr(nn, wrapper)(getattr(nn, layer)(*args, **(inner or {})), **kwargs)


KERNELS = {"Dense": (4,), "Conv": (4, (3,)), "Embed": (6, 4)}
WRAPPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("Dense", {}),
    "of Conv": ("Conv", {}),
    "epsilon": ("Dense", {"epsilon": 0.1}),
    "bfloat16": ("Dense", {"dtype": BRAIN}),
    "float16 variables": ("Dense", {"param_dtype": HALF}),
    "bfloat16 parameters": ("Dense", {"inner": {"param_dtype": BRAIN}}),
}
SPECTRAL_NORM = WRAPPERS | {
    "three steps": ("Dense", {"n_steps": 3}),
    "no steps": ("Dense", {"n_steps": 0}),
    "error_on_non_matrix": ("Dense", {"error_on_non_matrix": True}),
    "collection": ("Dense", {"collection_name": "spectral"}),
}
WEIGHT_NORM = WRAPPERS | {
    "without scale": ("Dense", {"use_scale": False}),
    "normal scale": ("Dense", {"scale_init": jax.nn.initializers.normal()}),
    "one scale": ("Conv", {"feature_axes": None}),
    "two feature axes": ("Conv", {"feature_axes": (-1, 0)}),
    "first feature axis": ("Dense", {"feature_axes": 0}),
    "all variables": ("Dense", {"variable_filter": None}),
    "no filter": ("Dense", {"variable_filter": set()}),
    "bias alone": ("Dense", {"variable_filter": ["bias"]}),
}
NORMS += [
    Case(
        name=f"SpectralNorm, {name}, {'training' if training else 'inference'}",
        build=wrapped("SpectralNorm", layer, *KERNELS[layer], **options),
        args=(ROWS,),
        kwargs={"update_stats": training},
        mutable=["batch_stats", "spectral"] if training else False,
        **FUSED,
    )
    for name, (layer, options) in SPECTRAL_NORM.items()
    for training in (True, False)
]
NORMS += [
    Case(
        name=f"WeightNorm, {name}",
        build=wrapped("WeightNorm", layer, *KERNELS[layer], **options),
        args=(ROWS,),
        **(ROUNDED if name == "bfloat16" else SQUARED),
    )
    for name, (layer, options) in WEIGHT_NORM.items()
]
NORMS += [
    Case(
        name=f"{wrapper}, mutable parameters",
        build=wrapped(wrapper, "Dense", 4),
        args=(ROWS,),
        kwargs=kwargs,
        mutable=True,
        ulps=2,
        **SQUARED,
    )
    for wrapper, kwargs in {"SpectralNorm": {"update_stats": True}, "WeightNorm": {}}.items()
]


@NORMS.module(args=(ROWS,), mutable=["batch_stats"], **SQUARED)
def spectral_norm_of_shared_layers(nn):
    class Model(nn.Module):
        def setup(self):
            self.inner = nn.Dense(8)
            self.first = nn.SpectralNorm(self.inner)
            self.second = nn.SpectralNorm(self.inner)

        def __call__(self, x):
            x = self.first(self.inner(x), update_stats=True)
            return self.second(self.first(x, update_stats=True), update_stats=True)

    return Model()


@NORMS.module(args=(ROWS,), **SQUARED)
def weight_norm_of_shared_layers(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = nn.Dense(8, name="inner")
            x = nn.WeightNorm(inner, variable_filter={"inner/kernel"})(x)
            return nn.WeightNorm(inner, name="again")(nn.WeightNorm(nn.Dense(8))(x))

    return Model()


@NORMS.module(args=(ROWS,), mutable=["batch_stats"], **SQUARED)
def norms_of_a_whole_model(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(6)(x)))

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.SpectralNorm(Model())(x, update_stats=True) + nn.WeightNorm(Model())(x)

    return Outer()
