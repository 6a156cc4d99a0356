"""The manifest of a step: everything that is known of it except the values of its arrays.

The manifest is one JSON file whose first line holds the SHA-256 of the lines below it. It is written
last: a folder without it is no step.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from linen_train.checkpoint._leaves import LeafDescription
from linen_train.checkpoint._records import ArraysFile
from linen_train.errors import CheckpointFormatError

__all__ = ["FORMAT_VERSION", "MANIFEST", "DamagedManifestError", "Manifest"]

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_LIBRARY = "linen-train"
_FIRST_LINE = '{{"sha256": "{}",\n'


class DamagedManifestError(Exception):
    """A manifest that is missing, or not as it was written; never seen outside this folder."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a step.

    Attributes:
        step: its number.
        leaves: description of every leaf, by path.
        files: the files of arrays, one for each process that saved.
        metadata: what the caller passed as `metadata`.
        metrics: what the caller passed as `metrics`.
        data: state of the data iterator of each process, encoded; None where there is none.
    """

    step: int
    leaves: dict[str, LeafDescription]
    files: list[ArraysFile]
    metadata: dict[str, Any]
    metrics: dict[str, float]
    data: list[Any]

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        fields = {
            "library": _LIBRARY,
            "format_version": FORMAT_VERSION,
            "step": self.step,
            "metrics": self.metrics,
            "metadata": self.metadata,
            "data": self.data,
            "leaves": {path: dataclasses.asdict(leaf) for path, leaf in self.leaves.items()},
            "files": {file.name: file.to_json() for file in self.files},
        }
        lines = (f"{json.dumps(name)}: {_dumps(value)}" for name, value in fields.items())
        body = (",\n".join(lines) + "\n}\n").encode()
        return _FIRST_LINE.format(hashlib.sha256(body).hexdigest()).encode() + body

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the manifest of a step.

        Raises:
            DamagedManifestError: it is missing or damaged.
            CheckpointFormatError: a release that is not known wrote it.
        """
        try:
            content = (folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            raise DamagedManifestError("is missing") from None
        except OSError as error:
            raise DamagedManifestError(f"cannot be read ({error.strerror})") from error
        first, newline, body = content.partition(b"\n")
        if first + newline != _FIRST_LINE.format(hashlib.sha256(body).hexdigest()).encode():
            raise DamagedManifestError("has another checksum than when it was saved")
        return cls._from_json(json.loads(content), folder)

    @classmethod
    def _from_json(cls, record: dict[str, Any], folder: Path) -> "Manifest":
        version = record.get("format_version")
        if record.get("library") != _LIBRARY or version != FORMAT_VERSION:
            raise CheckpointFormatError(
                f"{folder / MANIFEST}: found format version {version!r} of "
                f"{record.get('library')!r}, expected version {FORMAT_VERSION} of {_LIBRARY!r}. A "
                "newer release of linen-train may read it."
            )
        if str(record["step"]) != folder.name:
            raise DamagedManifestError(f"is that of step {record['step']}")
        leaves = {
            path: LeafDescription(tuple(leaf["shape"]), leaf["dtype"], leaf["key_implementation"])
            for path, leaf in record["leaves"].items()
        }
        files = [ArraysFile.from_json(name, file) for name, file in record["files"].items()]
        return cls(
            record["step"], leaves, files, record["metadata"], record["metrics"], record["data"]
        )


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
