"""GroupNorm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AxisError, FeatureSizeError, GroupsError, MaskShapeError

X = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 8))


def reference(
    x: np.ndarray, groups: int, axes: tuple[int, ...] = (1, 3), where: Any = True
) -> np.ndarray:
    """Normalises; the axes are those of an array of shape (examples, positions, groups, size)."""
    grouped = x.reshape(*x.shape[:-1], groups, -1)
    if where is not True:
        where = np.broadcast_to(where, x.shape).reshape(grouped.shape)
    mean = grouped.mean(axes, keepdims=True, where=where)
    variance = grouped.var(axes, keepdims=True, where=where)
    return ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"num_groups": 2}, 2),
        ({"num_groups": 1}, 1),
        ({"num_groups": 8}, 8),
        ({"num_groups": None, "group_size": 2}, 4),
    ],
    ids=str,
)
def test_reference(fields: dict[str, Any], groups: int, use_fast_variance: bool) -> None:
    layer = nn.GroupNorm(**fields, use_fast_variance=use_fast_variance)
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"scale": (8,), "bias": (8,)}}
    scale, bias = np.arange(1.0, 9.0), np.arange(8.0)
    y = layer.apply({"params": {"scale": scale, "bias": bias}}, jnp.asarray(X))
    np.testing.assert_allclose(y, reference(X, groups) * scale + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("reduction_axes", "of_groups"),
    [(-1, (3,)), ((1, 2), (1, 3)), ((0, 1, -1), (0, 1, 3)), (None, (1, 3))],
    ids=str,
)
def test_reduction_axes(reduction_axes: Any, of_groups: tuple[int, ...]) -> None:
    layer = nn.GroupNorm(2, use_bias=False, use_scale=False, reduction_axes=reduction_axes)
    expected = reference(X, 2, of_groups)
    np.testing.assert_allclose(layer.apply({}, jnp.asarray(X)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 4, 5, 8)], ids=str)
def test_ranks(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).normal(size=shape)
    flat = x.reshape(shape[0] if len(shape) > 1 else 1, -1, 8)
    y = nn.GroupNorm(2, use_bias=False, use_scale=False).apply({}, jnp.asarray(x))
    np.testing.assert_allclose(y.reshape(flat.shape), reference(flat, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_large_means(offset: float) -> None:
    x = jnp.asarray(X + offset, jnp.float32)
    y = nn.GroupNorm(2, use_bias=False, use_scale=False).apply({}, x)
    np.testing.assert_allclose(y, reference(np.asarray(x, np.float64), 2), atol=4e-7 * offset)


@pytest.mark.parametrize("shape", [(4, 5, 8), (5, 8), (4, 5, 1)], ids=str)
def test_mask(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.7
    layer = nn.GroupNorm(2, use_bias=False, use_scale=False)
    y = layer.apply({}, jnp.asarray(X), mask=jnp.asarray(mask))
    np.testing.assert_allclose(y, reference(X, 2, where=mask), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("masked", [True, False])
def test_positions_split_over_a_named_axis(masked: bool) -> None:
    # The devices have very different numbers of unmasked positions.
    mask = jnp.array([1, 1, 1, 0, 0, 1], bool)[None, :, None]
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, 6, 8)), jnp.float32)
    layer = nn.GroupNorm(2, use_bias=False, use_scale=False)
    split = layer.clone(axis_name="devices")
    parts = jax.vmap(
        lambda x, m: split.apply({}, x, mask=m if masked else None),
        in_axes=(1, 1),
        out_axes=1,
        axis_name="devices",
    )(x.reshape(2, 2, 3, 8), mask.reshape(1, 2, 3, 1))
    whole = layer.apply({}, x, mask=mask if masked else None)
    np.testing.assert_allclose(parts.reshape(2, 6, 8), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        (
            {"num_groups": 3},
            FeatureSizeError,
            "GroupNorm at /: found 8 features; expected a multiple of num_groups=3. Write "
            "num_groups as a divisor of 8.",
        ),
        ({"num_groups": 0}, FeatureSizeError, "expected a multiple of num_groups=0"),
        ({"num_groups": -2}, FeatureSizeError, "expected a multiple of num_groups=-2"),
        (
            {"num_groups": None, "group_size": 5},
            FeatureSizeError,
            "expected a multiple of group_size=5. Write group_size as a divisor of 8.",
        ),
        (
            {"group_size": 2},
            GroupsError,
            "GroupNorm at /: found num_groups=32 and group_size=2; expected one of them. Write "
            r"GroupNorm\(num_groups=8\), or GroupNorm\(num_groups=None, group_size=16\).",
        ),
        ({"num_groups": None}, GroupsError, "found num_groups=None and group_size=None"),
        (
            {"num_groups": 2, "reduction_axes": (0, 1)},
            AxisError,
            r"found reduction_axes=\(0, 1\) and an input of shape \(4, 5, 8\); expected its last "
            r"axis among them, which has the features of the groups. Write "
            r"reduction_axes=\(0, 1, 2\).",
        ),
        ({"num_groups": 2, "reduction_axes": 3}, AxisError, "expected axes from -3 to 2"),
        ({"num_groups": 2, "reduction_axes": -4}, AxisError, "expected axes from -3 to 2"),
    ],
    ids=str,
)
def test_errors(fields: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        nn.GroupNorm(**fields).init(jax.random.key(0), jnp.asarray(X))


def test_scalar_input() -> None:
    with pytest.raises(AxisError, match=r"GroupNorm at /: found reduction_axes=\(-1,\)"):
        nn.GroupNorm(1).init(jax.random.key(0), jnp.ones(()))


def test_mask_that_does_not_fit() -> None:
    with pytest.raises(MaskShapeError, match=r"GroupNorm at /: found a mask of shape \(4, 5\)"):
        nn.GroupNorm(2).init(jax.random.key(0), jnp.asarray(X), mask=jnp.ones((4, 5)))
