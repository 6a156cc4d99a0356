"""DenseGeneral."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import AxisError, InexactDtypeError

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)

# fields -> equation of input and kernel, shape of kernel, shape of bias, where the bias is broadcast
REFERENCES: dict[str, tuple[dict[str, Any], str, tuple[int, ...], tuple[int, ...]]] = {
    "last axis": ({}, "abcd,de->abce", (5, 6), (1, 1, 1, 6)),
    "several features": ({"features": (6, 7)}, "abcd,def->abcef", (5, 6, 7), (1, 1, 1, 6, 7)),
    "no features": ({"features": ()}, "abcd,d->abc", (5,), (1, 1, 1)),
    "several axes": ({"axis": (-1, 1)}, "abcd,bde->ace", (3, 5, 6), (1, 1, 6)),
    "all axes": ({"axis": range(4)}, "abcd,abcde->e", (2, 3, 4, 5, 6), (6,)),
    "no axis": ({"axis": ()}, "abcd,e->abcde", (6,), (1, 1, 1, 1, 6)),
    "batch": ({"batch_dims": 0}, "abcd,ade->abce", (2, 5, 6), (2, 1, 1, 6)),
    "batch, inner axis": (
        {"batch_dims": (0,), "axis": 2},
        "abcd,ace->abde",
        (2, 4, 6),
        (2, 1, 1, 6),
    ),
    "two batch axes": (
        {"batch_dims": (1, 0), "axis": [3], "features": [6, 7]},
        "abcd,abdef->abcef",
        (2, 3, 5, 6, 7),
        (2, 3, 1, 6, 7),
    ),
}


@pytest.mark.parametrize("case", REFERENCES.values(), ids=REFERENCES.keys())
def test_reference(case: Any) -> None:
    fields, equation, kernel_shape, bias_shape = case
    layer = nn.DenseGeneral(**{"features": 6, "bias_init": nn.initializers.normal()} | fields)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.asarray(X))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == kernel_shape
    expected = np.einsum(equation, X, np.asarray(kernel)) + np.asarray(bias).reshape(bias_shape)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def seen(shapes: list[Any], key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    shapes.append(shape)
    return jax.random.normal(key, shape, dtype)


def test_initializers_see_one_axis_of_inputs_and_one_of_outputs() -> None:
    shapes: list[Any] = []
    init: Any = functools.partial(seen, shapes)
    layer = nn.DenseGeneral((6, 7), (1, 2), batch_dims=(0,), kernel_init=init, bias_init=init)
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert shapes == [(2 * 3 * 4, 6 * 7), (2 * 6 * 7,)]
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "kernel": (2, 3, 4, 6, 7),
        "bias": (2, 6, 7),
    }


def test_values_are_those_of_dense() -> None:
    x, key = jnp.ones((2, 12)), jax.random.key(0)
    kernel = nn.Dense(6).init(key, x)["params"]["kernel"]
    general = nn.DenseGeneral((2, 3), (-2, -1)).init(key, x.reshape(2, 4, 3))["params"]["kernel"]
    np.testing.assert_array_equal(general.reshape(12, 6), kernel)


def test_boxes_name_the_axes_of_the_whole_kernel() -> None:
    names = ("embed", "heads", "features")
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), names)
    layer = nn.DenseGeneral((2, 3), kernel_init=kernel_init, use_bias=False)
    x = jnp.ones((2, 5))
    kernel = layer.init(jax.random.key(0), x)["params"]["kernel"]
    assert isinstance(kernel, nn.Partitioned)
    assert kernel.names == names
    plain = nn.DenseGeneral((2, 3)).init(jax.random.key(0), x)["params"]["kernel"]
    np.testing.assert_array_equal(kernel.value, plain)
    assert layer.apply({"params": {"kernel": kernel}}, x).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("inputs", "stored", "dtype", "expected"),
    [
        ("float32", "float32", None, "float32"),
        ("bfloat16", "float32", None, "float32"),
        ("bfloat16", "bfloat16", None, "bfloat16"),
        ("int32", "float32", None, "float32"),
        ("float32", "float32", "float16", "float16"),
    ],
)
def test_promotion(inputs: str, stored: str, dtype: str | None, expected: str) -> None:
    layer = nn.DenseGeneral((2, 3), param_dtype=stored, dtype=dtype)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6), inputs))
    assert y.dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(stored)}


def test_promotion_x64() -> None:
    with jax.enable_x64(True):
        layer = nn.DenseGeneral((2, 3), param_dtype=jnp.float64)
        y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6), jnp.float32))
        assert y.dtype == jnp.float64


def doubled(*args: Any, **kwargs: Any) -> jax.Array:
    return 2 * lax.dot_general(*args, **kwargs)


@pytest.mark.parametrize(
    "fields",
    [
        {"dot_general": doubled},
        {"dot_general_cls": lambda: doubled},
        {"promote_dtype": lambda x, k, b, dtype: nn.promote_dtype(2 * x, k, b, dtype=dtype)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_operators(fields: dict[str, Any]) -> None:
    x = jnp.asarray(X)
    y, variables = nn.DenseGeneral((2, 3)).init_with_output(jax.random.key(0), x)
    layer = nn.DenseGeneral((2, 3), **fields)
    np.testing.assert_allclose(layer.apply(variables, x), 2 * y, rtol=1e-6)


def test_precision_reaches_the_product() -> None:
    layer = nn.DenseGeneral((2, 3), precision="highest")
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(variables, jnp.asarray(X)))


ERRORS: dict[str, tuple[dict[str, Any], tuple[int, ...], str]] = {
    "no such axis": (
        {"axis": (1, 2)},
        (2, 3),
        r"DenseGeneral at /: found axis=\(1, 2\), batch_dims=\(\) and an input of shape \(2, 3\); "
        r"expected axes from -2 to 1. Write axis=-1",
    ),
    "negative axis": ({"axis": -3}, (2, 3), "found axis=-3, .* expected axes from -2 to 1"),
    "scalar": (
        {},
        (),
        r"found axis=-1, .* shape \(\); expected an array with axes. "
        r"Write .* inputs\[None\]",
    ),
    "too many batch axes": ({"batch_dims": (0, 1, 2), "axis": ()}, (2, 3), "expected axes from"),
    "axis twice": (
        {"axis": (1, -1)},
        (2, 3),
        r"found axis=\(1, -1\) and batch_dims=\(\) for an input of shape \(2, 3\); expected each "
        r"axis once. Write axis=\(1,\).",
    ),
    "axis in the batch": (
        {"axis": (0, 1), "batch_dims": (0,)},
        (2, 3),
        r"found axis=\(0, 1\) and batch_dims=\(0,\) .* Write axis=\(1,\).",
    ),
    "batch that is not leading": (
        {"batch_dims": (1,)},
        (2, 3, 4),
        r"found batch_dims=\(1,\); expected consecutive leading axes from 0 on. Write "
        r"batch_dims=\(0,\) and bring these axes to the front with jnp.moveaxis.",
    ),
    "batch with a gap": ({"batch_dims": (0, 2)}, (2, 3, 4, 5), r"Write batch_dims=\(0, 1\)"),
    "batch twice": ({"batch_dims": (0, 0)}, (2, 3, 4), r"found batch_dims=\(0, 0\); expected"),
    "negative batch": ({"batch_dims": -3}, (2, 3, 4), r"found batch_dims=-3; expected"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_errors(case: Any) -> None:
    fields, shape, text = case
    with pytest.raises(AxisError, match=text):
        nn.DenseGeneral(4, **fields).init(jax.random.key(0), jnp.ones(shape))


def test_integer_dtype() -> None:
    with pytest.raises(InexactDtypeError, match="dtype=int32: the computation needs"):
        nn.DenseGeneral(4, dtype=jnp.int32).init(jax.random.key(0), jnp.ones((2, 3)))
