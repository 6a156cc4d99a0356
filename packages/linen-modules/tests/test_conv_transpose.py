"""ConvTranspose."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import (
    InputRankError,
    LayerError,
    MaskShapeError,
    PaddingError,
    WindowError,
)

RNG = np.random.default_rng(0)


def full(x: np.ndarray, kernel: np.ndarray, strides: Any, dilation: Any) -> np.ndarray:
    """Adds each input's multiple of the flipped kernel to all places that it reaches."""
    window = kernel.shape[:-2]
    sizes = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[1:-1], strides, window, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
    flipped = np.flip(kernel, tuple(range(len(window))))
    for position in itertools.product(*map(range, x.shape[1:-1])):
        for offset in itertools.product(*map(range, window)):
            at = [
                p * s + o * d
                for p, s, o, d in zip(position, strides, offset, dilation, strict=True)
            ]
            y[(slice(None), *at)] += x[(slice(None), *position)] @ flipped[offset]
    return y


def cut(y: np.ndarray, sizes: Any, before: Any) -> np.ndarray:
    """Takes `sizes` elements of each axis, after those that are `before`; zero where there are none."""
    y = np.pad(y, [(0, 0), *((0, size) for size in sizes), (0, 0)])
    return y[(slice(None), *(slice(b, b + n) for b, n in zip(before, sizes, strict=True)))]


def wrapped(y: np.ndarray, sizes: Any, before: Any) -> np.ndarray:
    """Adds every element to the one whole periods away."""
    z = np.zeros((y.shape[0], *sizes, y.shape[-1]))
    for at in itertools.product(*map(range, y.shape[1:-1])):
        to = [(a - b) % n for a, b, n in zip(at, before, sizes, strict=True)]
        z[(slice(None), *to)] += y[(slice(None), *at)]
    return z


# fields -> strides, dilation, sizes of the output, how much of the full output is before it
CASES: dict[str, tuple[dict[str, Any], Any, Any, Any, Any]] = {
    "same": ({}, (1, 1), (1, 1), (5, 4), (1, 0)),
    "same, strides": ({"strides": (2, 3)}, (2, 3), (1, 1), (10, 12), (0, 0)),
    "same, lower case": ({"padding": "same"}, (1, 1), (1, 1), (5, 4), (1, 0)),
    "same lower": ({"padding": "SAME_LOWER"}, (1, 1), (1, 1), (5, 4), (1, 0)),
    "valid": ({"padding": "VALID", "strides": 2}, (2, 2), (1, 1), (11, 8), (0, 0)),
    "valid, dilation": (
        {"padding": "VALID", "kernel_dilation": (2, 3)},
        (1, 1),
        (2, 3),
        (9, 7),
        (0, 0),
    ),
    "int": ({"padding": 1, "strides": 2}, (2, 2), (1, 1), (9, 8), (1, 0)),
    "pairs": ({"padding": [[2, 0], (1, 1)]}, (1, 1), (1, 1), (5, 5), (0, 0)),
    "circular": ({"padding": "CIRCULAR"}, (1, 1), (1, 1), (5, 4), (1, 0)),
    "circular, strides": (
        {"padding": "circular", "strides": (2, 1)},
        (2, 1),
        (1, 1),
        (10, 4),
        (0, 0),
    ),
    "circular, dilation": (
        {"padding": "CIRCULAR", "kernel_dilation": (4, 3)},
        (1, 1),
        (4, 3),
        (5, 4),
        (4, 1),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_reference(case: Any) -> None:
    fields, strides, dilation, sizes, before = case
    x, kernel = RNG.normal(size=(2, 5, 4, 3)), RNG.normal(size=(3, 2, 3, 6))
    variables = {"params": {"kernel": jnp.asarray(kernel), "bias": jnp.arange(6.0)}}
    y = nn.ConvTranspose(6, (3, 2), **fields).apply(variables, jnp.asarray(x))
    place = wrapped if str(fields.get("padding")).upper() == "CIRCULAR" else cut
    expected = place(full(x, kernel, strides, dilation), sizes, before) + np.arange(6.0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("padding", "size", "strides"),
    [("SAME", 3, 1), ("SAME", 4, 2), ("SAME", 5, 3), ("VALID", 4, 1), ("CIRCULAR", 5, 2)],
)
def test_transposed_kernel_makes_the_transpose_of_conv(
    padding: str, size: int, strides: int
) -> None:
    x = jax.random.normal(jax.random.key(0), (12, 2))
    conv = nn.Conv(3, (size,), strides, padding, use_bias=False)
    y, variables = conv.init_with_output(jax.random.key(1), x)
    (expected,) = jax.linear_transpose(lambda x: conv.apply(variables, x), x)(y)
    layer = nn.ConvTranspose(2, (size,), strides, padding, use_bias=False, transpose_kernel=True)
    np.testing.assert_allclose(layer.apply(variables, y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,)], ids=str)
def test_batch_dimensions(batch: tuple[int, ...], padding: str) -> None:
    layer = nn.ConvTranspose(4, (3,), 2, padding)
    x = jax.random.normal(jax.random.key(1), (8, 2))
    single, variables = layer.init_with_output(jax.random.key(0), x)
    y = layer.apply(variables, jnp.broadcast_to(x, (*batch, 8, 2)))
    assert y.shape == (*batch, 16, 4)
    np.testing.assert_allclose(y, np.broadcast_to(single, y.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel_size", "window"), [(3, (3,)), ([2, 3], (2, 3)), ((2, 3, 1), (2, 3, 1))]
)
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_kernel_shape(kernel_size: Any, window: tuple[int, ...], transpose_kernel: bool) -> None:
    x = jnp.ones((2, *(4,) * len(window), 3))
    layer = nn.ConvTranspose(5, kernel_size, 2, transpose_kernel=transpose_kernel)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    features = (5, 3) if transpose_kernel else (3, 5)
    assert variables["params"]["kernel"].shape == (*window, *features)
    assert y.shape == (2, *(8,) * len(window), 5)


def test_mask() -> None:
    mask, x = jnp.tril(jnp.ones((3, 2, 4))), jax.random.normal(jax.random.key(1), (2, 8, 2))
    variables = nn.ConvTranspose(4, (3,)).init(jax.random.key(0), x)
    masked = {"params": variables["params"] | {"kernel": variables["params"]["kernel"] * mask}}
    expected = nn.ConvTranspose(4, (3,)).apply(masked, x)
    y = nn.ConvTranspose(4, (3,), mask=mask).apply(variables, x)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "bfloat16", "preferred_element_type": "float32"}, "float32"),
        ({"param_dtype": "float16"}, "float32"),
        ({"promote_dtype": lambda *a, dtype: [v.astype(jnp.float16) for v in a]}, "float16"),
    ],
    ids=lambda fields: " ".join(fields) if isinstance(fields, dict) else fields,
)
def test_dtypes(fields: dict[str, Any], expected: str) -> None:
    layer = nn.ConvTranspose(4, (3,), **fields)
    y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 8, 2)))
    assert y.dtype == expected


