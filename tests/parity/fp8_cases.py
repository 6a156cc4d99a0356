"""Cases of products in 8 bits. What is differentiated is parameters, inputs, scales and histories."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal

FP8 = Table()

COLLECTION = "_overwrite_with_gradient"
OPERATORS = ("Fp8DirectDotGeneralOp", "Fp8DotGeneralOp", "NANOOFp8DotGeneralOp")
FUSED = {
    "eager_ulps": 4,
    "ulps": 2,
    "gradient_ulps": 2,
    "reason": "one cached function, which XLA fuses where the peer's operations are apart",
}
ROUNDED = {
    "eager_ulps": 2**16,
    "ulps": 2**16,
    "gradient_ulps": 2**16,
    "reason": "XLA leaves out some roundings to 16 bits where it fuses; one ulp of bfloat16",
}


def metas(seed: int, length: int = 4) -> dict[str, jax.Array]:
    """Returns scales and histories of one operator."""
    found = {}
    for number, name in enumerate(("input", "kernel", "output_grad")):
        history = jnp.abs(normal(length, seed=seed + number))
        found[f"{name}_amax_history"] = history
        found[f"{name}_scale"] = jnp.abs(normal(1, seed=seed + number + 7)) / 100
    return found


def quietly(make: Callable[..., Any], **options: Any) -> Any:
    """Makes an operator that the peer says is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(**options)


def as_input(call: Callable[..., Any]) -> Callable[..., Any]:
    """Takes scales and histories as an input, which is differentiated, and not as variables."""

    def wrapped(variables: Any, x: Any, stored: Any, *others: Any) -> Any:
        return call({**variables, COLLECTION: stored}, x, stored, *others)

    return wrapped


def layer_with(
    operator: str, layer: str, *sizes: Any, of_operator: Any = None, **options: Any
) -> Callable[[Any], Any]:
    """Returns a builder of a model with one layer that has an operator."""

    def build(nn: Any) -> Any:
        class Model(nn.Module):
            @nn.compact
            def __call__(self, x: Any, stored: Any) -> Any:
                chosen = {"amax_history_length": 4} | (of_operator or {})
                cls = partial(quietly, getattr(nn, operator), **chosen)
                return getattr(nn, layer)(*sizes, dot_general_cls=cls, **options)(x)

        return Model()

    return build


BRAIN = {"dtype": jnp.bfloat16}
LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (normal(5, 8), {}),
    "sequences": (normal(2, 3, 8), {}),
    "bfloat16": (normal(5, 8), BRAIN),
    "float16": (normal(5, 8), {"dtype": jnp.float16}),
    "bfloat16 parameters": (normal(5, 8, dtype=jnp.bfloat16), {"param_dtype": jnp.bfloat16}),
    "large values": (1e4 * normal(5, 8), {"use_bias": False}),
    "another dtype": (normal(5, 8), {"of_operator": {"e4m3_dtype": jnp.float8_e5m2}}),
}
FP8 += [
    Case(
        name=f"{operator}, Dense, {name}",
        build=layer_with(operator, "Dense", 6, **options),
        args=(x, {"Dense_0": {f"{operator}_0": metas(3)}}),
        around=as_input,
        **(ROUNDED if "float" in name else FUSED),
    )
    for operator in OPERATORS
    for name, (x, options) in LAYERS.items()
    # There the peer does not look at the dtype.
    if (operator, name) != ("Fp8DirectDotGeneralOp", "another dtype")
]
FP8 += [
    Case(
        name=f"{operator}, DenseGeneral, {name}",
        build=layer_with(operator, "DenseGeneral", **options),
        args=(normal(2, 3, 4, 5), {"DenseGeneral_0": {f"{operator}_0": metas(5)}}),
        around=as_input,
        **FUSED,
    )
    for operator in ("Fp8DirectDotGeneralOp", "Fp8DotGeneralOp")
    for name, options in {
        "two axes": {"features": (2, 3), "axis": (1, 3)},
        "axes in another order": {"features": 7, "axis": (3, 1)},
        "batch dimensions": {"features": 7, "axis": (-1, 1), "batch_dims": (0,)},
    }.items()
]
FP8 += [
    Case(
        name=f"{operator}, defaults",
        build=lambda nn, operator=operator: nn.Dense(
            4, dot_general_cls=partial(quietly, getattr(nn, operator))
        ),
        args=(normal(2, 8),),
        **FUSED,
    )
    for operator in (*OPERATORS, "Fp8DotGeneral")
]


def einsum_of(equation: str, **options: Any) -> Callable[[Any], Any]:
    """Returns a builder of a model that evaluates an equation."""

    def build(nn: Any) -> Any:
        class Model(nn.Module):
            @nn.compact
            def __call__(self, x: Any, stored: Any, y: Any) -> Any:
                return nn.Fp8Einsum(amax_history_length=4)(equation, x, y, **options)

        return Model()

    return build


EQUATIONS: dict[str, tuple[Any, Any]] = {
    "ab,bc->ac": (normal(2, 3), normal(3, 4)),
    "ab,bc->ca": (normal(2, 3), normal(3, 4)),
    "bc,ab->ac": (normal(3, 4), normal(2, 3)),
    "...qhd,...khd->...hqk": (normal(2, 3, 2, 4), normal(2, 5, 2, 4)),
    "...hqk,...khd->...qhd": (normal(2, 2, 3, 5), normal(2, 5, 2, 4)),
    "abc,ac->ab": (normal(2, 5, 8), normal(2, 8)),
    "ab,b->a": (normal(2, 3), normal(3)),
    "ab,cd->abcd": (normal(2, 3), normal(4, 5)),
    "ab,bc->c": (normal(2, 3), normal(3, 4)),
    "...a,ab->...b": (normal(7, 6, 2), normal(2, 3)),
    "...a,...ab->...b": (normal(6, 2), normal(1, 2, 3)),
    "...b , bc -> ...c": (normal(2, 5, 3), normal(3, 4)),
}
FP8 += [
    Case(
        name=f"Fp8Einsum, {equation}{name}",
        build=einsum_of(equation, **options),
        args=(x.astype(dtype), {"Fp8Einsum_0": metas(1)}, y.astype(dtype)),
        around=as_input,
        **(ROUNDED if "float" in name else FUSED),
    )
    for equation, (x, y) in EQUATIONS.items()
    for name, dtype, options in [
        ("", jnp.float32, {}),
        (" in bfloat16", jnp.bfloat16, {}),
    ]
]
