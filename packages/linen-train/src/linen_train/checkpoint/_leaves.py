"""One leaf of a saved tree: its path, its description, and the way to the disk and back.

The *path* of a leaf is the dict keys, field names and indices that lead to it, escaped and joined by
slashes. Its *description* is what a checkpoint promises about it: shape and dtype. A typed random
key is described by its own dtype (`key<fry>`) and stored as the integers inside it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from linen_train.errors import CheckpointLeafError

__all__ = ["LeafDescription", "describe", "empty", "flatten", "rebuild", "restore_args", "stored"]

# Slashes join the parts of a path; Orbax joins them by dots in the names of its files.
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", ".": "%2E"})
_EMPTY = "%"


@dataclasses.dataclass(frozen=True)
class LeafDescription:
    """Shape and dtype of a leaf; for a random key also the name of its implementation."""

    shape: tuple[int, ...]
    dtype: str
    key_implementation: str | None = None

    @property
    def has_elements(self) -> bool:
        """Whether there is anything to store."""
        return 0 not in self.shape

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def flatten(tree: Any) -> tuple[dict[str, Any], Any]:
    """Return the leaves of a tree by path, and the structure that puts them together again.

    Raises:
        CheckpointLeafError: two leaves have the same path.
    """
    entries, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves: dict[str, Any] = {}
    for keys, leaf in entries:
        parts = (jax.tree_util.keystr((key,), simple=True) for key in keys)
        path = "/".join(part.translate(_ESCAPES) or _EMPTY for part in parts) or _EMPTY
        if path in leaves:
            raise CheckpointLeafError(
                f"{path}: found two leaves at this path, because two keys of one container are the "
                "same as text. Rename one of them."
            )
        leaves[path] = leaf
    return leaves, structure


def describe(path: str, leaf: Any) -> LeafDescription:
    """Describe an array, an abstract array, a number or a random key.

    Raises:
        CheckpointLeafError: the leaf is none of these.
    """
    if _is_key(leaf):
        is_concrete = isinstance(leaf, jax.Array)
        implementation = str(jax.random.key_impl(leaf)) if is_concrete else None
        return LeafDescription(leaf.shape, str(leaf.dtype), implementation)
    array = np.asarray(leaf) if isinstance(leaf, bool | int | float | complex) else leaf
    is_array = isinstance(array, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
    if is_array and (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == np.bool_):
        return LeafDescription(tuple(array.shape), str(array.dtype))
    raise CheckpointLeafError(
        f"{path}: found {leaf!r:.80} of type {type(leaf).__name__}, expected arrays, numbers or "
        "random keys as leaves. Text and settings go into the metadata: "
        "save(step, state, metadata={...})."
    )


def stored(leaf: Any) -> Any:
    """Return what is written for a leaf."""
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def empty(description: LeafDescription) -> np.ndarray:
    """Return what would have been read for a leaf that has no elements."""
    if description.key_implementation is None:
        return np.zeros(description.shape, description.dtype)
    key = jax.random.key(0, impl=description.key_implementation)
    return np.asarray(jax.random.key_data(jax.random.split(key, description.shape)))


def restore_args(target: Any) -> ocp.RestoreArgs:
    """Return how to read the leaf that takes the place of `target`."""
    if _has_placement(target) and not _is_key(target):
        return ocp.ArrayRestoreArgs(sharding=target.sharding)
    return ocp.RestoreArgs(restore_type=np.ndarray)


def rebuild(value: Any, target: Any, description: LeafDescription) -> Any:
    """Turn what was read into a leaf of the kind that the target has."""
    if isinstance(target, np.generic):
        return value[()]
    if isinstance(target, bool | int | float | complex):
        return value.item()
    if isinstance(target, np.ndarray) or isinstance(value, jax.Array):
        return value
    if description.key_implementation is None:
        array = jnp.asarray(value)
    else:
        array = jax.random.wrap_key_data(value, impl=description.key_implementation)
    return jax.device_put(array, target.sharding) if _has_placement(target) else array


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _has_placement(target: Any) -> bool:
    """Whether the target says on which devices its leaf belongs."""
    if isinstance(target, jax.Array):
        return target.committed
    return getattr(target, "sharding", None) is not None
