"""The way of one batch onto the device, and what is said when it does not get there.

A batch is looked at only once JAX has refused it, so a batch that fits costs nothing more.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from linen_train.errors import BatchShardingError, DataLeafError

__all__ = ["transferred"]


def transferred(batch: Any, sharding: Any, number: int) -> Any:
    """Return a batch on the device; `number` is for errors."""
    copied = _copied(batch)
    try:
        return _put(copied, sharding)
    except (AssertionError, IndexError, TypeError, ValueError) as error:
        where = f"prefetch_to_device: in batch {number}, counted from 0,"
        for problem in _problems(copied, sharding, where):
            raise problem from error
        raise


def _put(batch: Any, sharding: Any) -> Any:
    shardings = jax.tree.leaves(sharding)
    if all(one.is_fully_addressable for one in shardings):
        return jax.device_put(batch, sharding)
    # The structure of the shardings may end above that of the batch.
    return jax.tree.map(
        lambda one, part: jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(one, np.asarray(leaf)), part
        ),
        sharding,
        batch,
    )


def _copied(batch: Any) -> Any:
    # The source may fill its arrays anew, while JAX still reads from them, or even keeps them as
    # the memory of its own arrays (on CPU, whatever device_put is told about aliasing).
    return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, batch)


def _problems(
    batch: Any, sharding: Any, where: str
) -> Iterator[BatchShardingError | DataLeafError]:
    """Yield what is wrong with the batch, if this module knows it."""
    shardings: list[Any] = []
    try:
        jax.tree.map(
            lambda one, part: shardings.extend([one] * len(jax.tree.leaves(part))),
            sharding,
            batch,
            is_leaf=lambda node: node is None,
        )
    except (TypeError, ValueError):
        yield BatchShardingError(
            f"{where} found the structure {_structure(batch)}, expected one that the shardings fit, of "
            f"structure {_structure(sharding)}. Write one sharding for all arrays, or one for each."
        )
        return
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    for (keys, leaf), one in zip(leaves, shardings, strict=True):
        path = jax.tree_util.keystr(keys, simple=True, separator="/") or "the batch"
        if not _is_array(leaf):
            yield DataLeafError(
                f"{where} found {leaf!r:.80} at {path}, expected an array of numbers. Leave it out where "
                "the batches are made."
            )
        elif isinstance(one, NamedSharding):
            yield from _misfits(np.shape(leaf), one, f"{where} {path}")


def _misfits(
    shape: tuple[int, ...], sharding: NamedSharding, where: str
) -> Iterator[BatchShardingError]:
    """Yield why a sharding does not split an array, if it does not."""
    axes = [_names(entry) for entry in sharding.spec]
    if len(shape) < len(axes):
        found = f"has the shape {shape}" if shape else "is a scalar"
        least = "1 axis" if len(axes) == 1 else f"{len(axes)} axes"
        over = ", ".join(repr(name) for names in axes for name in names)
        yield BatchShardingError(
            f"{where} {found}, expected {least} or more, for its sharding over {over}. Give "
            "values that belong to no example to the step as arguments of their own, or a sharding of "
            "their own: NamedSharding(mesh, PartitionSpec())."
        )
        return
    counts = _parts_here(sharding, axes)
    for axis, (size, parts, names) in enumerate(zip(shape, counts, axes, strict=False)):
        if size % parts:
            line = (
                f"Write batch_size={math.ceil(size / parts) * parts}, or drop or pad the remainder"
                if axis == 0 and sharding.is_fully_addressable  # else it counts those of others too
                else "Drop or pad the remainder"
            )
            yield BatchShardingError(
                f"{where} has the shape {shape}, expected axis {axis} to be a multiple of {parts}, the "
                "number of parts that the devices of this process work on over "
                f"{', '.join(map(repr, names))}. {line} where the batches are made."
            )


def _parts_here(sharding: NamedSharding, axes: list[tuple[str, ...]]) -> list[int]:
    """Return into how many parts the devices of this process split each axis."""
    whole = tuple(math.prod(sharding.mesh.shape[name] for name in names) for names in axes)
    indices = sharding.addressable_devices_indices_map(whole).values()
    return [
        len({index[axis].start for index in indices if index is not None})
        for axis in range(len(whole))
    ]


def _names(entry: Any) -> tuple[str, ...]:
    if isinstance(entry, str):
        return (entry,)
    return entry if isinstance(entry, tuple) else ()


def _structure(tree: Any) -> str:
    return f"{jax.tree.structure(tree)!s:.200}"


def _is_array(leaf: Any) -> bool:
    try:
        jax.device_put(leaf)
    except (TypeError, ValueError):
        return False
    return True
