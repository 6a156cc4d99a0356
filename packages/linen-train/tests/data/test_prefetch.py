import gc
import itertools
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from linen_train.data import ArrayLoader, CheckpointableIterator, _transfer, prefetch_to_device
from linen_train.errors import (
    BatchShardingError,
    DataLeafError,
    DataOptionError,
    DataPositionError,
    DataShapeError,
    PrefetchClosedError,
)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert threads() == []


@given(length=st.integers(0, 12), size=st.integers(1, 5))
def test_the_same_batches_in_order(length: int, size: int) -> None:
    batches = [{"x": np.full(3, i), "y": (np.array(i),)} for i in range(length)]
    received = list(prefetch_to_device(batches, size))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(received))
    assert [int(batch["y"][0]) for batch in received] == list(range(length))


def test_a_source_may_fill_the_same_array_anew() -> None:
    def source() -> Iterator[np.ndarray]:
        buffer = np.zeros(1 << 16, np.float32)
        for i in range(6):
            buffer[:] = i
            yield buffer

    assert [float(batch.max()) for batch in prefetch_to_device(source(), 3)] == list(range(6))


def test_it_reads_ahead_and_no_further() -> None:
    drawn = threading.Semaphore(0)
    count = itertools.count()

    def source() -> Iterator[np.ndarray]:
        while True:
            next(count)
            drawn.release()
            yield np.zeros(1)

    with prefetch_to_device(source(), 2) as batches:
        for _ in range(3):  # two that are ready, and one that waits for room
            assert drawn.acquire(timeout=10)
        assert not drawn.acquire(timeout=0.05)
        next(batches)
        assert drawn.acquire(timeout=10)


def test_an_error_comes_in_its_place_with_its_traceback() -> None:
    def source() -> Iterator[np.ndarray]:
        yield np.zeros(1)
        raise KeyError("damaged record")

    batches = prefetch_to_device(source(), 3)
    next(batches)
    with pytest.raises(KeyError, match="damaged record") as caught:
        next(batches)
    assert "in source" in "".join(traceback.format_exception(caught.value))
    assert list(batches) == []


@pytest.mark.parametrize("sharding", [None, SingleDeviceSharding(jax.devices()[0])], ids=str)
def test_a_batch_that_cannot_be_transferred(sharding: Any) -> None:
    good, bad = {"x": np.zeros(1)}, {"x": np.zeros(1), "y": {"names": ["cat", "dog"]}}
    batches = prefetch_to_device([good, bad], sharding=sharding)
    next(batches)
    with pytest.raises(DataLeafError) as caught:
        next(batches)
    assert str(caught.value) == (
        "prefetch_to_device: in batch 1, counted from 0, found 'cat' at y/names/0, expected an array "
        "of numbers. Leave it out where the batches are made."
    )


def test_onto_a_sharding() -> None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batch = next(prefetch_to_device([np.zeros(2)], sharding=sharding))
    assert batch.sharding == sharding  # pyright: ignore[reportAttributeAccessIssue]


def test_over_all_devices() -> None:
    mesh = jax.make_mesh((8,), ("data",))
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    batch = {"x": np.arange(16.0).reshape(16, 1), "scale": np.ones(())}
    with prefetch_to_device([batch], sharding={"x": split, "scale": whole}) as batches:
        received: Any = next(batches)
    assert received["x"].sharding == split
    assert received["scale"].sharding == whole
    assert [shard.data.shape for shard in received["x"].addressable_shards] == [(2, 1)] * 8
    np.testing.assert_array_equal(received["x"], batch["x"])


