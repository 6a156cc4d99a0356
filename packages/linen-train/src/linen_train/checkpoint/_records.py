"""What a checkpoint knows of the files that hold its arrays.

A file is a row of *blocks*, without gaps. A block belongs to one piece of one leaf, or to the
header, and has the checksum of its bytes as they are in the file. So every byte of the file is
covered by one checksum, and a damaged byte belongs to one leaf.

The checksum is CRC-32: in a block of this size it finds every flipped bit, every two, and every run
of up to 32 damaged bits; of other damage it misses one case in four billion. SHA-256 takes several
times as long, which shows where the disk is fast.
"""

import dataclasses
from typing import Any

from linen_train.checkpoint._leaves import Region

__all__ = ["ArraysFile", "Block", "Piece"]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A range of a file.

    Attributes:
        offset: where it begins in the file.
        stored: how many bytes it takes there.
        size: how many bytes it stands for; differs where they are compressed.
        checksum: CRC-32 of the bytes in the file.
    """

    offset: int
    stored: int
    size: int
    checksum: int


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A region of a leaf in a file: its bytes in C order, little-endian.

    Attributes:
        path: path of the leaf, None for the header.
        region: bounds along each axis of the stored array.
        blocks: the blocks, in order.
    """

    path: str | None
    region: Region
    blocks: list[Block]


@dataclasses.dataclass(frozen=True, slots=True)
class ArraysFile:
    """A file of arrays: its name, its size in bytes, its compression, and its pieces."""

    name: str
    size: int
    compressed: bool
    pieces: list[Piece]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "size": self.size,
            "compressed": self.compressed,
            "pieces": [
                [
                    piece.path,
                    piece.region,
                    [[b.offset, b.stored, b.size, b.checksum] for b in piece.blocks],
                ]
                for piece in self.pieces
            ],
        }

    @classmethod
    def from_json(cls, name: str, record: dict[str, Any]) -> "ArraysFile":
        """Return the record of a file from JSON values."""
        pieces = [
            Piece(path, tuple((a, b) for a, b in region), [Block(*block) for block in blocks])
            for path, region, blocks in record["pieces"]
        ]
        return cls(name, record["size"], record["compressed"], pieces)
