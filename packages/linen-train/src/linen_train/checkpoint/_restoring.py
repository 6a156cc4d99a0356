"""Turning a step into a tree: which memory is needed, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linen_train.checkpoint import _paths
from linen_train.checkpoint._comparison import differences, table
from linen_train.checkpoint._leaves import (
    LeafDescription,
    Region,
    describe,
    has_placement,
    is_key,
    region_of,
    whole,
)
from linen_train.checkpoint._reading import Buffer, Damage, new_array
from linen_train.checkpoint._selection import Selection
from linen_train.errors import CheckpointLeafError, CheckpointMismatchError

__all__ = ["DamagedStepError", "ReadableStep", "restore_tree"]


class DamagedStepError(Exception):
    """Files of a step are damaged; never seen outside this folder."""

    def __init__(self, damages: Sequence[Damage]) -> None:
        super().__init__(damages)
        self.damages = damages


class ReadableStep(Protocol):
    """A step that can be read, whoever wrote it."""

    @property
    def leaves(self) -> dict[str, LeafDescription]:
        """Description of every leaf, by path."""
        ...

    def fill(self, wanted: Mapping[str, Sequence[Buffer]]) -> list[Damage]:
        """Fill buffers, by path of their leaf, and return what was found damaged."""
        ...


def restore_tree(
    place: str,
    step: ReadableStep,
    target: Any,
    selection: Selection,
    agree: Callable[[bool], bool],
) -> Any:
    """Return the tree of a step in the form of a target, or as nested dicts where that is None.

    Args:
        place: what errors call the step.
        step: what to read.
        target: a tree, or None.
        selection: what of the step is wanted.
        agree: told whether this process read everything, tells whether all did.

    Raises:
        DamagedStepError: files are damaged.
        CheckpointMismatchError: the step does not fit the target.
        CheckpointPathError: a prefix of the selection is none of anything.
    """
    if target is None:
        sources = selection.names(place, step.leaves)
        targets, structure = dict.fromkeys(sources), None
    else:
        targets, structure = _paths.flatten(target)
        _check_outside(targets)
        sources = selection.sources(place, step.leaves, targets)
    saved = {path: step.leaves[source] for path, source in sources.items()}
    buffers = {path: _buffers(path, saved[path], targets[path]) for path in sources}
    wanted: dict[str, list[Buffer]] = {}
    for path, source in sources.items():
        wanted.setdefault(source, []).extend(buffers[path])
    damages = step.fill(wanted)
    if not agree(not damages):
        raise DamagedStepError(damages)
    described = {}
    for path, leaf in saved.items():
        if dtype := selection.dtype(path, leaf):
            buffers[path] = [_cast(path, buffer, dtype) for buffer in buffers[path]]
            leaf = LeafDescription(leaf.shape, dtype.name)
        described[path] = leaf
    leaves = _assemble(buffers, described, targets, target is None)
    if structure is None:
        return _paths.nest(leaves)
    _check_width(place, described, leaves)
    return jax.tree.unflatten(structure, [leaves.get(path, targets[path]) for path in targets])


def _buffers(path: str, saved: LeafDescription, target: Any) -> list[Buffer]:
    """Return memory for a leaf: for all of it, or for what each device of this process holds."""
    shape, dtype = saved.stored_shape, saved.stored_dtype
    regions = [whole(shape)]
    if _is_spread(target):
        try:
            indices = target.sharding.addressable_devices_indices_map(saved.shape).values()
        except ValueError as error:
            raise CheckpointMismatchError(
                f"{path}: found the sharding {target.sharding} in the target, expected one that divides "
                f"{saved}. Give an axis that does not divide evenly no axis of the mesh."
            ) from error
        regions = list(dict.fromkeys(region_of(index, saved.shape) for index in indices))
    return [Buffer(r, new_array([b - a for a, b in r], dtype)) for r in regions]


def _is_spread(target: Any) -> bool:
    """Whether the devices of a target hold different parts of it."""
    return has_placement(target) and not is_key(target) and not target.sharding.is_fully_replicated


def _cast(path: str, buffer: Buffer, dtype: np.dtype) -> Buffer:
    array = buffer.array.astype(dtype)
    if (
        jnp.issubdtype(dtype, jnp.integer)
        and (array.astype(buffer.array.dtype) != buffer.array).any()
    ):
        raise CheckpointMismatchError(
            f"{path}: found integers that {dtype} cannot hold, expected those it can. Ask for a wider "
            "dtype."
        )
    return Buffer(buffer.region, array)


def _assemble(
    buffers: Mapping[str, list[Buffer]],
    described: Mapping[str, LeafDescription],
    targets: Mapping[str, Any],
    on_host: bool,
) -> dict[str, Any]:
    """Turn what was read into leaves of the kinds that the target has."""
    leaves: dict[str, Any] = {}
    placed: dict[str, tuple[Any, Any]] = {}
    for path, parts in buffers.items():
        target, value = targets[path], parts[0].array
        if described[path].key_implementation is not None:
            keys = jax.random.wrap_key_data(
                jnp.asarray(value), impl=described[path].key_implementation
            )
            leaves[path] = _place_keys(keys, target) if has_placement(target) else keys
        elif on_host or isinstance(target, np.ndarray):
            leaves[path] = value
        elif isinstance(target, np.generic):
            leaves[path] = value[()]
        elif isinstance(target, bool | int | float | complex):
            leaves[path] = value.item()
        elif _is_spread(target) or _is_elsewhere(target):
            leaves[path] = jax.make_array_from_callback(
                described[path].shape, target.sharding, _part_of(parts, described[path].shape)
            )
        else:
            placed[path] = value, target.sharding if has_placement(target) else None
    for with_sharding in (True, False):
        # One call for all is many times faster than one for each.
        group = {p: v for p, v in placed.items() if (v[1] is not None) is with_sharding}
        values = [value for value, _ in group.values()]
        shardings = [sharding for _, sharding in group.values()] if with_sharding else None
        if values:
            leaves.update(
                zip(group, jax.device_put(values, shardings, may_alias=True), strict=True)
            )
    return leaves


def _part_of(parts: list[Buffer], shape: tuple[int, ...]) -> Callable[[Any], np.ndarray]:
    arrays: dict[Region, np.ndarray] = {part.region: part.array for part in parts}
    entire = arrays.get(whole(shape))

    def part(index: tuple[slice, ...]) -> np.ndarray:
        return arrays[region_of(index, shape)] if entire is None else entire[index]

    return part


def _place_keys(keys: jax.Array, target: Any) -> jax.Array:
    if not _is_elsewhere(target):
        return jax.device_put(keys, target.sharding)
    implementation = str(jax.random.key_impl(keys))
    data = np.asarray(jax.random.key_data(keys))
    everywhere = jax.sharding.NamedSharding(target.sharding.mesh, jax.sharding.PartitionSpec())
    copies = jax.make_array_from_callback(data.shape, everywhere, lambda index: data[index])

    def wrap(data: jax.Array) -> jax.Array:
        return jax.random.wrap_key_data(data, impl=implementation)

    return jax.jit(wrap, out_shardings=target.sharding)(copies)


def _is_elsewhere(target: Any) -> bool:
    """Whether some devices of a target belong to other processes."""
    return has_placement(target) and not target.sharding.is_fully_addressable


def _check_outside(targets: Mapping[str, Any]) -> None:
    """Refuse to restore inside of a transformation, which would happen once, while it is traced."""
    if path := next((p for p, leaf in targets.items() if isinstance(leaf, jax.core.Tracer)), None):
        raise CheckpointLeafError(
            f"{path}: found a value inside of a transformation in the target, expected an array. Call "
            "restore outside of jax.jit, and pass what it returns."
        )


def _check_width(
    place: str, described: Mapping[str, LeafDescription], leaves: Mapping[str, Any]
) -> None:
    """Refuse what JAX narrowed because it holds no 64 bits."""
    arrays = {path: leaf for path, leaf in leaves.items() if isinstance(leaf, jax.Array)}
    found = {path: describe(path, leaf) for path, leaf in arrays.items()}
    if rows := differences({path: described[path] for path in arrays}, found):
        raise CheckpointMismatchError(
            f"{place} does not fit the target: {table(rows, len(leaves))}\n"
            "Write jax.config.update('jax_enable_x64', True)."
        )
