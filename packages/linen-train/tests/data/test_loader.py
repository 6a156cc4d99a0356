import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_train.data import ArrayLoader
from linen_train.data._rows import shuffled
from linen_train.errors import DataOptionError, DataPositionError, DataShapeError

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
    loader = ArrayLoader(ARRAYS, 4, epochs=1, remainder="keep")
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


def jittered(batch: Any, generator: np.random.Generator) -> Any:
    """Add noise, in place, which is different for every example and every draw."""
    batch["x"] += generator.random(len(batch["x"]))
    return batch


def drawn(batches: Any) -> list[Any]:
    return [{name: array.tolist() for name, array in batch.items()} for batch in batches]


@given(
    examples=st.integers(1, 40),
    batch_size=st.integers(1, 5),
    seed=st.none() | st.integers(0, 9),
    remainder=st.sampled_from(["drop", "keep", "pad"]),
    transform=st.sampled_from([None, jittered]),
    shard_count=st.integers(1, 3),
    data=st.data(),
)
def test_resuming_anywhere_gives_the_same_batches(
    examples: int,
    batch_size: int,
    seed: int | None,
    remainder: Any,
    transform: Any,
    shard_count: int,
    data: Any,
) -> None:
    batch_size *= shard_count
    examples = max(examples, batch_size)
    examples -= examples % shard_count
    arrays = {"x": np.arange(examples, dtype=np.float64)}
    loader = ArrayLoader(
        arrays,
        batch_size,
        epochs=3,
        shuffle_seed=seed,
        remainder=remainder,
        transform=transform,
        shard_index=data.draw(st.integers(0, shard_count - 1)),
        shard_count=shard_count,
    )
    everything = drawn(loader)
    assert len(everything) == 3 * loader.batches_per_epoch
    done = data.draw(st.integers(0, len(everything)))
    interrupted = iter(loader)
    for _ in range(done):
        next(interrupted)
    resumed = iter(loader)
    resumed.set_state(json.loads(json.dumps(interrupted.get_state())))
    assert drawn(resumed) == everything[done:]
    np.testing.assert_array_equal(arrays["x"], np.arange(examples))


@given(
    batches=st.integers(1, 5),
    rest=st.integers(0, 11),
    shard_count=st.sampled_from([1, 2, 3, 4]),
    seed=st.none() | st.integers(0, 9),
    remainder=st.sampled_from(["drop", "keep", "pad"]),
)
def test_shards_are_a_permutation_of_the_whole(
    batches: int, rest: int, shard_count: int, seed: int | None, remainder: Any
) -> None:
    rest -= rest % shard_count if remainder == "keep" else 0
    examples = 12 * batches + rest

    def epoch(index: int, count: int) -> list[Any]:
        loader = ArrayLoader(
            {"x": np.arange(examples)},
            12,
            epochs=1,
            shuffle_seed=seed,
            remainder=remainder,
            shard_index=index,
            shard_count=count,
        )
        return list(loader)

    whole = epoch(0, 1)
    shards = [epoch(index, shard_count) for index in range(shard_count)]
    assert {len(shard) for shard in shards} == {len(whole)}
    for batch, *parts in zip(whole, *shards, strict=True):
        assert len({len(part["x"]) for part in parts}) == 1
        for name, array in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
    seen = [x for batch in whole for x in batch["x"][batch.get("mask", slice(None))].tolist()]
    assert len(set(seen)) == len(seen) == (12 * batches if remainder == "drop" else examples)
    assert set(seen) <= set(range(examples))


def test_padding_repeats_the_last_example_under_a_mask() -> None:
    loader = ArrayLoader(
        ARRAYS, 4, epochs=2, remainder="pad", mask_name="valid", shard_index=1, shard_count=2
    )
    batches = list(loader)
    assert [batch["label"].tolist() for batch in batches[:3]] == [[2, 3], [6, 7], [9, 9]]
    assert [batch["valid"].tolist() for batch in batches[:3]] == [[True] * 2] * 2 + [[False] * 2]
    assert loader.batches_per_epoch == 3 == len(batches) // 2


def test_transforms_differ_between_epochs_batches_shards_and_seeds() -> None:
    def noise(**options: Any) -> list[float]:
        loader = ArrayLoader({"x": np.zeros(8)}, 4, epochs=2, transform=jittered, **options)
        return [value for batch in loader for value in batch["x"].tolist()]

    runs = [
        noise(),
        noise(shuffle_seed=1),
        noise(shard_index=0, shard_count=2, shuffle_seed=2),
        noise(shard_index=1, shard_count=2, shuffle_seed=2),
    ]
    values = [value for run in runs for value in run]
    assert len(set(values)) == len(values) == 16 + 16 + 8 + 8


def test_a_transform_may_return_anything() -> None:
    def pair(batch: Any, generator: np.random.Generator) -> Any:
        return batch["image"] * 2, batch["label"]

    images, labels = next(iter(ArrayLoader(ARRAYS, 4, epochs=1, transform=pair)))
    np.testing.assert_array_equal(images, ARRAYS["image"][:4] * 2)
    assert labels.tolist() == [0, 1, 2, 3]


