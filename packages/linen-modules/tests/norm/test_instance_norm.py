"""InstanceNorm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AxisError, MaskShapeError

X = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 3, 6))


def reference(x: np.ndarray, axes: tuple[int, ...], where: Any = True) -> np.ndarray:
    mean = x.mean(axes, keepdims=True, where=where)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True, where=where) + 1e-6)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize(
    ("feature_axes", "axes"), [(-1, (1, 2)), ((1, -1), (2,)), ([2], (1, 3))], ids=str
)
def test_reference(feature_axes: Any, axes: tuple[int, ...], use_fast_variance: bool) -> None:
    layer = nn.InstanceNorm(feature_axes=feature_axes, use_fast_variance=use_fast_variance)
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    features = tuple(X.shape[axis] for axis in sorted(np.atleast_1d(feature_axes) % 4))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": features, "bias": features}}
    scale = np.arange(1.0, 1 + np.prod(features)).reshape(features)
    bias = 0.5 * np.ones(features)
    y = layer.apply({"params": {"scale": scale, "bias": bias}}, jnp.asarray(X))
    expected = reference(X, axes) * np.expand_dims(scale, (0, *axes)) + 0.5
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_as_group_norm_of_single_features() -> None:
    x = jnp.asarray(X)
    fields: dict[str, Any] = {"use_bias": False, "use_scale": False}
    expected = nn.GroupNorm(num_groups=None, group_size=1, **fields).apply({}, x)
    np.testing.assert_allclose(nn.InstanceNorm(**fields).apply({}, x), expected, rtol=1e-5)


def test_mask() -> None:
    mask = np.random.default_rng(1).random((4, 5, 3, 1)) < 0.7
    layer = nn.InstanceNorm(use_bias=False, use_scale=False)
    y = layer.apply({}, jnp.asarray(X), mask=jnp.asarray(mask))
    expected = reference(X, (1, 2), np.broadcast_to(mask, X.shape))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_positions_split_over_a_named_axis() -> None:
    mask = jnp.asarray(np.random.default_rng(1).random((4, 5, 3, 1)) < 0.7)
    layer = nn.InstanceNorm(use_bias=False, use_scale=False)
    split = layer.clone(axis_name="devices")
    x = jnp.asarray(X, jnp.float32)
    parts = jax.vmap(
        lambda x, m: split.apply({}, x, mask=m), in_axes=2, out_axes=2, axis_name="devices"
    )(x, mask)
    np.testing.assert_allclose(parts, layer.apply({}, x, mask=mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feature_axes", [0, (-1, -4)], ids=str)
def test_the_axis_of_examples_has_no_features(feature_axes: Any) -> None:
    with pytest.raises(
        AxisError,
        match=r"InstanceNorm at /: found feature_axes=.* and an input of shape \(4, 5, 3, 6\); "
        r"expected the first axis not among them, which is that of the examples. Write x\[None\]",
    ):
        nn.InstanceNorm(feature_axes=feature_axes).init(jax.random.key(0), jnp.asarray(X))


def test_axes_that_do_not_exist() -> None:
    with pytest.raises(AxisError, match=r"found feature_axes=4 .* expected axes from -4 to 3"):
        nn.InstanceNorm(feature_axes=4).init(jax.random.key(0), jnp.asarray(X))


def test_mask_that_does_not_fit() -> None:
    with pytest.raises(MaskShapeError, match=r"InstanceNorm at /: found a mask of shape \(4, 5\)"):
        nn.InstanceNorm().init(jax.random.key(0), jnp.asarray(X), mask=jnp.ones((4, 5)))
