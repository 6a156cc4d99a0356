"""Cases of pooling, of the activations and of the initializers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from .case import Case, Table, booleans, integers, normal
from .layer_cases import BRAIN, FUSED, HALF, IMAGE, SEQUENCE, VOLUME

FUNCTIONS = Table()


def called(function: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Returns a builder of a module that calls one function of `nn` on its input."""

    def build(nn: Any) -> Any:
        class Call(nn.Module):
            def __call__(self, x):
                return getattr(nn, function)(x, *args, **kwargs)

        return Call()

    return build


POOLS: dict[str, tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = {
    "max": ("max_pool", IMAGE, ((2, 2),), {}),
    "max, strides": ("max_pool", IMAGE, ((3, 2),), {"strides": (2, 1)}),
    "max, SAME": ("max_pool", IMAGE, ((3, 2),), {"strides": (2, 2), "padding": "SAME"}),
    "max, padding by side": ("max_pool", IMAGE, ((2, 2),), {"padding": ((0, 1), (1, 0))}),
    "max of a sequence": ("max_pool", SEQUENCE, ((3,),), {}),
    "max of a volume": ("max_pool", VOLUME, ((2, 2, 2),), {}),
    "max without batch": ("max_pool", IMAGE[0], ((2, 2),), {}),
    "max of integers": ("max_pool", integers(2, 6, 5, 4, below=9), ((2, 2),), {}),
    "average": ("avg_pool", IMAGE, ((2, 2),), {}),
    "average, SAME": ("avg_pool", IMAGE, ((3, 2),), {"strides": (2, 2), "padding": "SAME"}),
    "average, padding not counted": (
        "avg_pool",
        IMAGE,
        ((3, 2),),
        {"padding": "SAME", "count_include_pad": False},
    ),
    "average of bfloat16": ("avg_pool", IMAGE.astype(BRAIN), ((2, 2),), {}),
    "sum": ("pool", IMAGE, (0.0, lax.add, (2, 2), (1, 1), "VALID"), {}),
}
FUNCTIONS += [
    Case(name=f"pool, {name}", build=called(function, *args, **kwargs), args=(x,))
    for name, (function, x, args, kwargs) in POOLS.items()
]

ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{
        name: {}
        for name in (
            "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid "
            "log_softmax logsumexp normalize relu relu6 selu sigmoid silu soft_sign softmax "
            "softplus standardize swish tanh"
        ).split()
    },
    "celu, alpha": {"alpha": 0.5},
    "gelu, exact": {"approximate": False},
    "glu, axis": {"axis": 0},
    "leaky_relu, slope": {"negative_slope": 0.2},
    "log_softmax, axis": {"axis": 0},
    "softmax, where": {"where": booleans(4, 6)},
    "softmax, axes": {"axis": (0, 1)},
    "logsumexp, axis": {"axis": 0, "keepdims": True},
    "logsumexp, sign": {"b": normal(4, 6, seed=1), "return_sign": True},
    "standardize, epsilon": {"epsilon": 0.1, "axis": 0},
}
for name, options in ACTIVATIONS.items():
    FUNCTIONS.append(
        Case(
            name=f"activation, {name}",
            build=called(name.split(",")[0], **options),
            args=(normal(4, 6) * 3,),
            **FUSED,
        )
    )
FUNCTIONS += [
    Case(
        name=f"activation, {name} of {dtype.__name__}",
        build=called(name),
        args=(normal(4, 6, dtype=dtype),),
        **FUSED,
    )
    for name in ("gelu", "relu", "silu", "softmax")
    for dtype in (BRAIN, HALF)
]
FUNCTIONS += [
    Case(
        name="one_hot",
        build=called("one_hot", 7, dtype=BRAIN),
        args=(jnp.asarray([[0, 6], [9, 2]]),),
    ),
    Case(name="relu of integers", build=called("relu"), args=(integers(5, below=9) - 4,)),
]

INITIALIZERS = {
    "ones": ("ones", None),
    "zeros": ("zeros", None),
    "ones_init": ("ones_init", {}),
    "zeros_init": ("zeros_init", {}),
    "constant": ("constant", {"value": 1.5}),
    "delta_orthogonal": ("delta_orthogonal", {}),
    "glorot_normal": ("glorot_normal", {}),
    "glorot_uniform": ("glorot_uniform", {}),
    "he_normal": ("he_normal", {}),
    "he_uniform": ("he_uniform", {}),
    "kaiming_normal": ("kaiming_normal", {}),
    "kaiming_uniform": ("kaiming_uniform", {}),
    "lecun_normal": ("lecun_normal", {}),
    "lecun_uniform": ("lecun_uniform", {}),
    "normal": ("normal", {"stddev": 0.3}),
    "orthogonal": ("orthogonal", {"scale": 2.0}),
    "truncated_normal": ("truncated_normal", {"stddev": 0.3}),
    "uniform": ("uniform", {"scale": 0.3}),
    "variance_scaling": (
        "variance_scaling",
        {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform"},
    ),
    "xavier_normal": ("xavier_normal", {}),
    "xavier_uniform": ("xavier_uniform", {}),
}


def initialized(name: str, options: dict[str, Any] | None) -> Callable[[Any], Any]:
    """Returns a builder of a module with two parameters, the second in half precision."""
    half = jnp.float32 if "orthogonal" in name else BRAIN

    def build(nn: Any) -> Any:
        initializer = getattr(nn.initializers, name)
        initializer = initializer if options is None else initializer(**options)

        class Parameters(nn.Module):
            @nn.compact
            def __call__(self):
                single = self.param("single", initializer, (3, 4, 5))
                return single, self.param("half", initializer, (3, 4, 5), half)

        return Parameters()

    return build


FUNCTIONS += [
    Case(name=f"initializer, {name}", build=initialized(*which), args=())
    for name, which in INITIALIZERS.items()
]