def test_a_transform_that_fails_does_not_skip_its_batch() -> None:
    failures = iter([True, False, False])

    def once(batch: Any, generator: np.random.Generator) -> Any:
        if next(failures):
            raise KeyError("first")
        return batch

    batches = iter(ArrayLoader(ARRAYS, 4, epochs=1, transform=once))
    with pytest.raises(KeyError, match="first"):
        next(batches)
    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_memory_mapped_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", ARRAYS["image"])
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    batch = next(iter(ArrayLoader(mapped, 4, epochs=1, shuffle_seed=0)))
    rows = ArrayLoader(ARRAYS, 4, epochs=1, shuffle_seed=0).order(0)[:4]
    np.testing.assert_array_equal(batch, ARRAYS["image"][rows])
    assert type(batch) is np.ndarray
    batch[:] = 0
    np.testing.assert_array_equal(mapped, ARRAYS["image"])


def test_whatever_indexes_like_an_array() -> None:
    batch = next(iter(ArrayLoader(jnp.arange(6), 3, epochs=1)))
    assert isinstance(batch, jax.Array)
    assert batch.tolist() == [0, 1, 2]


def test_one_process_has_the_only_shard() -> None:
    loader = ArrayLoader(ARRAYS, 4, epochs=1, shard_by_process=True)
    assert (loader.shard_index, loader.shard_count) == (0, 1)
    assert labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_processes_are_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    loader = ArrayLoader(ARRAYS, 4, epochs=1, shard_by_process=True)
    assert labels(loader) == [[2, 3], [6, 7]]


def test_a_position_fits_any_number_of_shards() -> None:
    whole = iter(ArrayLoader(ARRAYS, 4, epochs=1, shuffle_seed=3))
    next(whole)
    shards = [
        iter(ArrayLoader(ARRAYS, 4, epochs=1, shuffle_seed=3, shard_index=i, shard_count=2))
        for i in range(2)
    ]
    for shard in shards:
        shard.set_state(whole.get_state())
    parts = [label for shard in shards for label in next(shard)["label"].tolist()]
    assert parts == next(whole)["label"].tolist()


def test_equal_draws_are_ordered_alike_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def __init__(self, key: Any) -> None:
            pass

        def random_raw(self, count: int) -> np.ndarray:
            return np.arange(count, dtype=np.uint64)[::-1] // np.uint64(2)

    monkeypatch.setattr(np.random, "Philox", Constant)
    assert shuffled(6, 0, 0).tolist() == [4, 5, 2, 3, 0, 1]


def test_the_state_is_json_whatever_the_seed_is() -> None:
    loader = ArrayLoader(ARRAYS, 5, epochs=1, shuffle_seed=np.int64(3))  # pyright: ignore[reportArgumentType]
    state = iter(loader).get_state()
    assert json.loads(json.dumps(state)) == state


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


def test_a_position_beyond_the_end() -> None:
    batches = iter(ArrayLoader(ARRAYS, 5, epochs=2))
    end = 2 * ArrayLoader(ARRAYS, 5, epochs=2).batches_per_epoch
    with pytest.raises(DataPositionError) as caught:
        batches.set_state({**batches.get_state(), "position": end + 1})
    assert str(caught.value) == (
        f"ArrayLoader: found position {end + 1}, expected at most {end}: 2 epochs of {end // 2} "
        "batches. Write epochs=None, or as many as before."
    )
    batches.set_state({**batches.get_state(), "position": end})
    assert list(batches) == []


def test_numbers_of_numpy_give_positions_of_json() -> None:
    four, two, seed = np.int64(4), np.int64(2), np.uint64(3)
    batches = iter(ArrayLoader(ARRAYS, four, epochs=two, shuffle_seed=seed))  # type: ignore[arg-type]
    next(batches)
    state = batches.get_state()
    assert json.loads(json.dumps(state)) == state
    batches.set_state(state)


def test_a_transform_without_a_return() -> None:
    loader = ArrayLoader(ARRAYS, 5, epochs=1, transform=lambda batch, generator: None)
    with pytest.raises(
        DataOptionError, match=r"a transform that returns None, .* Write return batch"
    ):
        next(iter(loader))


@pytest.mark.parametrize("state", [None, b"{}", {}, {"position": -1}, {"position": "3"}, [3]])
def test_what_is_no_position(state: Any) -> None:
    batches = iter(ArrayLoader(ARRAYS, 5, epochs=1))
    with pytest.raises(DataPositionError) as caught:
        batches.set_state(state)
    assert str(caught.value) == (
        f"ArrayLoader: found the state {state!r}, expected what get_state of its batches returned."
    )
    assert batches.get_state()["position"] == 0


