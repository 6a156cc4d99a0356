"""Iterators of grain are checkpointable as they are, alone and prefetched."""

import json
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
import pytest

from linen_train.data import CheckpointableIterator, prefetch_to_device

BATCHES = 5


class Numbers:
    """A random-access source; its representation is part of what grain saves."""

    def __len__(self) -> int:
        return 4 * BATCHES

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(index, np.int32)

    def __repr__(self) -> str:
        return "Numbers()"


def data_loader() -> Any:
    sampler = grain.samplers.IndexSampler(
        len(Numbers()), grain.sharding.NoSharding(), shuffle=True, num_epochs=1, seed=0
    )
    batched = [grain.transforms.Batch(4)]
    return iter(
        grain.DataLoader(data_source=Numbers(), sampler=sampler, operations=batched, worker_count=0)
    )


def iter_dataset() -> Any:
    dataset = grain.MapDataset.source(Numbers()).shuffle(seed=0).batch(4)
    return iter(dataset.to_iter_dataset())


def jitter(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return rows + 100 * generator.integers(1, 100)


def random_dataset() -> Any:
    dataset = grain.MapDataset.source(Numbers()).seed(3).shuffle().batch(4)
    return iter(dataset.random_map(jitter).to_iter_dataset())


each_iterator = pytest.mark.parametrize("make", [data_loader, iter_dataset, random_dataset])


@each_iterator
def test_it_is_checkpointable(make: Callable[[], Any]) -> None:
    assert isinstance(make(), CheckpointableIterator)


@each_iterator
@pytest.mark.parametrize("done", [0, 2, BATCHES])
def test_a_prefetched_iterator_resumes_after_the_batch_handed_out_last(
    make: Callable[[], Any], done: int
) -> None:
    everything = [batch.tolist() for batch in make()]
    assert len(everything) == BATCHES
    with prefetch_to_device(make(), size=3) as batches:
        for _ in range(done):
            next(batches)
        state = batches.get_state()
    if isinstance(state, dict):
        state = json.loads(json.dumps(state))
    alone = make()
    alone.set_state(state)
    assert [batch.tolist() for batch in alone] == everything[done:]
    with prefetch_to_device(make(), size=3) as batches:
        batches.set_state(state)
        assert [batch.tolist() for batch in batches] == everything[done:]
