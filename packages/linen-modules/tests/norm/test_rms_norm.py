"""RMSNorm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AxisError, MaskShapeError
from linen_modules.norm import rms_norm
from linen_modules.norm.statistics import Reduction

X = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 6))


def reference(x: np.ndarray, axes: tuple[int, ...], where: Any = True) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axes, keepdims=True, where=where) + 1e-6)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize(
    ("reduction_axes", "feature_axes", "features"),
    [(-1, -1, (6,)), ((1, 2), -1, (6,)), ([-1, 1], (2, 1), (5, 6)), (-2, 0, (4,))],
    ids=str,
)
def test_reference(
    reduction_axes: Any, feature_axes: Any, features: tuple[int, ...], use_fast_variance: bool
) -> None:
    layer = nn.RMSNorm(
        reduction_axes=reduction_axes,
        feature_axes=feature_axes,
        use_fast_variance=use_fast_variance,
    )
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": features}}
    scale = np.arange(1.0, 1 + np.prod(features)).reshape(features)
    y = layer.apply({"params": {"scale": scale}}, jnp.asarray(X))
    kept = {axis % 3 for axis in np.atleast_1d(feature_axes)}
    shape = [size if axis in kept else 1 for axis, size in enumerate(X.shape)]
    expected = reference(X, tuple(np.atleast_1d(reduction_axes))) * scale.reshape(shape)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_without_scale_there_are_no_parameters() -> None:
    layer = nn.RMSNorm(use_scale=False)
    assert layer.init(jax.random.key(0), jnp.asarray(X)) == {}
    np.testing.assert_allclose(layer.apply({}, jnp.asarray(X)), reference(X, (-1,)), rtol=1e-5)


def test_arithmetic_alone() -> None:
    y = rms_norm(jnp.asarray(X), None, None, reduction=Reduction((2,)), feature_axes=())
    np.testing.assert_allclose(y, reference(X, (-1,)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6), (4, 1, 6)], ids=str)
def test_mask(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.7
    mask[..., 0] = True
    y = nn.RMSNorm(use_scale=False).apply({}, jnp.asarray(X), mask=jnp.asarray(mask))
    expected = reference(X, (-1,), np.broadcast_to(mask, X.shape))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_features_split_over_a_named_axis(masked: bool) -> None:
    mask = jnp.asarray(np.random.default_rng(1).random((4, 6)) < 0.6).at[:, 0].set(True)
    mask = mask if masked else jnp.ones((4, 6), bool)
    layer = nn.RMSNorm(use_scale=False)
    x = jnp.asarray(X[:, 0], jnp.float32)
    split = layer.clone(axis_name="model")
    parts = jax.vmap(
        lambda x, m: split.apply({}, x, mask=m if masked else None),
        in_axes=1,
        out_axes=1,
        axis_name="model",
    )(x.reshape(4, 3, 2), mask.reshape(4, 3, 2))
    whole = layer.apply({}, x, mask=mask)
    np.testing.assert_allclose(parts.reshape(4, 6), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "stored", "dtype", "forced", "expected"),
    [
        ("float32", "float32", None, True, "float32"),
        ("bfloat16", "float32", None, True, "float32"),
        ("bfloat16", "bfloat16", None, True, "bfloat16"),
        ("float16", "float16", None, False, "float16"),
        ("float32", "float32", "bfloat16", True, "bfloat16"),
        ("int32", "float32", None, True, "float32"),
        ("complex64", "float32", None, True, "complex64"),
    ],
)
def test_promotion(
    inputs: str, stored: str, dtype: str | None, forced: bool, expected: str
) -> None:
    layer = nn.RMSNorm(dtype=dtype, param_dtype=stored, force_float32_reductions=forced)
    x = jnp.asarray(X, jnp.float32).astype(inputs)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == expected
    assert variables["params"]["scale"].dtype == stored


def test_complex_numbers_count_by_magnitude() -> None:
    y = nn.RMSNorm(use_scale=False).apply({}, jnp.array([3 + 4j, 0]))
    np.testing.assert_allclose(y, np.array([3 + 4j, 0]) / np.sqrt(12.5), rtol=1e-5)


def test_axes_that_do_not_exist() -> None:
    with pytest.raises(
        AxisError,
        match=r"RMSNorm at /: found reduction_axes=3 and an input of shape \(4, 5, 6\); expected "
        "axes from -3 to 2.",
    ):
        nn.RMSNorm(reduction_axes=3).init(jax.random.key(0), jnp.asarray(X))


def test_mask_that_does_not_fit() -> None:
    with pytest.raises(MaskShapeError, match=r"RMSNorm at /: found a mask of shape \(4, 5\)"):
        nn.RMSNorm().init(jax.random.key(0), jnp.asarray(X), mask=jnp.ones((4, 5)))
