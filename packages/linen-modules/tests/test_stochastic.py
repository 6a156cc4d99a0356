"""Dropout."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_core.errors import MergeParamError
from linen_modules.errors import AxisError, DropoutRateError

X = jnp.arange(1.0, 10001.0).reshape(100, 100)
KEY = jax.random.key(0)


def apply(layer: nn.Dropout, x: Any = X, *args: Any, **kwargs: Any) -> jax.Array:
    return layer.apply({}, x, *args, rngs={"dropout": KEY}, **kwargs)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_what_is_kept_and_how_much(rate: float) -> None:
    y = apply(nn.Dropout(rate), deterministic=False)
    kept = np.asarray(y != 0)
    np.testing.assert_allclose(y[kept], X[kept] / (1 - rate), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - rate, abs=0.02)


def test_draw_is_that_of_bernoulli() -> None:
    y = nn.Dropout(0.3, deterministic=False).apply({}, X, rng=KEY)
    np.testing.assert_array_equal(y != 0, jax.random.bernoulli(KEY, 1 - 0.3, X.shape))


@pytest.mark.parametrize(
    ("fields", "args", "kwargs"),
    [
        ({"rate": 0.5, "deterministic": True}, (), {}),
        ({"rate": 0.5}, (True,), {}),
        ({"rate": 0.5}, (), {"deterministic": True}),
        ({"rate": 0.0, "deterministic": False}, (), {}),
    ],
)
def test_passes_inputs_on(fields: Any, args: Any, kwargs: Any) -> None:
    assert nn.Dropout(**fields).apply({}, X, *args, **kwargs) is X


def test_rate_one() -> None:
    layer = nn.Dropout(1.0, deterministic=False)
    np.testing.assert_array_equal(apply(layer), jnp.zeros_like(X))
    np.testing.assert_array_equal(jax.grad(lambda x: apply(layer, x).sum())(X), jnp.zeros_like(X))


@pytest.mark.parametrize(
    ("dims", "shape"), [((0,), (1, 100)), ((-1,), (100, 1)), ([0, 1], (1, 1))], ids=str
)
def test_broadcast_dims(dims: Any, shape: tuple[int, ...]) -> None:
    y = apply(nn.Dropout(0.5, broadcast_dims=dims, deterministic=False))
    expected = np.broadcast_to(np.asarray(y != 0)[: shape[0], : shape[1]], X.shape)
    np.testing.assert_array_equal(y != 0, expected)


def test_streams() -> None:
    layer = nn.Dropout(0.5, deterministic=False, rng_collection="noise")
    y = layer.apply({}, X, rngs={"noise": KEY})
    np.testing.assert_array_equal(y, apply(nn.Dropout(0.5, deterministic=False)))
    other = layer.apply({}, X, rngs={"noise": jax.random.key(1)})
    assert not np.array_equal(y, other)


def test_one_trace_for_all_calls() -> None:
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            dropout = nn.Dropout(0.5, deterministic=False)
            return dropout(x), dropout(x)

    first, second = Twice().apply({}, X, rngs={"dropout": KEY})
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype(dtype: str) -> None:
    assert apply(nn.Dropout(0.5, deterministic=False), X.astype(dtype)).dtype == dtype


def test_raw_keys() -> None:
    layer = nn.Dropout(0.5, deterministic=False)
    y = layer.apply({}, X, rngs={"dropout": jax.random.key_data(KEY)})
    np.testing.assert_array_equal(y, apply(layer))


@pytest.mark.parametrize("fields", [{}, {"deterministic": True}], ids=["missing", "twice"])
def test_deterministic_is_given_once(fields: dict[str, Any]) -> None:
    with pytest.raises(MergeParamError, match="deterministic"):
        nn.Dropout(0.5, **fields).apply({}, X, *([False] if fields else []))


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rate_that_is_no_probability(rate: float) -> None:
    with pytest.raises(
        DropoutRateError, match=rf"Dropout at /: found rate={rate}; expected a probability in"
    ):
        apply(nn.Dropout(rate, deterministic=False))


def test_broadcast_dims_that_do_not_exist() -> None:
    with pytest.raises(
        AxisError,
        match=r"Dropout at /: found broadcast_dims=\(2,\) for an input of shape \(100, 100\); "
        "expected axes from -2 to 1.",
    ):
        apply(nn.Dropout(0.5, broadcast_dims=(2,), deterministic=False))
