"""ConvLocal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import (
    InputRankError,
    LayerError,
    MaskShapeError,
    PaddingError,
    UnsupportedFieldError,
    WindowError,
)

GEOMETRIES: dict[str, dict[str, Any]] = {
    "same": {},
    "same lower": {"padding": "same_lower"},
    "valid, strided": {"padding": "VALID", "strides": (2, 1)},
    "int": {"padding": 1, "strides": 2},
    "pairs": {"padding": [[0, 1], (2, 0)]},
    "dilated": {"padding": "VALID", "kernel_dilation": (2, 3)},
    "circular": {"padding": "CIRCULAR", "kernel_dilation": 2},
    "reflect": {"padding": "REFLECT", "strides": None},
    "dilated inputs": {"padding": 2, "input_dilation": (2, 1), "kernel_dilation": 2},
    "circular, dilated inputs": {"padding": "CIRCULAR", "input_dilation": 2},
}


@pytest.mark.parametrize("fields", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_equal_kernels_make_a_convolution(fields: dict[str, Any]) -> None:
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 4))
    expected, variables = nn.Conv(5, (3, 2), **fields).init_with_output(jax.random.key(1), x)
    kernel = jnp.moveaxis(variables["params"]["kernel"], 2, 0).reshape(24, 5)
    places = expected.shape[1:-1]
    params = {
        "kernel": jnp.broadcast_to(kernel[None, None], (*places, 24, 5)),
        "bias": jnp.zeros((*places, 5)),
    }
    y = nn.ConvLocal(5, (3, 2), **fields).apply({"params": params}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_kernels_and_biases_differ_from_place_to_place() -> None:
    x, kernel = np.random.default_rng(0).normal(size=(5, 2)), jnp.ones((3, 6, 4)).at[1].set(2.0)
    bias = jnp.arange(12.0).reshape(3, 4)
    layer = nn.ConvLocal(4, (3,), padding="VALID")
    y = layer.apply({"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(x))
    sums = np.array([x[i : i + 3].sum() for i in range(3)]) * [1, 2, 1]
    np.testing.assert_allclose(y, sums[:, None] + np.asarray(bias), rtol=1e-5, atol=1e-5)


def test_causal() -> None:
    layer = nn.ConvLocal(1, 3, padding="CAUSAL")
    x = jax.random.normal(jax.random.key(0), (9, 1))
    variables = layer.init(jax.random.key(1), x)
    jacobian = jax.jacobian(lambda x: layer.apply(variables, x))(x)[:, 0, :, 0]
    np.testing.assert_array_equal(np.triu(jacobian, 1), np.zeros((9, 9)))


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,)], ids=str)
def test_batch_dimensions(batch: tuple[int, ...]) -> None:
    layer, x = nn.ConvLocal(4, (3,)), jax.random.normal(jax.random.key(1), (8, 2))
    single, variables = layer.init_with_output(jax.random.key(0), x)
    y = layer.apply(variables, jnp.broadcast_to(x, (*batch, 8, 2)))
    assert y.shape == (*batch, 8, 4)
    np.testing.assert_allclose(y, np.broadcast_to(single, y.shape), rtol=1e-5, atol=1e-6)


def test_no_place_for_the_window() -> None:
    layer = nn.ConvLocal(4, (9,), padding="VALID", kernel_init=nn.initializers.normal())
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 7, 3)))
    assert variables["params"]["kernel"].shape == (0, 27, 4)
    assert y.shape == (2, 0, 4)


def test_mask() -> None:
    x = jax.random.normal(jax.random.key(1), (2, 8, 2))
    mask = jax.random.bernoulli(jax.random.key(2), 0.5, (8, 6, 4)).astype(jnp.float32)
    variables = nn.ConvLocal(4, (3,)).init(jax.random.key(0), x)
    masked = {"params": variables["params"] | {"kernel": variables["params"]["kernel"] * mask}}
    expected = nn.ConvLocal(4, (3,)).apply(masked, x)
    y = nn.ConvLocal(4, (3,), mask=mask).apply(variables, x)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"param_dtype": "float16"}, "float32"),
        ({"promote_dtype": lambda *a, dtype: [v.astype(jnp.float16) for v in a]}, "float16"),
    ],
    ids=lambda fields: " ".join(fields) if isinstance(fields, dict) else fields,
)
def test_dtypes(fields: dict[str, Any], expected: str) -> None:
    layer = nn.ConvLocal(4, (3,), **fields)
    y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 8, 2)))
    assert y.dtype == expected


def test_precision_reaches_the_product() -> None:
    layer, x = nn.ConvLocal(4, (3,), precision="highest"), jnp.ones((2, 8, 2))
    variables = layer.init(jax.random.key(0), x)
    assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(variables, x))


ERRORS: dict[str, tuple[dict[str, Any], tuple[int, ...], type[LayerError], str]] = {
    "groups": (
        {"feature_group_count": 2},
        (8, 8, 4),
        UnsupportedFieldError,
        "ConvLocal at /: found feature_group_count=2; expected 1, as JAX has no local convolution "
        "of groups. Write one ConvLocal for each group",
    ),
    "operator": (
        {"conv_general_dilated": lax.conv_general_dilated},
        (8, 8, 4),
        UnsupportedFieldError,
        r"found conv_general_dilated=.*; expected None, as kernels that differ .* Write nn.Conv",
    ),
    "class of an operator": (
        {"conv_general_dilated_cls": lambda: lax.conv_general_dilated},
        (8, 8, 4),
        UnsupportedFieldError,
        r"found conv_general_dilated_cls=.*; expected None",
    ),
    "rank": ({}, (8, 4), InputRankError, r"ConvLocal at /: found an input of shape \(8, 4\)"),
    "padding": (
        {"padding": "FULL"},
        (8, 8, 4),
        PaddingError,
        "found padding='FULL'; expected one of SAME, SAME_LOWER, VALID, CIRCULAR, REFLECT, CAUSAL",
    ),
    "causal images": (
        {"padding": "CAUSAL"},
        (8, 8, 4),
        PaddingError,
        r"found padding=\"CAUSAL\" with 2 spatial dimensions; expected one.",
    ),
    "strides": (
        {"strides": (1,)},
        (8, 8, 4),
        WindowError,
        r"found strides=\(1,\) with 1 entries; expected 2",
    ),
    "mask": (
        {"mask": jnp.ones((3, 2, 4, 6))},
        (8, 8, 4),
        MaskShapeError,
        r"found a mask of shape \(3, 2, 4, 6\); expected that of the kernel, \(8, 8, 24, 6\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_errors(case: Any) -> None:
    fields, shape, error, text = case
    with pytest.raises(error, match=text):
        nn.ConvLocal(6, (3, 2), **fields).init(jax.random.key(0), jnp.ones(shape))
