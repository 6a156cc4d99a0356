"""Means and variances."""

import os
import subprocess
import sys

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
    np.testing.assert_allclose(variance, np.var(x, dtype=np.float64), rtol=1e-5)


def test_no_position_counts() -> None:
    mean, variance = mean_and_variance(jnp.asarray(X), jnp.zeros(X.shape), Reduction((0, 1, 2)))
    assert np.isnan(mean)
    assert np.isnan(variance)


ON_FOUR_DEVICES = """
import jax, numpy as np
from linen_modules.norm.statistics import Reduction, mean_and_variance

x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
spec = jax.sharding.PartitionSpec("devices")
auto = (jax.sharding.AxisType.Auto,)
for fast in (True, False):
    mean, variance = jax.shard_map(
        lambda x: mean_and_variance(
            x, None, Reduction((1,), "devices", ((0, 1), (2, 3))), use_fast_variance=fast
        ),
        mesh=jax.make_mesh((4,), ("devices",), axis_types=auto),
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )(x)
    groups = x.reshape(2, 16)
    np.testing.assert_allclose(mean, np.repeat(groups.mean(1), 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, np.repeat(groups.var(1), 2), rtol=1e-5)
"""


def test_groups_of_a_named_axis() -> None:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, "-c", ON_FOUR_DEVICES]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


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
