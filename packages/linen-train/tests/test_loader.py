import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_train.data import ArrayLoader
from linen_train.errors import DataPositionError, DataShapeError

GOLDEN_ORDER = [4, 1, 6, 3, 2, 7, 5, 0]
ARRAYS = {"image": np.arange(20.0).reshape(10, 2), "label": np.arange(10)}


def labels(loader: ArrayLoader) -> list[list[int]]:
    return [batch["label"].tolist() for batch in loader]


def test_batches_keep_examples_together() -> None:
    for batch in ArrayLoader(ARRAYS, 4, epochs=2, shuffle_seed=0):
        np.testing.assert_array_equal(batch["image"], ARRAYS["image"][batch["label"]])
        assert batch["image"].shape == (4, 2)


def test_in_order_without_a_seed() -> None:
    assert labels(ArrayLoader(ARRAYS, 4, epochs=1)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_remainder_is_kept_on_request() -> None:
    loader = ArrayLoader(ARRAYS, 4, epochs=1, drop_remainder=False)
    assert loader.batches_per_epoch == 3
    assert labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_every_epoch_has_its_own_order() -> None:
    epochs = np.asarray(labels(ArrayLoader(ARRAYS, 5, epochs=3, shuffle_seed=0))).reshape(3, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_is_the_same_on_every_machine() -> None:
    loader = ArrayLoader(np.arange(8), 8, epochs=1, shuffle_seed=7)
    assert loader.order(0).tolist() == GOLDEN_ORDER


def test_seeds_differ_and_repeat() -> None:
    def order(seed: int) -> list[list[int]]:
        return labels(ArrayLoader(ARRAYS, 10, epochs=1, shuffle_seed=seed))

    assert order(1) == order(1) != order(2)


def test_endless() -> None:
    batches = iter(ArrayLoader(ARRAYS, 5, epochs=None))
    assert [next(batches)["label"][0] for _ in range(5)] == [0, 5, 0, 5, 0]


def test_an_iterator_stays_at_its_end_and_the_loader_begins_anew() -> None:
    loader = ArrayLoader(ARRAYS, 10, epochs=1)
    batches = iter(loader)
    next(batches)
    assert list(batches) == []
    assert list(batches) == []
    assert len(list(loader)) == 1


@given(
    examples=st.integers(1, 40),
    batch_size=st.integers(1, 10),
    seed=st.none() | st.integers(0, 9),
    drop_remainder=st.booleans(),
    data=st.data(),
)
def test_resuming_anywhere_gives_the_same_batches(
    examples: int, batch_size: int, seed: int | None, drop_remainder: bool, data: Any
) -> None:
    loader = ArrayLoader(
        np.arange(examples),
        min(batch_size, examples),
        epochs=3,
        shuffle_seed=seed,
        drop_remainder=drop_remainder,
    )
    everything = [batch.tolist() for batch in loader]
    done = data.draw(st.integers(0, len(everything)))
    interrupted = iter(loader)
    for _ in range(done):
        next(interrupted)
    resumed = iter(loader)
    resumed.set_state(json.loads(json.dumps(interrupted.get_state())))
    assert [batch.tolist() for batch in resumed] == everything[done:]


def test_a_far_position_costs_nothing() -> None:
    batches = iter(ArrayLoader(ARRAYS, 5, epochs=None, shuffle_seed=0))
    batches.set_state({**batches.get_state(), "position": 10**12})
    assert next(batches)["label"].shape == (5,)


def test_a_position_in_other_batches() -> None:
    state = iter(ArrayLoader(ARRAYS, 5, epochs=1, shuffle_seed=0)).get_state()
    with pytest.raises(DataPositionError) as caught:
        iter(ArrayLoader(ARRAYS, 2, epochs=1, shuffle_seed=1)).set_state(state)
    assert str(caught.value) == (
        "ArrayLoader: found a position in batches with batch_size=5, shuffle_seed=0, expected "
        "batch_size=2, shuffle_seed=1. Make the loader as it was made when the position was saved."
    )


@pytest.mark.parametrize(
    ("arrays", "batch_size", "text"),
    [
        ({"a": np.zeros(3), "b": {"c": np.zeros(4)}}, 1, "found a: 3, b/c: 4, expected arrays of"),
        ({}, 1, "found no arrays, expected"),
        (np.zeros(3), 4, "found batch_size=4 for 3 examples, expected 1 to 3"),
        (np.zeros(3), 0, "found batch_size=0 for 3 examples"),
        (np.zeros(3), -1, "found batch_size=-1 for 3 examples"),
    ],
    ids=["lengths", "nothing", "too_large", "zero", "negative"],
)
def test_arrays_and_sizes_that_do_not_fit(arrays: Any, batch_size: int, text: str) -> None:
    with pytest.raises(DataShapeError, match=text):
        ArrayLoader(arrays, batch_size, epochs=1)
