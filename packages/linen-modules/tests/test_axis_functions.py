"""Functions of whole axes: what they do beyond their defaults."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AlgorithmError

X = jnp.linspace(-4, 4, 24).reshape(4, 6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: nn.softmax(x, (0, 1)), lambda x: jax.nn.softmax(x, (0, 1))),
        (lambda x: nn.softmax(x, axis=0), lambda x: jax.nn.softmax(x, axis=0)),
        (lambda x: nn.softmax(x, where=x > 0), lambda x: jax.nn.softmax(x, where=x > 0)),
        (lambda x: nn.softmax(x, axis=[0, 1]), lambda x: jax.nn.softmax(x, axis=(0, 1))),
        (lambda x: nn.logsumexp(x, 0, keepdims=True), lambda x: jax.nn.logsumexp(x, 0, keepdims=True)),
        (lambda x: nn.logsumexp(x, b=2 * x, return_sign=True), lambda x: jax.nn.logsumexp(x, b=2 * x, return_sign=True)),
        (lambda x: nn.log_softmax(x, 0), lambda x: jax.nn.log_softmax(x, 0)),
        (lambda x: nn.standardize(x, 0, epsilon=1.0), lambda x: jax.nn.standardize(x, 0, epsilon=1.0)),
        (lambda x: nn.normalize(x, algorithm="stable"), lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)),
    ],
)  # fmt: skip
def test_options(ours: Any, theirs: Any) -> None:
    for mine, its in zip(jax.tree.leaves(ours(X)), jax.tree.leaves(theirs(X)), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-6)


def test_one_hot_at_an_axis() -> None:
    np.testing.assert_array_equal(
        nn.one_hot(jnp.array([0, 2, 5]), 4, axis=0), jnp.eye(4, 6)[:, [0, 2, 5]]
    )


def test_stable_variance_of_large_means() -> None:
    x = X + 10000
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    y = nn.standardize(x, algorithm="stable")
    np.testing.assert_allclose(y, expected, atol=5e-3)


def test_algorithm_that_does_not_exist() -> None:
    with pytest.raises(
        AlgorithmError, match=r'standardize: found algorithm="slow"; expected "fast" or "stable".'
    ):
        nn.standardize(X, algorithm="slow")
