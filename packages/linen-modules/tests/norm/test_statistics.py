"""Means and variances."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_modules.norm.statistics import Reduction, mean_and_variance, statistics_dtype

X = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2), ()], ids=str)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("guess", [None, 0.3])
def test_reference(axes: tuple[int, ...], fast: bool, guess: float | None) -> None:
    array = None if guess is None else jnp.full(X.mean(axes).shape, guess, jnp.float32)
    mean, variance = mean_and_variance(
        jnp.asarray(X), None, Reduction(axes), guess=array, use_fast_variance=fast
    )
    np.testing.assert_allclose(mean, X.mean(axes), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, X.var(axes), rtol=1e-5, atol=1e-6)


def test_complex() -> None:
    x = X + 1j * X[::-1]
    mean, variance = mean_and_variance(jnp.asarray(x), None, Reduction((1,)))
    np.testing.assert_allclose(mean, x.mean(1), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var(1), rtol=1e-5)
    assert variance.dtype == jnp.float32


@settings(max_examples=50, deadline=None)
@given(
    offset=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_variance_about_the_mean_never_cancels(offset: float, scale: float, seed: int) -> None:
    x = (offset + scale * np.random.default_rng(seed).normal(size=64)).astype(np.float32)
    _, variance = mean_and_variance(jnp.asarray(x), None, Reduction((0,)))
    exact = np.asarray(x, np.float64)
    # The mean itself is rounded to float32; what that adds to the variance is its square.
    rounding = (np.finfo(np.float32).eps * abs(offset)) ** 2
    np.testing.assert_allclose(variance, exact.var(), rtol=2e-6, atol=4 * rounding)


def test_no_position_counts() -> None:
    mean, variance = mean_and_variance(jnp.asarray(X), jnp.zeros(X.shape), Reduction((0, 1, 2)))
    assert np.isnan(mean)
    assert np.isnan(variance)


def test_groups_of_a_named_axis() -> None:
    if jax.device_count() < 4:
        pytest.skip(f"needs 4 devices: XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}")
    reduction = Reduction((0,), "devices", ((0, 1), (2, 3)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8)), jnp.float32)
    mesh = jax.make_mesh((4,), ("devices",), devices=jax.devices()[:4])
    spec = jax.sharding.PartitionSpec("devices")
    mean, variance = jax.shard_map(
        lambda x: tuple(value[None] for value in mean_and_variance(x[0], None, reduction)),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
    )(x)
    grouped = np.asarray(x).reshape(2, 16)
    np.testing.assert_allclose(mean, np.repeat(grouped.mean(1), 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, np.repeat(grouped.var(1), 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "dtype", "forced", "expected"),
    [
        ("bfloat16", None, True, "float32"),
        ("bfloat16", None, False, "bfloat16"),
        ("bfloat16", "float16", True, "float32"),
        ("bfloat16", "float16", False, "float16"),
        ("float32", "bfloat16", True, "float32"),
        ("complex64", None, True, "complex64"),
        ("int32", None, True, "float32"),
    ],
)
def test_statistics_dtype(inputs: str, dtype: str | None, forced: bool, expected: str) -> None:
    assert statistics_dtype(jnp.ones(1, inputs), dtype, forced) == expected
