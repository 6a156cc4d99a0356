"""Conv."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import (
    FeatureSizeError,
    InputRankError,
    LayerError,
    MaskShapeError,
    PaddingError,
    WindowError,
)

RNG = np.random.default_rng(0)


def reference(
    x: np.ndarray,
    kernel: np.ndarray,
    pads: list[tuple[int, int]],
    strides: tuple[int, ...],
    kernel_dilation: tuple[int, ...],
    groups: int = 1,
    mode: Any = "constant",
) -> np.ndarray:
    """Convolves one window position after the other."""
    window = kernel.shape[:-2]
    x = np.pad(x, [(0, 0), *pads, (0, 0)], mode=mode)
    reach = [(k - 1) * d + 1 for k, d in zip(window, kernel_dilation, strict=True)]
    counts = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:], reach, strides, strict=False)]
    y = np.zeros((x.shape[0], *counts, kernel.shape[-1]))
    of_group, to_group = kernel.shape[-2], kernel.shape[-1] // groups
    for position in itertools.product(*map(range, counts)):
        for offset in itertools.product(*map(range, window)):
            at = [
                p * s + o * d
                for p, s, o, d in zip(position, strides, offset, kernel_dilation, strict=True)
            ]
            pixel = x[(slice(None), *at)]
            for g in range(groups):
                inputs = pixel[:, g * of_group : (g + 1) * of_group]
                outputs = slice(g * to_group, (g + 1) * to_group)
                y[(slice(None), *position, outputs)] += inputs @ kernel[offset][:, outputs]
    return y


# fields, pads, strides, kernel_dilation, mode
CASES: dict[
    str, tuple[dict[str, Any], list[tuple[int, int]], tuple[int, int], tuple[int, int], str]
] = {
    "same": ({}, [(1, 1), (0, 1)], (1, 1), (1, 1), "constant"),
    "same, lower case": ({"padding": "same"}, [(1, 1), (0, 1)], (1, 1), (1, 1), "constant"),
    "same lower": ({"padding": "SAME_LOWER"}, [(1, 1), (1, 0)], (1, 1), (1, 1), "constant"),
    "valid, strided": (
        {"padding": "VALID", "strides": (2, 1)},
        [(0, 0)] * 2,
        (2, 1),
        (1, 1),
        "constant",
    ),
    "int": ({"padding": 1, "strides": 2}, [(1, 1)] * 2, (2, 2), (1, 1), "constant"),
    "ints": ({"padding": (1, 2)}, [(1, 1), (2, 2)], (1, 1), (1, 1), "constant"),
    "pairs": ({"padding": [[0, 1], (2, 0)]}, [(0, 1), (2, 0)], (1, 1), (1, 1), "constant"),
    "dilated": (
        {"padding": "VALID", "kernel_dilation": (2, 3)},
        [(0, 0)] * 2,
        (1, 1),
        (2, 3),
        "constant",
    ),
    "circular": ({"padding": "CIRCULAR"}, [(1, 1), (0, 1)], (1, 1), (1, 1), "wrap"),
    "circular, dilated": (
        {"padding": "circular", "kernel_dilation": 2},
        [(2, 2), (1, 1)],
        (1, 1),
        (2, 2),
        "wrap",
    ),
    "reflect": (
        {"padding": "REFLECT", "strides": None},
        [(1, 1), (0, 1)],
        (1, 1),
        (1, 1),
        "reflect",
    ),
    "groups": (
        {"padding": "VALID", "feature_group_count": 2},
        [(0, 0)] * 2,
        (1, 1),
        (1, 1),
        "constant",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_reference(case: Any) -> None:
    fields, pads, strides, dilation, mode = case
    groups = fields.get("feature_group_count", 1)
    x, kernel = RNG.normal(size=(2, 7, 6, 4)), RNG.normal(size=(3, 2, 4 // groups, 6))
    variables = {"params": {"kernel": jnp.asarray(kernel), "bias": jnp.arange(6.0)}}
    y = nn.Conv(6, (3, 2), **fields).apply(variables, jnp.asarray(x))
    expected = reference(x, kernel, pads, strides, dilation, groups, mode) + np.arange(6.0)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_causal_output_depends_on_no_later_input() -> None:
    layer = nn.Conv(1, (3,), padding="CAUSAL", kernel_dilation=2)
    x = jax.random.normal(jax.random.key(0), (9, 1))
    variables = layer.init(jax.random.key(1), x)
    jacobian = jax.jacobian(lambda x: layer.apply(variables, x))(x)[:, 0, :, 0]
    assert jacobian.shape == (9, 9)
    np.testing.assert_array_equal(np.triu(jacobian, 1), np.zeros((9, 9)))
    np.testing.assert_array_equal(jacobian[6] != 0, [0, 0, 1, 0, 1, 0, 1, 0, 0])


@pytest.mark.parametrize("padding", ["VALID", "CIRCULAR", "CAUSAL", [(1, 2)]], ids=str)
def test_input_dilation(padding: Any) -> None:
    layer = nn.Conv(2, (3,), padding=padding, input_dilation=2)
    x = jax.random.normal(jax.random.key(0), (1, 5, 3))
    y, variables = layer.init_with_output(jax.random.key(1), x)
    kernel = np.asarray(variables["params"]["kernel"])
    widths, mode, after = {
        "VALID": ((0, 0), "constant", (0, 0)),
        "CIRCULAR": ((1, 1), "wrap", (0, 0)),
        "CAUSAL": ((2, 0), "constant", (0, 0)),
    }.get(str(padding), ((0, 0), "constant", (1, 2)))
    padded = np.pad(x, [(0, 0), widths, (0, 0)], mode=mode)  # pyright: ignore[reportCallIssue, reportArgumentType]
    dilated = np.zeros((1, 2 * padded.shape[1] - 1, 3))
    dilated[:, ::2] = padded
    np.testing.assert_allclose(
        y, reference(dilated, kernel, [after], (1,), (1,)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3), (0,)], ids=str)
def test_batch_dimensions(batch: tuple[int, ...]) -> None:
    layer = nn.Conv(4, (3,))
    variables = layer.init(jax.random.key(0), jnp.ones((8, 2)))
    y = layer.apply(variables, jnp.ones((*batch, 8, 2)))
    assert y.shape == (*batch, 8, 4)
    single = layer.apply(variables, jnp.ones((8, 2)))
    np.testing.assert_allclose(y, np.broadcast_to(single, y.shape), rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel_size", "window"), [(3, (3,)), ((3,), (3,)), ([2, 3, 1], (2, 3, 1))]
)
def test_kernel_size(kernel_size: Any, window: tuple[int, ...]) -> None:
    x = jnp.ones((2, *(5,) * len(window), 3))
    y, variables = nn.Conv(4, kernel_size).init_with_output(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (*window, 3, 4)
    assert y.shape == (*x.shape[:-1], 4)


def test_mask() -> None:
    mask, x = jnp.tril(jnp.ones((3, 2, 4))), jax.random.normal(jax.random.key(1), (2, 8, 2))
    variables = nn.Conv(4, (3,)).init(jax.random.key(0), x)
    masked = {"params": variables["params"] | {"kernel": variables["params"]["kernel"] * mask}}
    expected = nn.Conv(4, (3,)).apply(masked, x)
    np.testing.assert_array_equal(nn.Conv(4, (3,), mask=mask).apply(variables, x), expected)


def doubled(*args: Any, **kwargs: Any) -> jax.Array:
    return 2 * lax.conv_general_dilated(*args, **kwargs)


@pytest.mark.parametrize(
    "fields",
    [
        {"conv_general_dilated": doubled},
        {"conv_general_dilated_cls": lambda: doubled},
        {"promote_dtype": lambda x, k, b, dtype: nn.promote_dtype(2 * x, k, b, dtype=dtype)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_operators(fields: dict[str, Any]) -> None:
    x = jax.random.normal(jax.random.key(1), (2, 8, 2))
    y, variables = nn.Conv(4, (3,)).init_with_output(jax.random.key(0), x)
    layer = nn.Conv(4, (3,), **fields)
    np.testing.assert_allclose(layer.apply(variables, x), 2 * y, rtol=1e-6)


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
    layer = nn.Conv(4, (3,), param_dtype=stored, dtype=dtype)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6, 2), inputs))
    assert y.dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(stored)}


ERRORS: dict[str, tuple[dict[str, Any], tuple[int, ...], type[LayerError], str]] = {
    "rank": (
        {},
        (8, 4),
        InputRankError,
        r"Conv at /: found an input of shape \(8, 4\); expected 2 spatial dimensions, as "
        r"kernel_size=\(3, 2\) has, and an axis of features. Write inputs\[..., None\]",
    ),
    "unknown padding": (
        {"padding": "FULL"},
        (8, 8, 4),
        PaddingError,
        r"Conv at /: found padding='FULL'; expected one of SAME, SAME_LOWER, VALID, CIRCULAR, "
        r"REFLECT, CAUSAL, one number, or 2 entries .* Write for example padding=\"SAME\" or "
        r"padding=\[\(1, 1\), \(1, 1\)\].",
    ),
    "padding of the wrong length": (
        {"padding": [(1, 1)]},
        (8, 8, 4),
        PaddingError,
        r"found padding=\(\(1, 1\),\); expected .* 2 entries",
    ),
    "padding that is no pair": (
        {"padding": [(1, 1, 1), 1]},
        (8, 8, 4),
        PaddingError,
        "a number or a pair",
    ),
    "causal images": (
        {"padding": "CAUSAL"},
        (8, 8, 4),
        PaddingError,
        r"found padding=\"CAUSAL\" with 2 spatial dimensions; expected one.",
    ),
    "same with dilated inputs": (
        {"input_dilation": (2, 1)},
        (8, 8, 4),
        PaddingError,
        r"found padding='SAME' with input_dilation=\(2, 1\)",
    ),
    "strides": (
        {"strides": (1,)},
        (8, 8, 4),
        WindowError,
        r"Conv at /: found strides=\(1,\) with 1 entries; expected 2, one for each dimension",
    ),
    "kernel dilation": (
        {"kernel_dilation": (1, 2, 3)},
        (8, 8, 4),
        WindowError,
        r"found kernel_dilation=\(1, 2, 3\) with 3 entries; expected 2",
    ),
    "groups of the input": (
        {"feature_group_count": 3},
        (8, 8, 4),
        FeatureSizeError,
        "found 4 features in the input; expected a multiple of feature_group_count=3. Write "
        "feature_group_count=2 or a divisor of it.",
    ),
    "groups of the output": (
        {"feature_group_count": 4},
        (8, 8, 4),
        FeatureSizeError,
        "found 6 features in the output; expected a multiple of feature_group_count=4",
    ),
    "mask": (
        {"mask": jnp.ones((3, 2))},
        (8, 8, 4),
        MaskShapeError,
        r"found a mask of shape \(3, 2\); expected that of the kernel, \(3, 2, 4, 6\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_errors(case: Any) -> None:
    fields, shape, error, text = case
    with pytest.raises(error, match=text):
        nn.Conv(6, (3, 2), **fields).init(jax.random.key(0), jnp.ones(shape))


def test_error_names_the_module_path() -> None:
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Conv(6, (3, 2), padding="FULL", name="stem")(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Encoder()(x)

    with pytest.raises(PaddingError, match=r"^Conv at /Encoder_0/stem: found"):
        Model().init(jax.random.key(0), jnp.ones((8, 8, 4)))
