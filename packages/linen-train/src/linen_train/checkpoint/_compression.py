"""Compression of bytes with zstd, which TensorStore brings along as a codec of arrays."""

from typing import Any

import numpy as np

__all__ = ["compress", "decompress"]

_ONLY_CHUNK = b"c/0"
_LEVEL = 1


def compress(data: memoryview) -> bytes:
    """Return the bytes as one frame of zstd."""
    store = _store(data.nbytes)
    store.write(np.frombuffer(data, np.uint8)).result()
    return store.kvstore.read(_ONLY_CHUNK).result().value


def decompress(frame: bytes, size: int) -> memoryview:
    """Return the bytes of a frame.

    Raises:
        ValueError: the frame is damaged, or does not hold as many bytes.
    """
    store = _store(size)
    store.kvstore.write(_ONLY_CHUNK, frame).result()
    return memoryview(store.read().result())


def _store(size: int) -> Any:
    """Return an array of bytes in memory whose one chunk is the frame."""
    import tensorstore  # only who compresses waits for this import

    return tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "memory"},
            "metadata": {
                "shape": [size],
                "data_type": "uint8",
                # An array that is zero everywhere is a chunk like any other.
                "fill_value": 0,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [size]}},
                "codecs": [
                    {"name": "bytes"},
                    {"name": "zstd", "configuration": {"level": _LEVEL}},
                ],
            },
            "store_data_equal_to_fill_value": True,
            "create": True,
        }
    ).result()
