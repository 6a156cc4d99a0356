"""Writing arrays into one file, with the checksum of every block.

The file is what the safetensors format says: the length of a header, the header (JSON: name, dtype,
shape and place of every array) and the bytes of the arrays. What that format has no dtype for is
stored as bytes. With compression every block is a frame of zstd, so that `zstd -d` gives that file.

Blocks are written by several threads. Each computes the checksum of a part of a block while that part
is in the cache of its core, so that checksums cost no further pass over memory. Now and then one of
the threads waits until what is written is on the disk, so that the disk works meanwhile.
"""

import dataclasses
import json
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from linen_train.checkpoint._compression import compress
from linen_train.checkpoint._leaves import Region, whole
from linen_train.checkpoint._records import ArraysFile, Block, Piece
from linen_train.checkpoint._workers import Workers

__all__ = ["BLOCK_SIZE", "Source", "sync", "write_arrays", "write_file"]

BLOCK_SIZE = 16 << 20
PART_SIZE = 1 << 20
_SYNC_SIZE = 128 << 20

_SAFETENSORS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """One piece of a leaf to be written.

    Attributes:
        path: path of the leaf.
        shape: of the stored array that the piece is a region of.
        region: bounds along each axis.
        array: the values, in C order and little-endian.
    """

    path: str
    shape: tuple[int, ...]
    region: Region
    array: np.ndarray


def write_arrays(
    folder: Path, process: int, sources: deque[Source], compressed: bool, workers: Workers
) -> ArraysFile:
    """Write and sync a new file. The sources are taken out of the deque as they are written.

    Raises:
        OSError: it cannot be written.
    """
    name = f"arrays-{process}.safetensors" + (".zst" if compressed else "")
    header = _header(sources)
    pieces = [Piece(None, whole((len(header),)), [])]
    pieces += [Piece(source.path, source.region, []) for source in sources]
    with (folder / name).open("xb", buffering=0) as file:
        writer = _Compressing(file.fileno()) if compressed else _Plain(file.fileno())
        workers.map(writer.write, _tasks(header, pieces, sources))
        os.fsync(file.fileno())
        for piece, block in zip(writer.pieces(), writer.blocks(), strict=True):
            piece.blocks.append(block)
        return ArraysFile(name, os.fstat(file.fileno()).st_size, compressed, pieces)


def write_file(path: Path, content: bytes) -> None:
    """Write and sync a new file.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("xb", buffering=0) as file:
        _write_at(file.fileno(), memoryview(content), 0)
        os.fsync(file.fileno())


def sync(directory: Path) -> None:
    """Make the names in a directory last.

    Raises:
        OSError: it cannot be synced.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """A block to be written: its number, its place without compression, its piece, its bytes."""

    number: int
    offset: int
    piece: Piece
    data: memoryview


def _tasks(header: bytes, pieces: list[Piece], sources: deque[Source]) -> Iterator[_Task]:
    contents = [memoryview(header)]
    while sources:
        array = sources.popleft().array
        contents.append(array.reshape(-1).view(np.uint8).data)
    number = offset = 0
    for piece, content in zip(pieces, contents, strict=True):
        for begin in range(0, content.nbytes, BLOCK_SIZE):
            data = content[begin : begin + BLOCK_SIZE]
            yield _Task(number, offset, piece, data)
            number += 1
            offset += data.nbytes


class _Plain:
    """Writes every block where it belongs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written: dict[int, tuple[Piece, Block]] = {}
        self._unsynced = 0

    def write(self, task: _Task) -> None:
        checksum = _write_at(self._descriptor, task.data, task.offset)
        size = task.data.nbytes
        self._written[task.number] = task.piece, Block(task.offset, size, size, checksum)
        self._push(size)

    def _push(self, size: int) -> None:
        """Sync what is written once it is much; a race between threads does no harm."""
        self._unsynced += size
        if self._unsynced >= _SYNC_SIZE:
            self._unsynced = 0
            os.fsync(self._descriptor)

    def pieces(self) -> list[Piece]:
        return [self._written[number][0] for number in sorted(self._written)]

    def blocks(self) -> list[Block]:
        return [self._written[number][1] for number in sorted(self._written)]


class _Compressing(_Plain):
    """Compresses blocks at the same time and appends them one after the other."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._turn = threading.Condition()
        self._next = self._end = 0
        self._failed = False

    def write(self, task: _Task) -> None:
        try:
            frame = compress(task.data)
            offset = self._take_place(task.number, len(frame))
            checksum = _write_at(self._descriptor, memoryview(frame), offset)
        except BaseException:
            with self._turn:
                self._failed = True
                self._turn.notify_all()
            raise
        block = Block(offset, len(frame), task.data.nbytes, checksum)
        self._written[task.number] = task.piece, block
        self._push(len(frame))

    def _take_place(self, number: int, size: int) -> int:
        """Return the end of the blocks before this one, once it is known."""
        with self._turn:
            self._turn.wait_for(lambda: self._failed or self._next == number)
            offset, self._end = self._end, self._end + size
            self._next += 1
            self._turn.notify_all()
            return offset


def _write_at(descriptor: int, data: memoryview, offset: int) -> int:
    """Write bytes and return their checksum."""
    checksum = 0
    for begin in range(0, data.nbytes, PART_SIZE):
        part = data[begin : begin + PART_SIZE]
        checksum = zlib.crc32(part, checksum)
        while part:
            count = os.pwrite(descriptor, part, offset)
            part, offset = part[count:], offset + count
    return checksum


def _header(sources: deque[Source]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "linen-train"}}
    offset = 0
    for source in sources:
        size = source.array.nbytes
        dtype = _SAFETENSORS.get(source.array.dtype.name)
        bytes_each = [] if dtype else [source.array.itemsize]
        entries[_name(source)] = {
            "dtype": dtype or "U8",
            "shape": [*source.array.shape, *bytes_each],
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _name(source: Source) -> str:
    if source.region == whole(source.shape):
        return source.path
    return f"{source.path}[{','.join(f'{a}:{b}' for a, b in source.region)}]"
