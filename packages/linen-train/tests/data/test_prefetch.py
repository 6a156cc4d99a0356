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
from jax.sharding import NamedSharding, PartitionSpec

from linen_train.data import ArrayLoader, CheckpointableIterator, prefetch_to_device
from linen_train.errors import (
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


def test_a_batch_that_cannot_be_transferred() -> None:
    with pytest.raises(TypeError):
        next(prefetch_to_device([{"x": object()}]))


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


def test_a_batch_that_cannot_be_split() -> None:
    split = NamedSharding(jax.make_mesh((8,), ("data",)), PartitionSpec("data"))
    with pytest.raises(ValueError, match=r"\(9,\)"):
        next(prefetch_to_device([np.zeros(9)], sharding=split))


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


@pytest.mark.parametrize("size", [0, -1])
def test_sizes(size: Any) -> None:
    with pytest.raises(DataShapeError, match=f"found size={size}, expected at least 1 batch"):
        prefetch_to_device([], size)


@pytest.mark.parametrize("sharding", [jax.sharding.PartitionSpec("data"), {"x": "data"}], ids=str)
def test_what_is_no_sharding(sharding: Any) -> None:
    with pytest.raises(DataOptionError, match=r"Write sharding=NamedSharding\(mesh, PartitionSpec"):
        prefetch_to_device([], sharding=sharding)
