"""One leaf of a saved tree: its description, and the way to bytes and back.

The *description* of a leaf is what a checkpoint promises about it: shape and dtype. A typed random
key is described by its own dtype (`key<fry>`) and *stored* as the integers inside it.

A *region* is a box within a stored array, as bounds along each axis. The region that one device
holds is one *piece*; a leaf that is not spread over devices is one piece. Of pieces that several
devices hold, one is saved.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linen_train.errors import CheckpointLeafError

__all__ = [
    "LeafDescription",
    "Region",
    "check_present",
    "describe",
    "has_placement",
    "is_key",
    "pieces_of",
    "region_of",
    "start_copies",
    "whole",
]

Region = tuple[tuple[int, int], ...]

_NUMBERS = (bool, int, float, complex)


@dataclasses.dataclass(frozen=True)
class LeafDescription:
    """Shape and dtype of a leaf; for a random key also the name of its implementation."""

    shape: tuple[int, ...]
    dtype: str
    key_implementation: str | None = None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of the array that is stored."""
        return self.shape + _shape_of_key(self.key_implementation)

    @property
    def stored_dtype(self) -> np.dtype:
        """The dtype of the array that is stored."""
        return np.dtype(np.uint32 if self.key_implementation else self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def describe(path: str, leaf: Any) -> LeafDescription:
    """Describe an array, an abstract array, a number or a random key.

    Raises:
        CheckpointLeafError: the leaf is none of these.
    """
    if is_key(leaf):
        is_concrete = isinstance(leaf, jax.Array)
        implementation = str(jax.random.key_impl(leaf)) if is_concrete else None
        return LeafDescription(leaf.shape, str(leaf.dtype), implementation)
    array = np.asarray(leaf) if isinstance(leaf, _NUMBERS) else leaf
    is_array = isinstance(array, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
    is_array = is_array and not isinstance(array, np.ma.MaskedArray)
    if is_array and (name := _name_of_number(array.dtype)):
        return LeafDescription(tuple(array.shape), name)
    raise CheckpointLeafError(
        f"{path}: found {leaf!r:.80} of type {type(leaf).__name__}, expected arrays, numbers or "
        "random keys as leaves. Text and settings go into the metadata: "
        "save(step, state, metadata={...})."
    )


def check_present(path: str, leaf: Any) -> None:
    """Make sure that a leaf has values, here and now.

    Raises:
        CheckpointLeafError: it has none.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        found, remedy = "an abstract array", "Save the state itself, not what jax.eval_shape gives"
    elif isinstance(leaf, jax.core.Tracer):
        found, remedy = "a value inside of a transformation", "Call save outside of jax.jit"
    elif isinstance(leaf, jax.Array) and leaf.is_deleted():
        found = "a deleted array"
        remedy = "A step that donates its state returns the next one: save that"
    else:
        return
    raise CheckpointLeafError(f"{path}: found {found}, expected an array with values. {remedy}.")


def start_copies(leaves: list[Any]) -> None:
    """Begin to copy arrays from accelerators, all at once."""
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and not is_key(leaf) and not _is_on_host(leaf):
            leaf.copy_to_host_async()


def pieces_of(leaf: Any, *, process: int, copy: bool) -> list[tuple[Region, np.ndarray]]:
    """Return the pieces of a leaf that a process saves, as arrays in C order.

    Arrays of JAX in host memory are not copied: while there is a view of their memory, it is not
    reused, not even when they are donated.

    Args:
        leaf: an array, a number or a random key.
        process: index of this process. What is not spread over processes is saved by the first.
        copy: whether NumPy arrays, which may be changed in place, are copied.
    """
    if not isinstance(leaf, jax.Array):
        array = np.array(leaf, copy=True) if copy else np.asarray(leaf)
        return _piece(whole(array.shape), array) if process == 0 else []
    if leaf.is_fully_replicated:
        if process:
            return []
        array = np.asarray(_stored(leaf.addressable_shards[0].data if _is_spread(leaf) else leaf))
        return _piece(whole(array.shape), array)
    if leaf.is_fully_addressable and process and jax.process_count() > 1:
        return []
    pieces = []
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            array = np.asarray(_stored(shard.data))
            index = shard.index[: leaf.ndim]  # that of keys may go on over the integers inside
            region = region_of(index, leaf.shape) + whole(array.shape[leaf.ndim :])
            pieces += _piece(region, array)
    return pieces


def whole(shape: tuple[int, ...]) -> Region:
    """Return the region that covers an array."""
    return tuple((0, size) for size in shape)


def region_of(index: tuple[slice, ...], shape: tuple[int, ...]) -> Region:
    """Return the region that slices select."""
    return tuple(axis.indices(size)[:2] for axis, size in zip(index, shape, strict=True))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and _is_key_dtype(leaf.dtype)


def has_placement(target: Any) -> bool:
    """Whether the target says on which devices its leaf belongs."""
    if isinstance(target, jax.Array):
        return target.committed
    return getattr(target, "sharding", None) is not None


def _piece(region: Region, array: np.ndarray) -> list[tuple[Region, np.ndarray]]:
    if not array.size:
        return []
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return [(region, array)]


def _stored(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _is_spread(leaf: jax.Array) -> bool:
    return len(leaf.sharding.device_set) > 1


def _is_on_host(leaf: jax.Array) -> bool:
    return next(iter(leaf.sharding.device_set)).platform == "cpu"


@functools.cache
def _is_key_dtype(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


@functools.cache
def _name_of_number(dtype: np.dtype) -> str | None:
    """Return the name of a dtype, or None where it is none of numbers or booleans."""
    is_number = jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_
    return dtype.name if is_number else None


@functools.cache
def _shape_of_key(implementation: str | None) -> tuple[int, ...]:
    if implementation is None:
        return ()
    make = functools.partial(jax.random.key, 0, impl=implementation)
    return jax.eval_shape(lambda: jax.random.key_data(make())).shape
