"""LayerNorm."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AxisError, MaskShapeError

X = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 6))


def reference(x: np.ndarray, axes: tuple[int, ...], where: Any = True) -> np.ndarray:
    mean = x.mean(axes, keepdims=True, where=where)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True, where=where) + 1e-6)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize(
    ("reduction_axes", "feature_axes", "features"),
    [
        (-1, -1, (6,)),
        ((1, 2), -1, (6,)),
        ([-1, 1], (2, 1), (5, 6)),
        ((0,), (), ()),
        (-2, 0, (4,)),
    ],
    ids=str,
)
def test_reference(
    reduction_axes: Any, feature_axes: Any, features: tuple[int, ...], use_fast_variance: bool
) -> None:
    layer = nn.LayerNorm(
        reduction_axes=reduction_axes,
        feature_axes=feature_axes,
        use_fast_variance=use_fast_variance,
    )
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": features, "bias": features}}
    scale, bias = np.arange(1.0, 1 + np.prod(features)).reshape(features), 0.5 * np.ones(features)
    y = layer.apply({"params": {"scale": scale, "bias": bias}}, jnp.asarray(X))
    axes = tuple(np.atleast_1d(reduction_axes))
    kept = {axis % 3 for axis in np.atleast_1d(feature_axes).astype(int)}
    shape = [size if axis in kept else 1 for axis, size in enumerate(X.shape)]
    expected = reference(X, axes) * scale.reshape(shape) + bias.reshape(shape)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "names"),
    [({"use_bias": False}, ["scale"]), ({"use_scale": False}, ["bias"])],
    ids=["no bias", "no scale"],
)
def test_parameters_that_are_left_out(fields: dict[str, Any], names: list[str]) -> None:
    y, variables = nn.LayerNorm(**fields).init_with_output(jax.random.key(0), jnp.asarray(X))
    assert list(variables["params"]) == names
    np.testing.assert_allclose(y, reference(X, (-1,)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_large_means(offset: float) -> None:
    x = jnp.asarray(X + offset, jnp.float32)
    y, _ = nn.LayerNorm().init_with_output(jax.random.key(0), x)
    exact = reference(np.asarray(x, np.float64), (-1,))
    np.testing.assert_allclose(y, exact, atol=4e-7 * offset)


@pytest.mark.parametrize("use_fast_variance", [True, False])
def test_gradients_of_every_order(use_fast_variance: bool) -> None:
    layer = nn.LayerNorm(use_bias=False, use_scale=False, use_fast_variance=use_fast_variance)

    def plain(x: jax.Array) -> jax.Array:
        return (x - x.mean()) / jnp.sqrt(x.var() + 1e-6)

    x = jnp.asarray(X[0, 0], jnp.float32)
    for derivative in (jax.jacobian, jax.hessian):
        actual = derivative(lambda x: layer.apply({}, x))(x)
        np.testing.assert_allclose(actual, derivative(plain)(x), rtol=1e-3, atol=1e-5)


def test_constant_rows() -> None:
    x = jnp.full((2, 5), 7.0)
    layer = nn.LayerNorm()
    y, variables = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, jnp.zeros_like(x))
    chex.assert_tree_all_finite(jax.grad(lambda x: layer.apply(variables, x).sum())(x))


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 6), (4, 1, 6)], ids=str)
def test_mask(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.7
    mask[..., 0] = True
    layer = nn.LayerNorm()
    y, _ = layer.init_with_output(jax.random.key(0), jnp.asarray(X), mask=jnp.asarray(mask))
    expected = reference(X, (-1,), np.broadcast_to(mask, X.shape))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_features_split_over_a_named_axis(masked: bool, use_fast_variance: bool) -> None:
    mask = jnp.asarray(np.random.default_rng(1).random((4, 6)) < 0.6).at[:, 0].set(True)
    mask = mask if masked else jnp.ones((4, 6), bool)
    layer = nn.LayerNorm(use_bias=False, use_scale=False, use_fast_variance=use_fast_variance)
    x = jnp.asarray(X[:, 0], jnp.float32)
    whole = layer.apply({}, x, mask=mask)
    split = layer.clone(axis_name="model")
    parts = jax.vmap(
        lambda x, m: split.apply({}, x, mask=m if masked else None),
        in_axes=1,
        out_axes=1,
        axis_name="model",
    )(x.reshape(4, 3, 2), mask.reshape(4, 3, 2))
    np.testing.assert_allclose(parts.reshape(4, 6), whole, rtol=1e-5, atol=1e-5)


# input, parameters, dtype, forced -> output
PROMOTION = [
    ("float32", "float32", None, True, "float32"),
    ("bfloat16", "float32", None, True, "float32"),
    ("bfloat16", "bfloat16", None, True, "bfloat16"),
    ("bfloat16", "bfloat16", None, False, "bfloat16"),
    ("float16", "float16", None, False, "float16"),
    ("float32", "float32", "bfloat16", True, "bfloat16"),
    ("int32", "float32", None, True, "float32"),
    ("complex64", "float32", None, True, "complex64"),
]


@pytest.mark.parametrize(("inputs", "stored", "dtype", "forced", "expected"), PROMOTION)
def test_promotion(
    inputs: str, stored: str, dtype: str | None, forced: bool, expected: str
) -> None:
    layer = nn.LayerNorm(dtype=dtype, param_dtype=stored, force_float32_reductions=forced)
    x = jnp.asarray(X, jnp.float32).astype(inputs)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(stored)}


def test_statistics_of_half_precision_are_float32() -> None:
    x = jnp.asarray(X + 100, jnp.bfloat16)
    layer = nn.LayerNorm(dtype=jnp.float32)
    y, _ = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, reference(np.asarray(x, np.float64), (-1,)), atol=1e-4)


def test_configuration_that_cannot_be_hashed() -> None:
    layer = nn.LayerNorm(epsilon=jnp.float32(0.5))  # pyright: ignore[reportArgumentType]
    y, variables = layer.init_with_output(jax.random.key(0), jnp.asarray(X))
    expected = nn.LayerNorm(epsilon=0.5).apply(variables, jnp.asarray(X))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    jitted = jax.jit(lambda e: nn.LayerNorm(epsilon=e).apply(variables, jnp.asarray(X)))
    np.testing.assert_allclose(jitted(0.5), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"reduction_axes": 3},
            r"LayerNorm at /: found reduction_axes=3 and an input of shape \(4, 5, 6\); expected "
            "axes from -3 to 2.",
        ),
        ({"feature_axes": (0, -4)}, r"found feature_axes=\(0, -4\)"),
    ],
)
def test_axes_that_do_not_exist(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AxisError, match=text):
        nn.LayerNorm(**fields).init(jax.random.key(0), jnp.asarray(X))


@pytest.mark.parametrize("shape", [(5,), (1, 4, 5, 6), (2, 5, 6)], ids=str)
def test_mask_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        MaskShapeError,
        match=r"LayerNorm at /: found a mask of shape .*; expected one that broadcasts to the "
        r"input's shape \(4, 5, 6\). Write mask\[..., None\]",
    ):
        nn.LayerNorm().init(jax.random.key(0), jnp.asarray(X), mask=jnp.ones(shape))
