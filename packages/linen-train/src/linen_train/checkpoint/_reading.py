"""Reading arrays from the files of a step, and checking the checksum of every block that is read.

What is wanted are *buffers*: arrays in host memory, each for a region of a leaf. A piece whose region
is that of its buffer is read right into it; others are read whole, and copied where they overlap.
Damage is collected and not raised, so that all of it can be reported at once.
"""

import contextlib
import dataclasses
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from linen_train.checkpoint._compression import decompress
from linen_train.checkpoint._leaves import Region
from linen_train.checkpoint._records import ArraysFile, Block, Piece
from linen_train.checkpoint._workers import Workers
from linen_train.checkpoint._writing import PART_SIZE

__all__ = ["Buffer", "Damage", "check_arrays", "new_array", "read_arrays"]

_ALIGNMENT = 64  # JAX uses memory that is aligned so without copying it


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is wrong with a file, and the paths of the leaves that it concerns."""

    file: str
    what: str
    paths: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Buffer:
    """Memory for a region of a stored array."""

    region: Region
    array: np.ndarray


def new_array(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Return an array that is not filled yet."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)


def read_arrays(
    folder: Path,
    files: Sequence[ArraysFile],
    wanted: Mapping[str, Sequence[Buffer]],
    *,
    verify: bool,
    workers: Workers,
) -> list[Damage]:
    """Fill buffers, by path of their leaf, and return what was found damaged."""

    def jobs(file: _File, piece: Piece) -> Iterator[Callable[[], None]]:
        if piece.path is None:
            if verify:
                yield from _checks(file, piece)
            return
        buffers = [b for b in wanted.get(piece.path, ()) if _overlap(b.region, piece.region)]
        if len(buffers) == 1 and buffers[0].region == piece.region:
            yield from _fills(file, piece, buffers[0].array, verify)
        elif buffers:
            yield lambda: _scatter(file, piece, buffers, verify)

    return _run(folder, files, jobs, lambda path: path in wanted, workers)


def check_arrays(folder: Path, files: Sequence[ArraysFile], workers: Workers) -> list[Damage]:
    """Return what is damaged in the files of a step."""
    return _run(folder, files, _checks, lambda _: True, workers)


class _File:
    """A file that is open, and what was found damaged in it."""

    def __init__(self, record: ArraysFile, descriptor: int) -> None:
        self.record = record
        self.descriptor = descriptor
        self.damages: list[Damage] = []

    def report(self, piece: Piece, block: Block, what: str) -> None:
        place = f"bytes {block.offset} to {block.offset + block.stored} {what}"
        self.damages.append(Damage(self.record.name, place, (_path_of(piece),)))

    def read(self, piece: Piece, block: Block, view: memoryview, verify: bool) -> None:
        """Read a block into memory of its size."""
        if not self.record.compressed:
            self._read_stored(piece, block, view, verify)
            return
        frame = memoryview(bytearray(block.stored))
        if not self._read_stored(piece, block, frame, verify):
            return
        try:
            view[:] = decompress(bytes(frame), block.size)
        except ValueError:
            self.report(piece, block, "cannot be decompressed")

    def check(self, piece: Piece, block: Block) -> None:
        """Read a block as it is and check its checksum."""
        self._read_stored(piece, block, memoryview(bytearray(block.stored)), True)

    def _read_stored(self, piece: Piece, block: Block, view: memoryview, verify: bool) -> bool:
        checksum = 0
        done = 0
        while done < block.stored:
            part = view[done : done + PART_SIZE]
            try:
                count = os.preadv(self.descriptor, [part], block.offset + done)
            except OSError as error:
                self.report(piece, block, f"cannot be read ({error.strerror})")
                return False
            if count == 0:
                self.report(piece, block, "are missing")
                return False
            if verify:
                checksum = zlib.crc32(part[:count], checksum)
            done += count
        if verify and checksum != block.checksum:
            self.report(piece, block, "have another checksum than when they were saved")
            return False
        return True


def _run(
    folder: Path,
    records: Sequence[ArraysFile],
    jobs: Callable[[_File, Piece], Iterator[Callable[[], None]]],
    concerns: Callable[[str], bool],
    workers: Workers,
) -> list[Damage]:
    damages: list[Damage] = []
    with contextlib.ExitStack() as stack:
        files: list[_File] = []
        for record in records:
            paths = [p.path for p in record.pieces if p.path is not None and concerns(p.path)]
            try:
                opened = stack.enter_context((folder / record.name).open("rb", buffering=0))
            except OSError as error:
                what = "is missing" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
                damages.append(Damage(record.name, what, tuple(dict.fromkeys(paths))))
                continue
            size = os.fstat(opened.fileno()).st_size
            if size > record.size:
                what = f"has {size} bytes, expected {record.size}"
                damages.append(Damage(record.name, what, tuple(dict.fromkeys(paths))))
            files.append(_File(record, opened.fileno()))
        todo = (job for file in files for piece in file.record.pieces for job in jobs(file, piece))
        workers.map(lambda job: job(), todo)
        for file in files:
            damages += sorted(file.damages, key=lambda damage: damage.what)
    return damages


def _checks(file: _File, piece: Piece) -> Iterator[Callable[[], None]]:
    for block in piece.blocks:
        yield lambda block=block: file.check(piece, block)


def _fills(
    file: _File, piece: Piece, array: np.ndarray, verify: bool
) -> Iterator[Callable[[], None]]:
    view = _bytes_of(array)
    begin = 0
    for block in piece.blocks:
        part = view[begin : begin + block.size]
        yield lambda block=block, part=part: file.read(piece, block, part, verify)
        begin += block.size


def _scatter(file: _File, piece: Piece, buffers: Sequence[Buffer], verify: bool) -> None:
    array = new_array([b - a for a, b in piece.region], buffers[0].array.dtype)
    for fill in _fills(file, piece, array, verify):
        fill()
    for buffer in buffers:
        bounds = [
            (max(a, c), min(b, d))
            for (a, b), (c, d) in zip(piece.region, buffer.region, strict=True)
        ]
        buffer.array[_slices(bounds, buffer.region)] = array[_slices(bounds, piece.region)]


def _slices(bounds: Sequence[tuple[int, int]], region: Region) -> tuple[slice, ...]:
    """Return the slices that select bounds from an array of a region."""
    return tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(bounds, region, strict=True))


def _overlap(one: Region, other: Region) -> bool:
    return all(a < d and c < b for (a, b), (c, d) in zip(one, other, strict=True))


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _path_of(piece: Piece) -> str:
    return "the header" if piece.path is None else piece.path
