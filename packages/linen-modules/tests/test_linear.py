"""Dense."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import InexactDtypeError, InputRankError
from linen_modules.linear import dense


def parameters(features: int = 4, dtype: Any = jnp.float32) -> dict[str, dict[str, jax.Array]]:
    kernel, bias = jax.random.normal(jax.random.key(0), (7, features), dtype)[:6], jnp.arange(4.0)
    return {"params": {"kernel": kernel, "bias": bias.astype(dtype)}}


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (0, 6)], ids=str)
def test_reference(shape: tuple[int, ...]) -> None:
    x, variables = np.random.default_rng(0).normal(size=shape), parameters()
    expected = x @ np.asarray(variables["params"]["kernel"], np.float64) + np.arange(4.0)
    y = nn.Dense(4).apply(variables, jnp.asarray(x))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


# inputs, parameters, dtype -> output
PROMOTION = [
    ("float32", "float32", None, "float32"),
    ("bfloat16", "float32", None, "float32"),
    ("bfloat16", "bfloat16", None, "bfloat16"),
    ("float16", "bfloat16", None, "float32"),
    ("float16", "float16", None, "float16"),
    ("int32", "float32", None, "float32"),
    ("int32", "bfloat16", None, "bfloat16"),
    ("complex64", "float32", None, "complex64"),
    ("float32", "float32", "bfloat16", "bfloat16"),
    ("bfloat16", "bfloat16", "float32", "float32"),
]


@pytest.mark.parametrize(("inputs", "stored", "dtype", "expected"), PROMOTION)
def test_promotion(inputs: str, stored: str, dtype: str | None, expected: str) -> None:
    layer = nn.Dense(4, param_dtype=stored, dtype=dtype)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6), inputs))
    assert y.dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(stored)}


@pytest.mark.parametrize(
    ("inputs", "expected"), [("float64", "float64"), ("float32", "float32"), ("int64", "float32")]
)
def test_promotion_x64(inputs: str, expected: str) -> None:
    with jax.enable_x64(True):
        y, _ = nn.Dense(4).init_with_output(jax.random.key(0), jnp.ones((2, 6), inputs))
        assert y.dtype == expected


def test_precision_reaches_the_product() -> None:
    jaxpr = jax.make_jaxpr(nn.Dense(4, precision="highest").apply)(parameters(), jnp.ones((2, 6)))
    assert "HIGHEST" in str(jaxpr)


def doubled(*args: Any, **kwargs: Any) -> jax.Array:
    return 2 * lax.dot_general(*args, **kwargs)


class Doubled(nn.Module):
    """An operator with a variable of its own."""

    @nn.compact
    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        factor = self.param("factor", nn.initializers.constant(2.0), ())
        return factor * lax.dot_general(*args, **kwargs)


@pytest.mark.parametrize(
    "fields",
    [
        {"dot_general": doubled},
        {"dot_general": functools.partial(doubled)},
        {"dot_general_cls": lambda: doubled},
        {"dot_general": lax.dot_general, "dot_general_cls": lambda: doubled},
    ],
    ids=["function", "partial", "class", "class takes precedence"],
)
def test_dot_general(fields: dict[str, Any]) -> None:
    x, variables = jnp.ones((2, 6)), parameters()
    expected = dense(x, 2 * variables["params"]["kernel"], variables["params"]["bias"])
    layer = nn.Dense(4, **fields)
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, rtol=1e-6)


def test_dot_general_with_variables() -> None:
    variables = nn.Dense(4, dot_general_cls=Doubled).init(jax.random.key(0), jnp.ones((2, 6)))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"kernel": (6, 4), "bias": (4,), "Doubled_0": {"factor": ()}}
    }


def test_promote_dtype() -> None:
    def to_half(*args: Any, dtype: Any = None, inexact: bool = True) -> list[Any]:
        assert dtype == jnp.float32
        assert inexact
        return [None if arg is None else arg.astype(jnp.float16) for arg in args]

    layer = nn.Dense(4, dtype=jnp.float32, use_bias=False, promote_dtype=to_half)
    assert layer.apply(parameters(), jnp.ones((2, 6))).dtype == jnp.float16


def test_scalar_input() -> None:
    with pytest.raises(
        InputRankError,
        match=r"Dense at /: found an input of shape \(\); expected an axis of features. Write",
    ):
        nn.Dense(4).init(jax.random.key(0), jnp.ones(()))


def test_integer_dtype() -> None:
    with pytest.raises(InexactDtypeError, match="dtype=int32: the computation needs"):
        nn.Dense(4, dtype=jnp.int32).init(jax.random.key(0), jnp.ones((2, 3)))