def test_precision_reaches_the_convolution() -> None:
    layer, x = nn.ConvTranspose(4, (3,), precision="highest"), jnp.ones((2, 8, 2))
    variables = layer.init(jax.random.key(0), x)
    assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(variables, x))


ERRORS: dict[str, tuple[dict[str, Any], tuple[int, ...], type[LayerError], str]] = {
    "rank": (
        {},
        (8, 4),
        InputRankError,
        r"ConvTranspose at /: found an input of shape \(8, 4\); expected 2 spatial dimensions",
    ),
    "unknown padding": (
        {"padding": "CAUSAL"},
        (8, 8, 4),
        PaddingError,
        r"ConvTranspose at /: found padding='CAUSAL'; expected one of SAME, SAME_LOWER, VALID, "
        r"CIRCULAR, one number, or 2 entries",
    ),
    "same lower with strides": (
        {"padding": "SAME_LOWER", "strides": 2},
        (8, 8, 4),
        PaddingError,
        r'found padding="SAME_LOWER" with strides=\(2, 2\); XLA computes it without strides only. '
        r'Write padding="SAME"',
    ),
    "strides": (
        {"strides": (2,)},
        (8, 8, 4),
        WindowError,
        r"found strides=\(2,\) with 1 entries; expected 2",
    ),
    "dilation": (
        {"kernel_dilation": (1, 2, 3)},
        (8, 8, 4),
        WindowError,
        r"found kernel_dilation=\(1, 2, 3\) with 3 entries",
    ),
    "mask": (
        {"mask": jnp.ones((3, 2, 4, 6)), "transpose_kernel": True},
        (8, 8, 4),
        MaskShapeError,
        r"found a mask of shape \(3, 2, 4, 6\); expected that of the kernel, \(3, 2, 6, 4\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_errors(case: Any) -> None:
    fields, shape, error, text = case
    with pytest.raises(error, match=text):
        nn.ConvTranspose(6, (3, 2), **fields).init(jax.random.key(0), jnp.ones(shape))
