"""Objects as bytes, in the format of `flax.serialization`.

What is written here is read there, and the other way round. *Serializing* packs a tree of dicts,
lists, arrays, numbers, text and None by msgpack; *restoring* gives such a tree back, with numpy arrays
in it. `to_bytes` and `from_bytes` go through the state dict of an object (`linen_core.state_dict`),
so that tuples, structs, optimizer states and the like work too.

The format holds no digest: a bit that flips inside an array is not noticed. What has to survive
disks and kills belongs into a `linen_train.Checkpointer`.
"""

from typing import Any, TypeVar, cast

import msgpack

from linen_core.state_dict import from_state_dict, to_state_dict
from linen_train import _msgpack
from linen_train._msgpack import LeafError
from linen_train.errors import SerializedBytesError, UnserializableValueError

__all__ = ["from_bytes", "msgpack_restore", "msgpack_serialize", "to_bytes"]

_T = TypeVar("_T")

# What msgpack, numpy and JAX raise where a leaf has no form as bytes; and where bytes make no sense.
_FAILURES = (LeafError, TypeError, ValueError, OverflowError)
_DAMAGES = (*_FAILURES, RecursionError, msgpack.exceptions.UnpackException)


def to_bytes(target: Any) -> bytes:
    """Return an object as bytes.

    Args:
        target: any object that `linen_core.state_dict.to_state_dict` takes apart into arrays of
            any shape and dtype, numbers, text, bytes and None. Arrays are copied to the host.
            Typed random keys are kept as keys, in an extension that flax.serialization cannot read.

    Returns:
        The bytes.

    Raises:
        UnserializableValueError: a part is of another type, a number beyond 64 bits, or an array
            of which other processes hold a part.
        StateDictKeyError: two keys of a dict have the same string form.

    Example:
        >>> import numpy as np
        >>> encoded = to_bytes({"kernel": np.ones((2, 2)), "steps": (1, 2)})
        >>> from_bytes({"kernel": 0, "steps": (0, 0)}, encoded)["steps"]
        (1, 2)
    """
    return msgpack_serialize(to_state_dict(target), in_place=True)


def from_bytes(target: _T, encoded_bytes: bytes | bytearray) -> _T:
    """Return an object from its bytes.

    Args:
        target: an object of the structure that was saved; its values are not used. With None the
            state dict is returned.
        encoded_bytes: what `to_bytes` returned.

    Returns:
        An object of the target's type, with numpy arrays of the saved shapes and dtypes.

    Raises:
        SerializedBytesError: the bytes are cut off, damaged, or not of this format.
        StateDictMismatchError: the object that was saved has another structure.

    Example:
        >>> from_bytes([0, 0], to_bytes([1.5, None]))
        [1.5, None]
    """
    return from_state_dict(target, msgpack_restore(encoded_bytes))


def msgpack_serialize(pytree: Any, in_place: bool = False) -> bytes:
    """Return a tree of dicts, lists and leaves as bytes.

    Args:
        pytree: nested dicts (keys are text or numbers) and lists, with arrays, numbers, text, bytes
            and None in them. Other containers have a state dict first: see `to_bytes`.
        in_place: whether the dicts may be changed. Arrays of more than a gibibyte are cut in pieces;
            with True they are replaced by the pieces in the caller's own dicts, with False in
            copies of these dicts. The bytes have the entries of dicts in the order of their keys
            with False, as they come with True.

    Returns:
        The bytes.

    Raises:
        UnserializableValueError: a part is of another type, a number beyond 64 bits, or an array
            of which other processes hold a part. The error gives its path.

    Example:
        >>> msgpack_restore(msgpack_serialize({"a": [1, 2.5, "three", 4j]}))
        {'a': [1, 2.5, 'three', 4j]}
    """
    try:
        return _packed(pytree if in_place else _sorted(pytree))
    except _FAILURES as error:
        path, leaf = _culprit(pytree)
        found = str(error) if isinstance(error, LeafError) else f"{leaf!r:.80} ({error})"
        raise UnserializableValueError(
            f"{'/'.join(path) or 'The value itself'}: found {found}, expected dicts, lists, arrays of "
            "numbers, numbers of up to 64 bits, text, bytes or None. Give objects made of others "
            "to to_bytes(...); save arrays of several processes with linen_train.Checkpointer."
        ) from error


def msgpack_restore(encoded_pytree: bytes | bytearray) -> Any:
    """Return the tree that was serialized.

    Args:
        encoded_pytree: what `msgpack_serialize` or `to_bytes` returned.

    Returns:
        Dicts, lists, numpy arrays that may be written to, numpy scalars, numbers, text, bytes, None,
        and typed random keys.

    Raises:
        SerializedBytesError: the bytes are cut off, damaged, or not of this format.

    Example:
        >>> import numpy as np
        >>> msgpack_restore(msgpack_serialize({"a": np.arange(3, dtype=np.int8)}))
        {'a': array([0, 1, 2], dtype=int8)}
    """
    try:
        tree = msgpack.unpackb(encoded_pytree, ext_hook=_msgpack.unpack_leaf, strict_map_key=False)
        return _msgpack.join_chunks(tree)
    except _DAMAGES as error:
        size = len(encoded_pytree) if isinstance(encoded_pytree, bytes | bytearray) else None
        found = f"{size} bytes" if size is not None else f"{type(encoded_pytree).__name__}"
        reason = str(error) or type(error).__name__
        raise SerializedBytesError(
            f"encoded_pytree: found {found} that cannot be read ({reason}), expected what "
            "msgpack_serialize(...) or to_bytes(...) returned. Compare the length with that of what "
            "was written, and read from a copy."
        ) from error


def _packed(tree: Any) -> bytes:
    """Pack a tree, cutting large arrays in its dicts."""
    tree = _msgpack.split_large(tree, _msgpack.MAX_CHUNK_BYTES)
    return cast(bytes, msgpack.packb(tree, default=_msgpack.pack_leaf, strict_types=True))


def _sorted(tree: Any) -> Any:
    """Return a copy of the dicts, with their entries sorted where the keys allow it."""
    if type(tree) is list:
        return [_sorted(part) for part in tree]
    if type(tree) is not dict:
        return tree
    try:
        keys = sorted(tree)
    except TypeError:
        keys = list(tree)
    return {key: _sorted(tree[key]) for key in keys}


def _culprit(tree: Any, path: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Any]:
    """Return path and value of the first part that cannot be packed by itself."""
    if type(tree) in (dict, list):
        for key, part in tree.items() if type(tree) is dict else enumerate(tree):
            try:
                _packed({key: None})
            except _FAILURES:
                return path, key
            try:
                _packed(_sorted(part))
            except _FAILURES:
                return _culprit(part, (*path, str(key)))
    return path, tree
