"""Cases of linear maps, transposed and local convolutions, and layers of layers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .case import Case, Table, booleans, integers, normal

LINEAR = Table()

TENSOR = normal(2, 3, 4, 5)
SEQUENCE = normal(2, 7, 4)
IMAGE = normal(2, 6, 5, 4)
VOLUME = normal(1, 4, 3, 2, 4)
HALF = jnp.float16
BRAIN = jnp.bfloat16


# Without jit the peer rounds the products before it adds the bias.
FUSED = {"eager_ulps": 1, "reason": "fused when it runs eagerly"}


def constructed(layer: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Returns a builder of one layer."""
    return lambda nn: getattr(nn, layer)(*args, **kwargs)


def doubled(*args, **kwargs):
    """Returns twice a matrix product."""
    return 2 * lax.dot_general(*args, **kwargs)


def promote_to_half(*arrays, dtype=None, inexact=True):
    """Casts everything to float16 whatever is asked for."""
    return [None if array is None else jnp.asarray(array, HALF) for array in arrays]


NORMAL_BIAS = {"bias_init": jax.nn.initializers.normal()}

DENSE_GENERAL: dict[str, dict[str, Any]] = {
    "plain": {},
    "several features": {"features": (6, 2)},
    "features in a list": {"features": [6, 2]},
    "two axes": {"axis": (-2, -1)},
    "axes in another order": {"axis": (3, 1)},
    "axes in a list": {"axis": [-1, 1]},
    "first axis": {"axis": 0},
    "all axes": {"axis": (0, 1, 2, 3)},
    "no axis": {"axis": ()},
    "batch": {"batch_dims": (0,), "axis": (1, 3), "features": (6, 2)},
    "integer batch": {"batch_dims": 0},
    "two batch axes": {"batch_dims": (1, 0), "features": [6]},
    "without bias": {"use_bias": False},
    "normal bias": NORMAL_BIAS | {"features": (6, 2)},
    "normal bias of a batch": NORMAL_BIAS | {"features": (6, 2), "batch_dims": (0, 1)},
    "kernel and bias of own functions": {
        "features": (6, 2),
        "kernel_init": lambda key, shape, dtype: jax.random.normal(key, shape, dtype) * shape[0],
        "bias_init": lambda key, shape, dtype: jnp.arange(shape[0], dtype=dtype),
    },
    "initializers of jax.nn": {
        "features": (6, 2),
        "axis": (1, 2),
        "kernel_init": jax.nn.initializers.orthogonal(),
        "bias_init": jax.nn.initializers.ones,
    },
    "bfloat16 arithmetic": {"dtype": BRAIN},
    "float16 parameters": {"param_dtype": HALF, "features": (6, 2)},
    "highest precision": {"precision": "highest"},
    "custom dot_general": {"dot_general": doubled},
    "custom dot_general_cls": {"dot_general_cls": lambda: doubled},
    "custom promote_dtype": {"promote_dtype": promote_to_half},
}
LINEAR += [
    Case(
        name=f"DenseGeneral, {name}",
        build=constructed("DenseGeneral", **{"features": 6} | options),
        args=(TENSOR,),
    )
    for name, options in DENSE_GENERAL.items()
]
LINEAR += [
    Case(
        name="DenseGeneral of a vector",
        build=constructed("DenseGeneral", (2, 3)),
        args=(TENSOR[0, 0, 0],),
    ),
    Case(
        name="DenseGeneral of integers",
        build=constructed("DenseGeneral", (2, 3)),
        args=(integers(2, 3, below=9),),
    ),
]