@pytest.mark.parametrize(
    ("arrays", "batch_size", "options", "text"),
    [
        (
            ARRAYS,
            4,
            {"remainder": "ignore"},
            'found remainder=\'ignore\', expected "drop", "keep" or "pad".',
        ),
        (
            ARRAYS,
            4,
            {"shuffle_seed": -1},
            "found shuffle_seed=-1, expected a seed from 0, below 2**64.",
        ),
        (
            ARRAYS,
            4,
            {"epochs": -1},
            "found epochs=-1, expected a number from 0, or None to go on forever.",
        ),
        (
            ARRAYS,
            4,
            {"shard_index": 2, "shard_count": 2},
            "found shard_index=2 with shard_count=2, expected an index from 0, below the count.",
        ),
        (
            ARRAYS,
            5,
            {"shard_index": 1, "shard_count": 2},
            "found batch_size=5 for 2 shards, expected a multiple of 2: it counts the examples over "
            "all shards.",
        ),
        (
            {"x": np.zeros(9)},
            4,
            {"shard_count": 2, "remainder": "keep"},
            'found remainder="keep" for a last batch of 1 examples in 2 shards, expected equal '
            'shards. Write remainder="pad".',
        ),
        (
            np.zeros(9),
            4,
            {"remainder": "pad"},
            'found remainder="pad" with arrays in a ndarray, expected a dict with room for the mask: '
            "pass arrays={name: array, ...} and mask_name=.",
        ),
        (
            ARRAYS,
            4,
            {"remainder": "pad", "mask_name": "label"},
            "found remainder=\"pad\" with an entry 'label' already, expected a dict with room for the "
            "mask: pass arrays={name: array, ...} and mask_name=.",
        ),
        (
            ARRAYS,
            4,
            {"shard_by_process": True, "shard_count": 2},
            "found shard_by_process together with shard_index=0 and shard_count=2, expected one or "
            "the other.",
        ),
        (
            ARRAYS,
            2.0,
            {},
            "found batch_size=2.0, expected a whole number. Write batch_size=128, say.",
        ),
        (
            ARRAYS,
            4,
            {"epochs": 1.5},
            "found epochs=1.5, expected a whole number. Write epochs=10, say.",
        ),
        (
            ARRAYS,
            4,
            {"shuffle_seed": "3"},
            "found shuffle_seed='3', expected a whole number. Write shuffle_seed=0, say.",
        ),
        (
            ARRAYS,
            4,
            {"shuffle_seed": jax.random.key(0)},
            "found shuffle_seed=Array((), dtype=key<fry>) overlaying:\n[0 0], expected a whole "
            "number. Write shuffle_seed=0, say.",
        ),
        (
            ARRAYS,
            4,
            {"shard_count": 1.0},
            "found shard_count=1.0, expected a whole number. Write shard_count=1, say.",
        ),
        (
            ARRAYS,
            4,
            {"transform": "flip"},
            "found transform='flip', expected a function. Write transform=lambda batch, generator: "
            "batch.",
        ),
        (
            ARRAYS,
            4,
            {"shuffle_seed": jax.random.PRNGKey(0)},
            "found shuffle_seed=Array([0, 0], dtype=uint32), expected a whole number. Write "
            "shuffle_seed=0, say.",
        ),
    ],
    ids=[
        *("remainder", "seed", "epochs", "index", "batch", "keep", "array", "name", "process"),
        *("part", "part_of_epoch", "text", "typed_key", "part_of_shards", "transform", "key"),
    ],
)
def test_options_that_make_no_sense(arrays: Any, batch_size: int, options: Any, text: str) -> None:
    with pytest.raises(DataOptionError) as caught:
        ArrayLoader(arrays, batch_size, **{"epochs": 1, **options})
    assert str(caught.value) == f"ArrayLoader: {text}"


@pytest.mark.parametrize(
    ("arrays", "batch_size", "text"),
    [
        ({"a": np.zeros(3), "b": {"c": np.zeros(4)}}, 1, "found a: 3, b/c: 4, expected arrays of"),
        ({}, 1, "found no arrays, expected"),
        ({"a": np.zeros(2), "b": [1, 2]}, 1, "found 1 at b/0, .* write np.asarray"),
        ({"a": np.zeros(3), "b": ["cat", "dog"]}, 1, "found 'cat' at b/0, .* write np.asarray"),
        ({"a": np.zeros(3), "b": range(3)}, 1, r"found range\(0, 3\) at b, .* write np.asarray"),
        ({"a": np.zeros(3), "b": {1, 2, 3}}, 1, "found {1, 2, 3} at b, .* write np.asarray"),
        (np.float32(1), 1, "found .* at arrays, expected an array whose first axis"),
        (np.zeros(3), 4, "found batch_size=4 for 3 examples, expected 1 to 3"),
        (np.zeros(3), 0, "found batch_size=0 for 3 examples"),
        (np.zeros(3), -1, "found batch_size=-1 for 3 examples"),
    ],
    ids=[
        "lengths",
        "nothing",
        "list",
        "texts",
        "range",
        "set",
        "scalar",
        "too_large",
        "zero",
        "negative",
    ],
)
def test_arrays_and_sizes_that_do_not_fit(arrays: Any, batch_size: int, text: str) -> None:
    with pytest.raises(DataShapeError, match=text):
        ArrayLoader(arrays, batch_size, epochs=1)
