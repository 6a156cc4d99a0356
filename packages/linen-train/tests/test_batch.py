"""Batches that are split over the devices of a mesh."""

import re
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from linen_train.distributed import batch as batches
from linen_train.distributed import batch_shard, make_mesh, shard_batch
from linen_train.errors import (
    BatchShardingError,
    DistributedArgumentError,
    DistributedError,
    MeshAxisError,
)

BATCH = {"image": np.arange(48.0).reshape(16, 3), "label": np.arange(16, dtype=np.int32)}
LAYOUTS: dict[str, tuple[dict[str, int], Any, PartitionSpec, int]] = {
    "data": ({"data": 8}, "data", PartitionSpec("data"), 2),
    "one_of_two": ({"data": 4, "model": 2}, "data", PartitionSpec("data"), 4),
    "both": ({"data": 4, "fsdp": 2}, ("data", "fsdp"), PartitionSpec(("data", "fsdp")), 2),
    "other_name": ({"batch": 8}, "batch", PartitionSpec("batch"), 2),
}


@pytest.mark.parametrize(("sizes", "axis", "spec", "rows"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_device_has_its_examples(
    sizes: dict[str, int], axis: Any, spec: PartitionSpec, rows: int
) -> None:
    mesh = make_mesh(sizes)
    batch = shard_batch(BATCH, mesh, axis)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, batch), BATCH)
    for name, array in batch.items():
        assert array.sharding == NamedSharding(mesh, spec)
        assert array.dtype == jax.dtypes.canonicalize_dtype(BATCH[name].dtype)
        assert {shard.data.shape[0] for shard in array.addressable_shards} == {rows}


def test_arrays_of_a_device_and_single_arrays() -> None:
    batch = shard_batch(jax.numpy.arange(8), make_mesh())
    assert len(batch.sharding.device_set) == 8
    chex.assert_trees_all_equal(np.asarray(batch), np.arange(8))


MISFITS: dict[str, tuple[Any, str]] = {
    "not_divisible": (
        {"x": np.zeros((12, 2))},
        "shard_batch: found 12 examples, expected a multiple of 8, the number of parts that the devices "
        "of this process work on over 'data'. Write batch_size=16, or drop or pad the remainder",
    ),
    "scalar": (
        {"x": np.zeros(8), "step": np.float32(1)},
        "shard_batch: step is a scalar, expected an",
    ),
    "lengths": (
        {"x": np.zeros(8), "y": {"z": np.zeros(16)}},
        "the arrays differ in their first axis: found {'x': 8, 'y/z': 16}, expected one size",
    ),
    "one_scalar": (np.float32(1), "shard_batch: the batch is a scalar"),
}


@pytest.mark.parametrize(("batch", "text"), MISFITS.values(), ids=MISFITS)
def test_batches_that_do_not_fit(batch: Any, text: str) -> None:
    with pytest.raises(BatchShardingError, match=re.escape(text)):
        shard_batch(batch, make_mesh())


AXES: dict[str, tuple[Any, type[DistributedError], str]] = {
    "mistyped": (
        "dta",
        MeshAxisError,
        'found axis="dta", expected axes of the mesh, each once; it has ("model", "data"). Write '
        'axis="data".',
    ),
    "one_of_two": (("data", "fsdp"), MeshAxisError, 'Write axis=("data", "model").'),
    "twice": (["data", "data"], MeshAxisError, 'found axis=["data", "data"], expected axes of the'),
    "none": (
        (),
        MeshAxisError,
        "found axis=(), expected at least one axis of the mesh, over which the examples are split. "
        'Write axis="model".',
    ),
    "no_name": (
        3,
        DistributedArgumentError,
        'found axis=3, expected the name of an axis of the mesh, or several. Write axis="model".',
    ),
    "no_names": ([["data"]], MeshAxisError, 'found axis=[["data"]], expected axes of the mesh'),
}


@pytest.mark.parametrize(("axis", "error", "text"), AXES.values(), ids=AXES)
def test_axes_that_the_mesh_does_not_have(
    axis: Any, error: type[DistributedError], text: str
) -> None:
    mesh = make_mesh(model=2, data=4)
    with pytest.raises(error, match=re.escape(f"shard_batch: {text}" if text[0] == "f" else text)):
        shard_batch(BATCH, mesh, axis)
    with pytest.raises(error, match=re.escape(f"batch_shard: {text}" if text[0] == "f" else text)):
        batch_shard(mesh, axis)


@pytest.mark.parametrize("mesh", [None, "data", np.zeros(8)])
def test_meshes_that_are_none(mesh: Any) -> None:
    for call, run in {
        "shard_batch": lambda: shard_batch(BATCH, mesh),
        "batch_shard": lambda: batch_shard(mesh),
    }.items():
        text = f"{call}: found mesh={mesh!r:.80}, expected a jax.sharding.Mesh with devices. Write"
        with pytest.raises(DistributedArgumentError, match=re.escape(text)):
            run()


class Device(NamedTuple):
    """A device of some process."""

    process_index: int


class FakeMesh(NamedTuple):
    """The shape of a mesh over devices of several processes."""

    axis_names: tuple[str, ...]
    devices: np.ndarray

    @property
    def shape(self) -> dict[str, int]:
        return dict(zip(self.axis_names, self.devices.shape, strict=True))


def fake_mesh(processes: list[Any], *names: str) -> Any:
    numbers = np.array(processes)
    devices = np.empty(numbers.shape, object)
    for place, number in np.ndenumerate(numbers):
        devices[place] = Device(int(number))
    return FakeMesh(names, devices)


SHARDS: dict[str, tuple[Any, list[tuple[int, int]]]] = {
    "a_part_each": (fake_mesh([[0], [1]], "data", "model"), [(0, 2), (1, 2)]),
    "two_parts_each": (fake_mesh([0, 0, 1, 1], "data"), [(0, 2), (1, 2)]),
    "the_same_part": (fake_mesh([[0, 1], [2, 3]], "data", "model"), [(0, 2)] * 2 + [(1, 2)] * 2),
    "all_the_same": (fake_mesh([[0, 1]], "data", "model"), [(0, 1), (0, 1)]),
    "all_parts": (fake_mesh([[0, 1], [0, 1]], "data", "model"), [(0, 1), (0, 1)]),
    "model_first": (fake_mesh([[0, 0], [1, 1]], "model", "data"), [(0, 1), (0, 1)]),
}


@pytest.mark.parametrize(("mesh", "shards"), SHARDS.values(), ids=SHARDS)
def test_shards_of_processes(
    mesh: Any, shards: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for process, shard in enumerate(shards):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        assert batch_shard(mesh) == shard


def test_processes_that_share_some_parts() -> None:
    mesh = fake_mesh([[0, 0], [0, 1], [1, 1]], "data", "model")
    text = "found the parts [[0, 1], [1, 2]], expected each part in one of these"
    with pytest.raises(BatchShardingError, match=re.escape(text)):
        batch_shard(mesh)


def test_what_processes_give() -> None:
    one, other = frozenset({0}), frozenset({1})
    batches._check_given({0: (5, 8), 1: (5, 8), 2: (7, 8)}, {0: one, 1: one, 2: other})
    with pytest.raises(BatchShardingError, match="the processes 0 and 2 work on the same part of"):
        batches._check_given({0: (5, 8), 1: (7, 8), 2: (6, 8)}, {0: one, 1: other, 2: one})
    with pytest.raises(
        BatchShardingError, match=r"found \{0: 8, 1: 6\} by process, expected equally"
    ):
        batches._check_given({0: (5, 8), 1: (7, 6)}, {0: one, 1: other})