EINSUM: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "plain": ((4, 5), "abc,cd->abd", {}),
    "spaces": ((4, 5), " a b c , c d -> a b d", {}),
    "ellipsis": ((4, 5), "...c,cd->...d", {}),
    "ellipsis in the middle": ((2, 5), "c...,cd->d...", {}),
    "ellipsis in the kernel": ((4, 5, 6), "abc,c...->ab...", {}),
    "ellipsis in both": ((7, 4, 5), "...c,...cd->...d", {}),
    "ellipsis of one": ((1, 4, 5), "...c,...cd->...d", {}),
    "ellipsis of the kernel alone": ((6, 4, 5), "abc,...cd->...abd", {}),
    "outputs in between": ((4, 5, 6), "abc,cde->aebd", {}),
    "outputs in front": ((4, 5), "abc,cd->dab", {}),
    "batch": ((2, 4, 5), "abc,acd->abd", {}),
    "nothing left of the kernel": ((4, 5), "abc,cd->ab", {}),
    "a scalar": ((7, 4), "abc,bc->", {}),
    "outer product": ((5,), "abc,d->abcd", {"kernel_init": jax.nn.initializers.normal()}),
    "elementwise": ((4,), "abc,c->abc", {"kernel_init": jax.nn.initializers.normal()}),
    "without bias": ((4, 5), "abc,cd->abd", {"use_bias": False}),
    "shape in a list": ([4, 5], "abc,cd->abd", {}),  # type: ignore[dict-item]
    "bfloat16 arithmetic": ((4, 5), "abc,cd->abd", {"dtype": BRAIN}),
    "sums in float32": (
        (4, 5),
        "abc,cd->abd",
        {"dtype": BRAIN, "preferred_element_type": jnp.float32},
    ),
    "float16 parameters": ((4, 5), "abc,cd->abd", {"param_dtype": HALF}),
    "highest precision": ((4, 5), "abc,cd->abd", {"precision": lax.Precision.HIGHEST}),
    "custom promote_dtype": ((4, 5), "abc,cd->abd", {"promote_dtype": promote_to_half}),
}
LINEAR += [
    Case(
        name=f"Einsum, {name}",
        build=constructed("Einsum", shape, text, **NORMAL_BIAS | options),
        args=(SEQUENCE,),
        **(FUSED if name in ("outer product", "elementwise") else {}),
    )
    for name, (shape, text, options) in EINSUM.items()
]
LINEAR += [
    Case(
        name="Einsum, equation at the call",
        build=constructed("Einsum", (4, 5)),
        args=(SEQUENCE,),
        kwargs={"einsum_str": "abc,cd->abd"},
    ),
    Case(
        name="Einsum of integers",
        build=constructed("Einsum", (3, 5), "ab,bc->ac"),
        args=(integers(2, 3, below=9),),
    ),
]

# The other paddings and dilations of Conv are among the first layers.
LINEAR += [
    Case(
        name=f"Conv, {name}",
        build=constructed("Conv", **{"features": 6, "kernel_size": (3, 2)} | options),
        args=(x,),
    )
    for name, x, options in [
        ("SAME_LOWER", IMAGE, {"padding": "SAME_LOWER"}),
        ("SAME_LOWER, strided", IMAGE, {"padding": "SAME_LOWER", "strides": 2}),
        ("lower case", IMAGE, {"padding": "same"}),
        ("CIRCULAR, strided", IMAGE, {"padding": "CIRCULAR", "strides": (2, 1)}),
        (
            "CIRCULAR, larger than the input",
            SEQUENCE[:, :2],
            {"kernel_size": 5, "padding": "CIRCULAR"},
        ),
        ("REFLECT, dilated", IMAGE, {"padding": "REFLECT", "kernel_dilation": 2}),
        ("CAUSAL, strided", SEQUENCE, {"kernel_size": 3, "padding": "CAUSAL", "strides": 2}),
        ("CAUSAL without batch", SEQUENCE[0], {"kernel_size": 3, "padding": "CAUSAL"}),
        ("negative padding", IMAGE, {"padding": ((-1, 0), (1, -1))}),
        ("both dilations", IMAGE, {"input_dilation": (2, 1), "kernel_dilation": 2, "padding": 3}),
        ("dilations None", IMAGE, {"input_dilation": None, "kernel_dilation": None}),
        ("groups and mask", IMAGE, {"feature_group_count": 2, "mask": booleans(3, 2, 2, 6)}),
        ("volume of three batch dimensions", VOLUME[None, None], {"kernel_size": (2, 2, 2)}),
    ]
]

