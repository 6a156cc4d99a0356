"""Pooling."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from jax import lax

import linen_modules as nn
from linen_modules.errors import InputRankError, PaddingError, WindowError

X = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)


def reference(
    x: np.ndarray,
    reduce: Callable[..., Any],
    fill: float,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: list[tuple[int, int]],
) -> np.ndarray:
    x = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    counts = [(n - w) // s + 1 for n, w, s in zip(x.shape[1:], window, strides, strict=False)]
    y = np.zeros((x.shape[0], *counts, x.shape[-1]), x.dtype)
    for at in itertools.product(*map(range, counts)):
        piece = [slice(p * s, p * s + w) for p, s, w in zip(at, strides, window, strict=True)]
        y[(slice(None), *at)] = reduce(x[(slice(None), *piece)], axis=tuple(range(1, x.ndim - 1)))
    return y


FUNCTIONS: dict[str, tuple[Callable[..., jax.Array], Callable[..., Any], float]] = {
    "max": (nn.max_pool, np.max, -np.inf),
    "min": (nn.min_pool, np.min, np.inf),
    "avg": (nn.avg_pool, np.mean, 0.0),
    "avg of inputs only": (
        lambda *args: nn.avg_pool(*args, count_include_pad=False),
        np.nanmean,
        np.nan,
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize(
    ("strides", "padding", "pads"),
    [
        (None, "VALID", [(0, 0), (0, 0)]),
        ((2, 1), "valid", [(0, 0), (0, 0)]),
        (2, "SAME", [(1, 1), (0, 0)]),
        ([1, 2], [(1, 0), (0, 1)], [(1, 0), (0, 1)]),
        ((1, 1), 1, [(1, 1), (1, 1)]),
    ],
    ids=str,
)
def test_reference(function: Any, strides: Any, padding: Any, pads: Any) -> None:
    pool, reduce, fill = function
    steps = {None: (1, 1), 2: (2, 2)}.get(strides if isinstance(strides, int) else None, (1, 1))
    steps = tuple(strides) if isinstance(strides, tuple | list) else steps
    expected = reference(X, reduce, fill, (3, 2), steps, pads)
    y = pool(jnp.asarray(X), (3, 2), strides, padding)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_batch_dimensions(function: Any, batch: tuple[int, ...]) -> None:
    y = function[0](
        jnp.broadcast_to(X[0], (*batch, *X.shape[1:])), (3, 2), (1, 1), [(1, 1), (1, 0)]
    )
    single = function[0](jnp.asarray(X[0]), (3, 2), (1, 1), [(1, 1), (1, 0)])
    np.testing.assert_allclose(y, np.broadcast_to(single, y.shape), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_dtype(function: Any, dtype: str) -> None:
    assert function[0](jnp.asarray(X, dtype), (2, 2), None, "SAME").dtype == dtype


def test_integers() -> None:
    x = jnp.array([[3], [-5], [2]])
    np.testing.assert_array_equal(nn.max_pool(x, (2,), None, "SAME"), [[3], [2], [2]])
    np.testing.assert_array_equal(nn.min_pool(x, (2,), None, "SAME"), [[-5], [-5], [2]])
    np.testing.assert_array_equal(nn.avg_pool(x, (2,)), [[-1.0], [-1.5]])


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_gradients(function: Any) -> None:
    x = jnp.asarray(X[0, :4, :4, :1])

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(function[0](x, (2, 2), (1, 1), "SAME") ** 2)

    jax.test_util.check_grads(loss, (x,), order=1, modes=["rev"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("function", [nn.max_pool, nn.min_pool, nn.avg_pool])
def test_one_equation(function: Any) -> None:
    jaxpr = jax.make_jaxpr(lambda x: function(x, (2, 2), (1, 1)))(X)
    assert len(jaxpr.eqns) == 1


def test_pool_with_a_function_of_ones_own() -> None:
    y = nn.pool(jnp.asarray(X), 1.0, lambda a, b: a * b, (3, 2), padding="SAME")
    expected = reference(X, np.prod, 1.0, (3, 2), (1, 1), [(1, 1), (0, 1)])
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_pool_of_sums_has_gradients() -> None:
    grads = jax.grad(lambda x: nn.pool(x, 0.0, lax.add, (2,), (1,), "VALID").sum())(
        jnp.ones((3, 1))
    )
    np.testing.assert_array_equal(grads, [[1.0], [2.0], [1.0]])


@pytest.mark.parametrize("function", [nn.max_pool, nn.min_pool, nn.avg_pool])
@pytest.mark.parametrize(
    ("shape", "args", "error", "text"),
    [
        (
            (7, 6),
            ((2, 2),),
            InputRankError,
            r"pool: found an input of shape \(7, 6\); expected 2 spatial dimensions, as "
            r"window_shape=\(2, 2\) has, and an axis of features",
        ),
        ((7, 6, 1), ((2, 2), (1,)), WindowError, r"pool: found strides=\(1,\) with 1 entries"),
        ((7, 6, 1), ((2, 2), None, "FULL"), PaddingError, "pool: found padding='FULL'"),
        (
            (7, 6, 1),
            ((2, 2), None, "CAUSAL"),
            PaddingError,
            "found padding='CAUSAL'; expected one of SAME, SAME_LOWER, VALID, one number",
        ),
        (
            (7, 6, 1),
            ((2, 2), None, ((1, 1),)),
            PaddingError,
            "2 entries that are a number or a pair",
        ),
    ],
)
def test_errors(function: Any, shape: Any, args: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        function(jnp.ones(shape), *args)
