"""The byte format of arrays inside msgpack, the one that flax.serialization reads and writes.

Dicts, lists, numbers, text, bytes and None are msgpack's own. The rest are msgpack's *extensions*, by
code:

| code | what | content, itself msgpack |
|---|---|---|
| 1 | array | [shape, name of the dtype, elements in C order and little-endian] |
| 2 | Python complex | [real part, imaginary part] |
| 3 | numpy scalar | as an array of shape [] |
| 16 | array of typed random keys | [implementation, the array of its integers as code 1] |

The last one is an addition: flax.serialization refuses typed keys. An array of more than
`MAX_CHUNK_BYTES`, which is near the limit of msgpack, is a dict in the place of an array:
`{"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 5}, "chunks": {"0": ..., "1": ...}}`, the
chunks being the flat array in pieces. Arrays in lists are not cut.
"""

import math
import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import msgpack
import numpy as np

__all__ = ["LeafError", "MAX_CHUNK_BYTES", "join_chunks", "pack_leaf", "split_large", "unpack_leaf"]

MAX_CHUNK_BYTES = 2**30

_ARRAY, _COMPLEX, _SCALAR, _KEYS = 1, 2, 3, 16
_MARK = "__msgpack_chunked_array__"
# No text, no records and no objects: they have no bytes of their own, or names that do not tell all.
_NAMES = re.compile(
    r"bool|u?int\d+|b?float\d\w*|complex\d+|(?:datetime|timedelta)64(?:\[\w+\])?", re.ASCII
)


class LeafError(Exception):
    """Says what is wrong with one leaf; it never leaves this package."""


def pack_leaf(leaf: Any) -> msgpack.ExtType:
    """Return the extension for a leaf that msgpack has no form for."""
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return _packed_keys(leaf)
        return msgpack.ExtType(_ARRAY, _array_to_bytes(_on_host(leaf)))
    if isinstance(leaf, np.ndarray):
        return msgpack.ExtType(_ARRAY, _array_to_bytes(leaf))
    if isinstance(leaf, np.generic):
        return msgpack.ExtType(_SCALAR, _array_to_bytes(np.asarray(leaf)))
    if type(leaf) is complex:
        return msgpack.ExtType(_COMPLEX, _pack((leaf.real, leaf.imag)))
    if type(leaf) is int:
        raise LeafError(f"the integer {leaf}, beyond 64 bits")
    raise LeafError(f"a value of type {type(leaf).__name__}")


def unpack_leaf(code: int, content: bytes) -> Any:
    """Return the leaf that an extension holds."""
    if code == _COMPLEX:
        real, imaginary = _unpacked(content, 2)
        return complex(real, imaginary)
    if code == _ARRAY:
        return _array_from_bytes(content)
    if code == _SCALAR:
        array = _array_from_bytes(content)
        if array.shape:
            raise LeafError(f"a scalar of shape {array.shape}")
        return array[()]
    if code == _KEYS:
        implementation, data = _unpacked(content, 2)
        return jax.random.wrap_key_data(jnp.asarray(_array_from_bytes(data)), impl=implementation)
    raise LeafError(f"an extension of code {code}, which is none of this format's")


def split_large(tree: Any, limit: int) -> Any:
    """Return a tree with the arrays of more than `limit` bytes cut, changing its dicts."""
    if type(tree) is dict:
        for key, part in tree.items():
            tree[key] = split_large(part, limit)
    elif isinstance(tree, np.ndarray | jax.Array) and _bytes_of(tree) > limit:
        return _chunks(tree, limit)
    return tree


def join_chunks(tree: Any) -> Any:
    """Put arrays that were cut together again, changing the dicts of the tree."""
    if type(tree) is not dict:
        return tree
    if _MARK not in tree:
        for key, part in tree.items():
            if type(part) is dict:
                tree[key] = join_chunks(part)
        return tree
    try:
        shape = [tree["shape"][str(i)] for i in range(len(tree["shape"]))]
        pieces = [tree["chunks"][str(i)] for i in range(len(tree["chunks"]))]
    except (KeyError, TypeError) as error:
        raise LeafError(f"an array in pieces without {error}") from error
    return np.concatenate(pieces).reshape(_checked_shape(shape))


def _chunks(array: Any, limit: int) -> dict[str, Any]:
    flat = (_on_host(array) if isinstance(array, jax.Array) else array).reshape(-1)
    length = max(1, limit // flat.dtype.itemsize)
    starts = range(0, flat.size, length)
    return {
        _MARK: True,
        "shape": {str(i): size for i, size in enumerate(array.shape)},
        "chunks": {str(i): flat[at : at + length] for i, at in enumerate(starts)},
    }


def _bytes_of(array: Any) -> int:
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return 0
    return array.size * array.dtype.itemsize


def _on_host(array: jax.Array) -> np.ndarray:
    if not array.is_fully_addressable and not array.is_fully_replicated:
        raise LeafError("an array of which other processes hold a part")
    return np.asarray(array)


def _packed_keys(keys: jax.Array) -> msgpack.ExtType:
    implementation = jax.random.key_impl(keys)
    if not isinstance(implementation, str):
        raise LeafError(f"random keys of an implementation without a name, {implementation!r:.60}")
    data = _array_to_bytes(_on_host(jax.random.key_data(keys)))
    return msgpack.ExtType(_KEYS, _pack((implementation, data)))


def _array_to_bytes(array: np.ndarray) -> bytes:
    if not _NAMES.fullmatch(array.dtype.name):
        raise LeafError(f"an array of dtype {array.dtype}")
    array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    elements = array.reshape(-1).view(np.uint8).data
    return _pack((array.shape, array.dtype.name, elements))


def _array_from_bytes(content: bytes) -> np.ndarray:
    shape, name, data = _unpacked(content, 3)
    if not (isinstance(name, str) and _NAMES.fullmatch(name) and isinstance(data, bytes)):
        raise LeafError(f"an array of dtype {name!r:.60}")
    dtype = np.dtype(name)
    shape = _checked_shape(shape)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise LeafError(f"{len(data)} bytes for {dtype}{list(shape)}, which has {expected}")
    # A copy, since the caller may write into it.
    return np.frombuffer(bytearray(data), dtype).reshape(shape)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not all(type(size) is int and size >= 0 for size in shape):
        raise LeafError(f"an array of shape {shape!r:.60}")
    return tuple(shape)


def _pack(parts: Any) -> bytes:
    return cast(bytes, msgpack.packb(parts))


def _unpacked(content: bytes, length: int) -> list[Any]:
    parts = msgpack.unpackb(content)
    if not isinstance(parts, list) or len(parts) != length:
        raise LeafError(f"an extension without its {length} parts")
    return parts