CONV_TRANSPOSE: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (IMAGE, {}),
    "strides": (IMAGE, {"strides": (2, 3)}),
    "integer strides": (IMAGE, {"strides": 2}),
    "integer kernel_size": (SEQUENCE, {"kernel_size": 3, "strides": (2,)}),
    "three dimensions": (VOLUME, {"kernel_size": (2, 3, 2), "strides": (2, 1, 2)}),
    "without batch": (IMAGE[0], {"strides": (2, 1)}),
    "two batch dimensions": (IMAGE[None], {"strides": (2, 1)}),
    "VALID": (IMAGE, {"padding": "VALID", "strides": (2, 1)}),
    "SAME_LOWER": (IMAGE, {"padding": "SAME_LOWER"}),
    "integer padding": (IMAGE, {"padding": 1, "strides": (2, 2)}),
    "padding by axis": (IMAGE, {"padding": (1, 2), "strides": (2, 2)}),
    "padding by side": (IMAGE, {"padding": ((1, 0), (0, 2)), "strides": (2, 2)}),
    "kernel dilation": (IMAGE, {"kernel_dilation": (2, 1), "strides": (2, 1)}),
    "kernel dilation, VALID": (IMAGE, {"kernel_dilation": 2, "padding": "VALID"}),
    "CIRCULAR": (IMAGE, {"padding": "CIRCULAR"}),
    "CIRCULAR, strides": (IMAGE, {"padding": "CIRCULAR", "strides": (2, 2)}),
    "CIRCULAR, even window": (IMAGE, {"padding": "CIRCULAR", "kernel_size": (4, 6)}),
    "CIRCULAR, transposed": (
        IMAGE,
        {"padding": "CIRCULAR", "kernel_size": (4, 5), "strides": (2, 1), "transpose_kernel": True},
    ),
    "CIRCULAR, dilated": (IMAGE, {"padding": "CIRCULAR", "kernel_dilation": 2, "strides": (1, 2)}),
    "CIRCULAR without batch": (SEQUENCE[0], {"padding": "CIRCULAR", "kernel_size": 4}),
    "CIRCULAR, three dimensions": (VOLUME, {"padding": "CIRCULAR", "kernel_size": (3, 2, 2)}),
    "transposed": (IMAGE, {"transpose_kernel": True}),
    "transposed, strides": (IMAGE, {"transpose_kernel": True, "strides": (2, 3)}),
    "transposed, VALID": (IMAGE, {"transpose_kernel": True, "padding": "VALID"}),
    "mask": (IMAGE, {"mask": booleans(3, 2, 4, 5)}),
    "mask, transposed": (IMAGE, {"mask": booleans(3, 2, 5, 4), "transpose_kernel": True}),
    "without bias": (IMAGE, {"use_bias": False}),
    "normal bias": (IMAGE, NORMAL_BIAS),
    "bfloat16 arithmetic": (IMAGE, {"dtype": BRAIN}),
    "sums in float32": (IMAGE, {"dtype": BRAIN, "preferred_element_type": jnp.float32}),
    "float16 parameters": (IMAGE, {"param_dtype": HALF}),
    "integer input": (integers(2, 6, 5, 4, below=9), {}),
    "highest precision": (IMAGE, {"precision": "highest"}),
    "custom promote_dtype": (IMAGE, {"promote_dtype": promote_to_half}),
}
LINEAR += [
    Case(
        name=f"ConvTranspose, {name}",
        build=constructed("ConvTranspose", **{"features": 5, "kernel_size": (3, 2)} | options),
        args=(x,),
    )
    for name, (x, options) in CONV_TRANSPOSE.items()
]

