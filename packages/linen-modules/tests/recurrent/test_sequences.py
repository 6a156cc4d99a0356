"""Sequences of different lengths."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.recurrent.sequences import is_within, keep_where


def flipped(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Reverses (batch, time, ...) one by one."""
    rows = [
        np.concatenate([row[:length][::-1], row[length:][::-1]])
        for row, length in zip(x, lengths, strict=True)
    ]
    return np.stack(rows)


@pytest.mark.parametrize("features", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("time_major", [True, False])
def test_flip_with_lengths(features: tuple[int, ...], time_major: bool) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, *features)).astype("float32")
    lengths = np.array([5, 3, 1, 0])
    given = np.moveaxis(x, 1, 0) if time_major else x
    y = nn.flip_sequences(jnp.asarray(given), jnp.asarray(lengths), 1, time_major)
    expected = flipped(x, lengths)
    np.testing.assert_array_equal(jnp.moveaxis(y, 0, 1) if time_major else y, expected)


@pytest.mark.parametrize(("num_batch_dims", "axis"), [(0, 0), (1, 1), (2, 2)])
@pytest.mark.parametrize("time_major", [True, False])
def test_flip_without_lengths(num_batch_dims: int, axis: int, time_major: bool) -> None:
    x = jnp.arange(24.0).reshape(2, 3, 4)
    y = nn.flip_sequences(x, None, num_batch_dims, time_major)
    np.testing.assert_array_equal(y, jnp.flip(x, 0 if time_major else axis))


def test_flip_twice() -> None:
    x, lengths = jnp.arange(12).reshape(2, 6), jnp.array([4, 1])
    twice: Any = nn.flip_sequences(nn.flip_sequences(x, lengths, 1, False), lengths, 1, False)
    np.testing.assert_array_equal(twice, x)


def test_several_batch_dimensions() -> None:
    x, lengths = jnp.arange(24).reshape(2, 3, 4), jnp.array([[1, 2, 3], [4, 3, 2]])
    y = nn.flip_sequences(x, lengths, 2, False)
    flat = nn.flip_sequences(x.reshape(6, 4), lengths.reshape(6), 1, False)
    np.testing.assert_array_equal(y.reshape(6, 4), flat)


def test_steps_that_count() -> None:
    found = is_within(jnp.array([[1], [3]]), 2)
    np.testing.assert_array_equal(found, [[[True], [True]], [[False], [True]]])


def test_keep_where() -> None:
    new, old = (jnp.ones((2, 3)), jnp.ones(2)), (jnp.zeros((2, 3)), jnp.zeros(2))
    found = keep_where(jnp.array([True, False]), new, old)
    np.testing.assert_array_equal(found[0], [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found[1], [1, 0])
