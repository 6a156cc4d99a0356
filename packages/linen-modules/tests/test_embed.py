"""Embed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import FeatureSizeError, InputDtypeError

TABLE = {"params": {"embedding": jnp.arange(15.0).reshape(5, 3)}}


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int16"])
@pytest.mark.parametrize("indices", [2, [0, 4], [[1, 2], [3, 3]], []], ids=str)
def test_look_up(indices: Any, dtype: str) -> None:
    y = nn.Embed(5, 3).apply(TABLE, jnp.array(indices, dtype))
    np.testing.assert_array_equal(y, np.arange(15.0).reshape(5, 3)[np.array(indices, dtype)])


def test_indices_from_the_end_and_outside() -> None:
    y = nn.Embed(5, 3).apply(TABLE, jnp.array([-1, 5]))
    np.testing.assert_array_equal(y, [[12.0, 13.0, 14.0], [np.nan] * 3])


def test_a_single_row_answers_every_index() -> None:
    layer = nn.Embed(1, 3)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.array([[0, 7]]))
    np.testing.assert_array_equal(y, variables["params"]["embedding"][jnp.array([[0, 0]])])


def test_attend() -> None:
    query = jax.random.normal(jax.random.key(0), (2, 4, 3))
    y = nn.Embed(5, 3).apply(TABLE, query, method="attend")
    expected = np.asarray(query) @ np.arange(15.0).reshape(5, 3).T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_rows_have_variance_one_over_features() -> None:
    table = nn.Embed(1000, 64).init(jax.random.key(0), jnp.array(0))["params"]["embedding"]
    assert float(jnp.std(table)) == pytest.approx(1 / 8, rel=0.02)


@pytest.mark.parametrize(
    ("stored", "dtype", "looked_up", "attended"),
    [
        ("float32", None, "float32", "float32"),
        ("bfloat16", None, "bfloat16", "float32"),
        ("float32", "bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_promotion(stored: str, dtype: str | None, looked_up: str, attended: str) -> None:
    layer = nn.Embed(5, 3, dtype=dtype, param_dtype=stored)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.array([1]))
    assert y.dtype == looked_up
    assert layer.apply(variables, jnp.ones(3), method="attend").dtype == attended


def test_promote_dtype() -> None:
    def half(*args: Any, dtype: Any = None, inexact: bool = True) -> list[Any]:
        return [arg.astype(jnp.float16) for arg in args]

    assert nn.Embed(5, 3, promote_dtype=half).apply(TABLE, jnp.array([1])).dtype == jnp.float16


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_inputs_that_are_no_integers(dtype: str) -> None:
    with pytest.raises(
        InputDtypeError,
        match=rf"Embed at /: found inputs of dtype {dtype}; expected integers, .* Write "
        r"inputs.astype\(jnp.int32\)",
    ):
        nn.Embed(5, 3).apply(TABLE, jnp.ones(2, dtype))


@pytest.mark.parametrize("shape", [(2, 4), ()], ids=str)
def test_query_without_the_features(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        FeatureSizeError, match=r"found a query of shape .* last axis to have features=3"
    ):
        nn.Embed(5, 3).apply(TABLE, jnp.ones(shape), method="attend")
