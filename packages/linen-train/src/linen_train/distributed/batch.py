"""Batches of host arrays, as arrays that are split over the devices of a mesh.

A batch has as many *parts* as the axis of examples has devices. The parts of a process are those that its
devices work on. Processes whose devices differ only in other axes of the mesh, those of tensor
parallelism say, have the same parts, and have to hand in the same examples.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_train.distributed import _axes
from linen_train.errors import BatchShardingError, MeshAxisError

__all__ = ["batch_shard", "shard_batch"]

_Parts = frozenset[int]

# The meshes and axes for which processes have compared what they hand in.
_compared: set[tuple[Mesh, tuple[str, ...]]] = set()


def batch_shard(mesh: Mesh, axis: str | Sequence[str] = "data") -> tuple[int, int]:
    """Return which shard of every batch this process hands in, and how many shards there are.

    Args:
        mesh: the mesh.
        axis: the axis of the mesh over which examples are split, or several of them.

    Returns:
        Index and count, as `ArrayLoader` takes them.

    Raises:
        BatchShardingError: two processes share a part of their examples, but not all.
        DistributedArgumentError: the mesh is none, or the axis is no name and no sequence of names.
        MeshAxisError: the mesh has no such axis, it is named twice, or none is named.

    Example:
        >>> import jax, numpy as np
        >>> from linen_train.data import ArrayLoader
        >>> from linen_train.distributed import batch_shard, make_mesh
        >>> index, count = batch_shard(make_mesh(data=1, devices=jax.devices()[:1]))
        >>> loader = ArrayLoader(
        ...     np.arange(6), 2, epochs=1, shard_index=index, shard_count=count
        ... )
        >>> index, count
        (0, 1)
    """
    names = _names("batch_shard", axis, mesh)
    parts = _parts_of_processes(mesh, names)
    shards = sorted(set(parts.values()), key=min)
    if sum(map(len, shards)) != len(frozenset().union(*shards)):
        raise BatchShardingError(
            f"batch_shard: over {', '.join(map(repr, names))}, processes share a part of their examples "
            f"but not all: found the parts {[sorted(shard) for shard in shards]}, expected each "
            "part in one of these. Put the axis first in make_mesh, so that it follows the processes."
        )
    return shards.index(parts[jax.process_index()]), len(shards)


def shard_batch(batch: Any, mesh: Mesh, axis: str | Sequence[str] = "data") -> Any:
    """Split the first axis of every array of a batch over the devices of a mesh.

    With several processes, each gives the shard of the batch that `batch_shard` names, the examples
    that its own devices work on, and the result is the whole batch. The first time for a mesh, the
    processes compare what they give, so that wrong shards are an error; later batches are not
    compared, as that would cost a message between processes for each.

    Args:
        batch: a pytree of host arrays, each with one example for each index of its first axis.
        mesh: the mesh.
        axis: the axis of the mesh over which examples are split, or several of them.

    Returns:
        The batch, of `jax.Array`s with a `NamedSharding`.

    Raises:
        BatchShardingError: an array has no first axis, arrays differ in its size, or the size is not
            divisible by the number of parts; processes give different examples for the same part,
            or not equally many.
        DistributedArgumentError: the mesh is none, or the axis is no name and no sequence of names.
        MeshAxisError: the mesh has no such axis, it is named twice, or none is named.

    Example:
        >>> import jax, numpy as np
        >>> from linen_train.distributed import make_mesh, shard_batch
        >>> mesh = make_mesh(data=1, devices=jax.devices()[:1])
        >>> batch = shard_batch({"image": np.zeros((8, 4)), "label": np.zeros(8)}, mesh)
        >>> tuple(batch["image"].sharding.spec)
        ('data',)
    """
    names = _names("shard_batch", axis, mesh)
    parts = _parts_of_processes(mesh, names)
    _check(batch, len(parts[jax.process_index()]), names)
    if len(parts) > 1 and (mesh, names) not in _compared:
        _compare(batch, parts)
        _compared.add((mesh, names))
    sharding = NamedSharding(mesh, PartitionSpec(_axes.as_entry(names)))
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch
    )


def _names(call: str, axis: str | Sequence[str], mesh: Mesh) -> tuple[str, ...]:
    names = _axes.named_by(call, "axis", axis, mesh)
    if not names:
        raise MeshAxisError(
            f"{call}: found axis={axis!r}, expected at least one axis of the mesh, over which the "
            f'examples are split. Write axis="{next(iter(mesh.shape), "data")}".'
        )
    return names


def _parts_of_processes(mesh: Mesh, names: Sequence[str]) -> dict[int, _Parts]:
    """Return the parts of a batch that each process has, numbered in the order of the batch."""
    processes = np.vectorize(lambda device: device.process_index, otypes=[int])(mesh.devices)
    positions = [mesh.axis_names.index(name) for name in names]
    sizes = [mesh.devices.shape[position] for position in positions]
    parts: dict[int, set[int]] = {}
    for place, process in np.ndenumerate(processes):
        part = np.ravel_multi_index([place[position] for position in positions], sizes)
        parts.setdefault(int(process), set()).add(int(part))
    return {process: frozenset(numbers) for process, numbers in parts.items()}


def _compare(batch: Any, parts: dict[int, _Parts]) -> None:
    """Raise, in every process alike, if what the processes give does not fit together."""
    digest, size = 0, 0
    for leaf in map(np.asarray, jax.tree.leaves(batch)):
        digest, size = zlib.crc32(leaf.tobytes(), digest), len(leaf)
    given = np.asarray(multihost_utils.process_allgather(np.array([digest, size], np.uint32)))
    _check_given(
        {process: (int(given[process][0]), int(given[process][1])) for process in parts}, parts
    )


def _check_given(given: dict[int, tuple[int, int]], parts: dict[int, _Parts]) -> None:
    """Raise if the examples that processes give, by digest and number, do not fit their parts."""
    sizes = {process: size / len(parts[process]) for process, (_, size) in given.items()}
    if len(set(sizes.values())) > 1:
        found = {process: size for process, (_, size) in given.items()}
        raise BatchShardingError(
            f"shard_batch: the processes give different numbers of examples: found {found} by process, "
            "expected equally many for each of their devices. Drop or pad the remainder where the "
            "batches are made."
        )
    by_parts: dict[_Parts, int] = {}
    for process in sorted(given):
        first = by_parts.setdefault(parts[process], process)
        if given[first][0] != given[process][0]:
            raise BatchShardingError(
                f"shard_batch: the devices of the processes {first} and {process} work on the same part "
                "of the batch, but the processes give different examples. Write index, count = "
                "batch_shard(mesh) and ArrayLoader(..., shard_index=index, shard_count=count)."
            )


def _check(batch: Any, parts: int, names: Sequence[str]) -> None:
    """Raise unless every array has equally many examples, a multiple of the number of parts."""
    sizes: dict[str, int] = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        path = jax.tree_util.keystr(key_path, simple=True, separator="/") or "the batch"
        if np.ndim(leaf) == 0:
            raise BatchShardingError(
                f"shard_batch: {path} is a scalar, expected an array with an axis of examples. Give "
                "values that belong to no example to the step as arguments of their own."
            )
        sizes[path] = np.shape(leaf)[0]
    if len(set(sizes.values())) > 1:
        raise BatchShardingError(
            f"shard_batch: the arrays differ in their first axis: found {sizes}, expected one size, "
            "the number of examples."
        )
    size = next(iter(sizes.values()), 0)
    if size % parts:
        raise BatchShardingError(
            f"shard_batch: found {size} examples, expected a multiple of {parts}, the number of "
            f"parts that the devices of this process work on over {', '.join(map(repr, names))}. "
            f"Write batch_size={max(1, math.ceil(size / parts)) * parts}, or drop or pad the "
            "remainder where the batches are made."
        )
