import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_train.errors import MetricShapeError, MetricValueError
from linen_train.metrics import Accuracy

NAN = float("nan")


@pytest.mark.parametrize(
    ("logits", "labels", "options", "expected"),
    [
        ([[2, 1, 0], [0, 1, 2]], [0, 1], {}, 1 / 2),
        ([[2, 1, 0], [0, 1, 2]], [0, 1], {"top_k": 2}, 1.0),
        ([[2, 1, 0], [0, 1, 2]], [0, 1], {"mask": [False, True]}, 0.0),
        ([[2, 1, 0], [0, 1, 2]], [0, 1], {"weights": [3.0, 1.0]}, 3 / 4),
        ([[1, 1, 1]] * 3, [0, 1, 2], {}, 1 / 3),
        ([[1, 1, 1]] * 3, [0, 1, 2], {"top_k": 2}, 2 / 3),
        ([[NAN, 1, 0], [2, NAN, 0]], [0, 0], {}, 0.0),
        ([[1, 0], [1, 0]], [-1, 2], {"top_k": 2}, 0.0),
        ([[-np.inf, 0], [0, -np.inf]], [1, 0], {}, 1.0),
        ([[[1, 0], [0, 1]], [[1, 0], [1, 0]]], [[0, 1], [1, 1]], {"mask": [True, False]}, 1.0),
        ([1, 0], 0, {}, 1.0),
        ([[1, 0]] * 2, [1 << 32, -(1 << 63)], {}, 0.0),  # beyond 32 bits
        ([[1, 0]] * 2, np.array([0, (1 << 63) + 2], np.uint64), {}, 1 / 2),
    ],
)
def test_one_batch(logits: Any, labels: Any, options: Any, expected: float) -> None:
    options = {k: np.asarray(v) if isinstance(v, list) else v for k, v in options.items()}
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels)
    compiled = jax.jit(lambda: Accuracy.from_logits(logits, labels, **options).compute())()
    np.testing.assert_allclose(compiled, expected, rtol=1e-6)


@functools.partial(jax.jit, static_argnums=2)
def compiled_top_k(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    return Accuracy.from_logits(logits, labels, top_k=k).compute()


@given(
    logits=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=6, max_size=6),
    labels=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    k=st.integers(1, 4),
)
def test_it_agrees_with_top_k(logits: list[list[int]], labels: list[int], k: int) -> None:
    scores = jnp.asarray(logits, jnp.float32)
    _, largest = jax.lax.top_k(scores, k)
    expected = np.mean([label in row for label, row in zip(labels, largest.tolist(), strict=True)])
    found = compiled_top_k(scores, jnp.asarray(labels), k)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(cut=st.integers(0, 12))
def test_two_parts_merge_to_the_whole(cut: int) -> None:
    logits = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    labels, first = np.arange(12) % 3, np.arange(12) < cut
    parts = [masked_accuracy(logits, labels, mask) for mask in (first, ~first)]
    merged = parts[0].merge(parts[1])
    assert isinstance(merged, Accuracy)
    assert merged.compute() == masked_accuracy(logits, labels, np.ones(12, bool)).compute()


@jax.jit
def masked_accuracy(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Accuracy:
    return Accuracy.from_logits(logits, labels, mask=mask)


@pytest.mark.parametrize(
    ("logits", "labels", "top_k", "error", "text"),
    [
        (
            np.zeros((2, 3)),
            np.zeros((2, 3)),
            1,
            MetricValueError,
            "Accuracy.from_logits: found labels of float64, expected integers. From one-hot labels "
            "write labels.argmax(-1).",
        ),
        (
            np.zeros((2, 3)),
            np.zeros((2, 1), int),
            1,
            MetricShapeError,
            "Accuracy.from_logits: found logits of shape (2, 3) and labels of shape (2, 1), expected "
            "labels of shape (2,): one for each row of logits.",
        ),
        (
            np.zeros((2, 3)),
            np.zeros(2, int),
            4,
            MetricShapeError,
            "Accuracy.from_logits: found top_k=4 with 3 classes, expected 1 to 3.",
        ),
        (
            [["a", "b"]],
            [0],
            1,
            MetricValueError,
            "Accuracy.from_logits: found logits of <U1, expected real numbers, one for each class.",
        ),
        (
            [[1.0], [1.0, 2.0]],
            [0],
            1,
            MetricValueError,
            "Accuracy.from_logits: found logits=[[1.0], [1.0, 2.0]], expected one array of real "
            "numbers or booleans. Write np.concatenate(arrays) for several.",
        ),
    ],
    ids=["one_hot", "shape", "top_k", "text", "ragged"],
)
def test_batches_that_do_not_fit(
    logits: Any, labels: Any, top_k: int, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        Accuracy.from_logits(logits, labels, top_k=top_k)
    assert str(caught.value) == text