SCALAR = (
    "expected {} or more, for its sharding over {}. Give values that belong to no example to the "
    "step as arguments of their own, or a sharding of their own: NamedSharding(mesh, PartitionSpec())."
)
INDIVISIBLE = (
    "expected axis {} to be a multiple of {}, the number of parts that the devices of this process work "
    "on over {}. {} the remainder where the batches are made."
)
OVER_DATA, OVER_BOTH = PartitionSpec("data"), PartitionSpec("data", "model")


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize(
    ("batch", "spec", "text"),
    [
        (
            {"x": np.zeros(8), "step": np.int32(3)},
            OVER_DATA,
            "step is a scalar, " + SCALAR.format("1 axis", "'data'"),
        ),
        (
            (np.zeros(8), 3.0),
            OVER_DATA,
            "1 is a scalar, " + SCALAR.format("1 axis", "'data'"),
        ),
        (
            {"x": np.zeros(8)},
            OVER_BOTH,
            "x has the shape (8,), " + SCALAR.format("2 axes", "'data', 'model'"),
        ),
        (
            np.zeros(9),
            OVER_DATA,
            "the batch has the shape (9,), "
            + INDIVISIBLE.format(0, 4, "'data'", "Write batch_size=12, or drop or pad"),
        ),
        (
            {"x": np.zeros((4, 3))},
            OVER_BOTH,
            "x has the shape (4, 3), " + INDIVISIBLE.format(1, 2, "'model'", "Drop or pad"),
        ),
        (
            {"x": np.zeros((6, 2))},
            PartitionSpec(("data", "model")),
            "x has the shape (6, 2), "
            + INDIVISIBLE.format(0, 8, "'data', 'model'", "Write batch_size=8, or drop or pad"),
        ),
    ],
    ids=["scalar", "number", "rank", "rows", "columns", "both"],
)
def test_a_batch_that_cannot_be_split(kind: Any, batch: Any, spec: Any, text: str) -> None:
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))
    good = np.zeros((8, 2))
    batches = prefetch_to_device([good, batch, good], sharding=NamedSharding(mesh, spec))
    next(batches)
    with pytest.raises(BatchShardingError) as caught:
        next(batches)
    assert str(caught.value) == f"prefetch_to_device: in batch 1, counted from 0, {text}"
    assert caught.value.__cause__ is not None
    assert list(batches) == []


def test_shardings_of_another_structure() -> None:
    split = NamedSharding(jax.make_mesh((8,), ("data",)), OVER_DATA)
    batch: Any = {"x": np.zeros(8), "y": (np.zeros(3), np.zeros(()))}
    assert len(next(prefetch_to_device([batch], sharding={"x": split, "y": None}))) == 2
    with pytest.raises(BatchShardingError) as caught:
        next(prefetch_to_device([batch], sharding={"x": split, "z": split}))
    assert str(caught.value) == (
        "prefetch_to_device: in batch 0, counted from 0, found the structure "
        "PyTreeDef({'x': *, 'y': (*, *)}), expected one that the shardings fit, of structure "
        "PyTreeDef({'x': *, 'z': *}). Write one sharding for all arrays, or one for each."
    )


def test_an_error_that_is_not_of_the_batch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def device_put(*_: Any) -> None:
        raise ValueError("no such device")

    with monkeypatch.context() as patched:
        patched.setattr(jax, "device_put", device_put)
        batches = prefetch_to_device([{}])
        with pytest.raises(ValueError, match=r"^no such device$"):
            next(batches)


def test_a_batch_that_fits_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transfer, "_problems", None)
    assert len(list(prefetch_to_device([np.zeros(1)] * 3))) == 3


def test_closing_early_and_twice() -> None:
    batches = prefetch_to_device(itertools.repeat(np.zeros(1)))
    next(batches)
    batches.close()
    batches.close()
    assert threads() == []
    with pytest.raises(PrefetchClosedError, match="Draw batches inside its `with` block"):
        next(batches)


def test_the_context_closes_after_an_error_of_the_consumer() -> None:
    with pytest.raises(ZeroDivisionError), prefetch_to_device(itertools.repeat(np.zeros(1))):
        raise ZeroDivisionError
    assert threads() == []


def test_a_forgotten_prefetcher_is_collected() -> None:
    batches = prefetch_to_device(itertools.repeat(np.zeros(1)))
    next(batches)
    reference = weakref.ref(batches)
    del batches
    gc.collect()
    assert reference() is None
    assert threads() == []


def test_closing_wakes_a_waiting_consumer() -> None:
    release = threading.Event()

    def source() -> Iterator[np.ndarray]:
        yield np.zeros(1)
        release.wait()

    batches = prefetch_to_device(source())
    next(batches)
    outcome: list[BaseException] = []

    def consume() -> None:
        try:
            next(batches)
        except BaseException as error:
            outcome.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    threading.Timer(0.05, release.set).start()
    batches.close()
    consumer.join(10)
    assert isinstance(outcome[0], PrefetchClosedError | StopIteration)