CONV_LOCAL: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (IMAGE, {}),
    "strides": (IMAGE, {"strides": (2, 3)}),
    "integer strides": (IMAGE, {"strides": 2}),
    "integer kernel_size": (SEQUENCE, {"kernel_size": 3}),
    "three dimensions": (VOLUME, {"kernel_size": (2, 3, 2)}),
    "without batch": (IMAGE[0], {}),
    "two batch dimensions": (IMAGE[None], {}),
    "VALID": (IMAGE, {"padding": "VALID", "strides": (2, 1)}),
    "SAME_LOWER": (IMAGE, {"padding": "SAME_LOWER"}),
    "CIRCULAR": (IMAGE, {"padding": "CIRCULAR", "kernel_dilation": 2}),
    "REFLECT": (IMAGE, {"padding": "REFLECT", "strides": 2}),
    "CAUSAL": (SEQUENCE, {"kernel_size": 3, "padding": "CAUSAL", "kernel_dilation": 2}),
    "integer padding": (IMAGE, {"padding": 1}),
    "padding by side": (IMAGE, {"padding": ((1, 0), (0, 2))}),
    "both dilations": (IMAGE, {"input_dilation": (2, 1), "kernel_dilation": 2, "padding": 2}),
    "no place for the window": (
        IMAGE,
        {"kernel_size": (9, 2), "padding": "VALID", "kernel_init": jax.nn.initializers.normal()},
    ),
    "mask": (IMAGE, {"mask": booleans(6, 5, 24, 5)}),
    "without bias": (IMAGE, {"use_bias": False}),
    "normal bias": (IMAGE, NORMAL_BIAS),
    "bfloat16 arithmetic": (IMAGE, {"dtype": BRAIN}),
    "float16 parameters": (IMAGE, {"param_dtype": HALF}),
    "highest precision": (IMAGE, {"precision": "highest"}),
    "custom promote_dtype": (IMAGE, {"promote_dtype": promote_to_half}),
}
LINEAR += [
    Case(
        name=f"ConvLocal, {name}",
        build=constructed("ConvLocal", **{"features": 5, "kernel_size": (3, 2)} | options),
        args=(x,),
    )
    for name, (x, options) in CONV_LOCAL.items()
]

LINEAR += [
    Case(name=f"PReLU, {name}", build=constructed("PReLU", **options), args=(x,))
    for name, options, x in [
        ("plain", {}, SEQUENCE),
        ("slope", {"negative_slope_init": 0.3}, SEQUENCE),
        ("bfloat16 parameter", {"param_dtype": BRAIN}, SEQUENCE),
        ("bfloat16 input", {}, SEQUENCE.astype(BRAIN)),
        ("scalar", {}, jnp.float32(-2.0)),
    ]
]


@LINEAR.module(args=(SEQUENCE,))
def sequential(nn):
    return nn.Sequential([nn.Dense(5), nn.relu, nn.Dense(3)])


@LINEAR.module(args=(SEQUENCE,))
def sequential_in_a_tuple_with_names_and_sharing(nn):
    shared = nn.Dense(4)
    return nn.Sequential((shared, nn.Dense(4, name="named"), jnp.tanh, shared))


@LINEAR.module(args=(SEQUENCE,))
def sequential_of_sequentials(nn):
    return nn.Sequential([nn.Sequential([nn.Dense(4), nn.Dense(3)]), nn.Sequential([jnp.sin])])


@LINEAR.module(args=(SEQUENCE, SEQUENCE + 1), kwargs={"scale": 2.0})
def sequential_passes_arguments_on(nn):
    class Add(nn.Module):
        @nn.compact
        def __call__(self, a, b, scale=1.0):
            return nn.Dense(3)(a) + scale * nn.Dense(3)(b)

    return nn.Sequential(
        [
            Add(),
            lambda x: (x, 2 * x),
            Add(),
            lambda x: {"a": x, "b": jnp.sin(x), "scale": 3.0},
            Add(),
            lambda x: [x, x],
        ]
    )


@LINEAR.module(args=(SEQUENCE,))
def sequential_in_a_model(nn):
    class Model(nn.Module):
        def setup(self):
            self.stem = nn.Sequential([nn.Dense(3), nn.relu])

        @nn.compact
        def __call__(self, x):
            head = nn.Sequential([nn.Dense(2), lambda x: nn.Dense(7)(x), nn.Dense(1)])
            return head(self.stem(x))

    return Model()


@LINEAR.module(args=(IMAGE,))
def batch_apply(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            merged = nn.BatchApply(nn.Dense(3))(x)
            both = nn.BatchApply(lambda x, scale, bias: {"sum": x * scale + bias["bias"]}, 3)
            return both(merged, 2.0, bias={"bias": merged + 1})

    return Model()