def test_the_position_is_that_of_the_consumer() -> None:
    loader = ArrayLoader(np.arange(12), batch_size=2, epochs=None, shuffle_seed=0)
    with prefetch_to_device(loader, size=4) as batches:
        assert batches.get_state()["position"] == 0
        for _ in range(3):
            next(batches)
        state = batches.get_state()
        following = [np.asarray(next(batches)).tolist() for _ in range(5)]
    resumed = iter(loader)
    resumed.set_state(state)
    assert [next(resumed).tolist() for _ in range(5)] == following


def test_going_to_a_position() -> None:
    loader = ArrayLoader(np.arange(12), batch_size=2, epochs=None, shuffle_seed=0)
    with prefetch_to_device(loader, size=3) as batches:
        assert isinstance(batches, CheckpointableIterator)
        first = next(batches).tolist()
        state = batches.get_state()
        following = [next(batches).tolist() for _ in range(4)]
        batches.set_state(state)
        assert batches.get_state() == state
        assert [next(batches).tolist() for _ in range(4)] == following
        batches.set_state({**state, "position": 0})
        assert next(batches).tolist() == first


def test_going_back_from_the_end() -> None:
    with prefetch_to_device(ArrayLoader(np.arange(4), batch_size=2, epochs=1)) as batches:
        beginning = batches.get_state()
        assert len(list(batches)) == 2
        batches.set_state(beginning)
        assert len(list(batches)) == 2


def test_a_position_that_is_not_accepted_changes_nothing() -> None:
    loader = ArrayLoader(np.arange(12), batch_size=2, epochs=1)
    with prefetch_to_device(loader, size=4) as batches:
        next(batches)
        with pytest.raises(
            DataPositionError, match="found a position in batches with batch_size=3"
        ):
            batches.set_state({**batches.get_state(), "batch_size": 3})
        assert batches.get_state()["position"] == 1
        assert [int(batch[0]) for batch in batches] == [2, 4, 6, 8, 10]


def test_states_that_the_source_changes_are_kept_as_they_were() -> None:
    class Source:
        def __init__(self) -> None:
            self.state = {"position": 0}

        def __iter__(self) -> "Source":
            return self

        def __next__(self) -> np.ndarray:
            self.state["position"] += 1
            return np.zeros(1)

        def get_state(self) -> dict[str, int]:
            return self.state

    with prefetch_to_device(Source(), size=3) as batches:
        assert batches.get_state() == {"position": 0}
        next(batches)
        assert batches.get_state() == {"position": 1}
        with pytest.raises(
            DataPositionError, match="without get_state and set_state, expected one"
        ):
            batches.set_state({"position": 0})


def test_going_to_a_position_when_closed() -> None:
    batches = prefetch_to_device(ArrayLoader(np.arange(4), batch_size=2, epochs=1))
    state = batches.get_state()
    batches.close()
    with pytest.raises(PrefetchClosedError):
        batches.set_state(state)
    assert threads() == []


def test_an_iterator_without_a_position() -> None:
    with (
        prefetch_to_device([np.zeros(1)]) as batches,
        pytest.raises(DataPositionError, match="found an iterator without get_state"),
    ):
        batches.get_state()


@pytest.mark.parametrize("size", [0, -1, 2.0, "2"])
def test_sizes(size: Any) -> None:
    with pytest.raises(DataShapeError) as caught:
        prefetch_to_device([], size)
    assert str(caught.value) == (
        f"prefetch_to_device: found size={size!r}, expected at least 1 batch. Write size=2."
    )


@pytest.mark.parametrize("sharding", [jax.sharding.PartitionSpec("data"), {"x": "data"}], ids=str)
def test_what_is_no_sharding(sharding: Any) -> None:
    with pytest.raises(DataOptionError, match=r"Write sharding=NamedSharding\(mesh, PartitionSpec"):
        prefetch_to_device([], sharding=sharding)
