"""The manifest of a step: which leaves it has, and how they differ from those of a target.

Every step carries the version of this library's format and the description of each of its leaves. A
target is compared with the manifest before any array is read, so that a wrong target is found fast
and reported whole.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from linen_train.checkpoint._leaves import LeafDescription
from linen_train.errors import CheckpointFormatError

__all__ = ["FORMAT_VERSION", "difference", "from_json", "to_json"]

FORMAT_VERSION = 1
_LIBRARY = "linen-train"
_ROWS_SHOWN = 20

Leaves = Mapping[str, LeafDescription]


def to_json(leaves: Leaves) -> dict[str, Any]:
    """Return the manifest of a step as JSON values."""
    return {
        "library": _LIBRARY,
        "format_version": FORMAT_VERSION,
        "leaves": {path: dataclasses.asdict(leaf) for path, leaf in leaves.items()},
    }


def from_json(manifest: Mapping[str, Any], place: str) -> dict[str, LeafDescription]:
    """Return the leaves that a manifest describes; `place` names the step in errors.

    Raises:
        CheckpointFormatError: the manifest is of another library or version.
    """
    version = manifest.get("format_version")
    if manifest.get("library") != _LIBRARY or version != FORMAT_VERSION:
        raise CheckpointFormatError(
            f"{place}: found format version {version!r} of {manifest.get('library')!r}, expected "
            f"version {FORMAT_VERSION} of {_LIBRARY!r}. A newer release of linen-train may read it."
        )
    return {
        path: LeafDescription(tuple(leaf["shape"]), leaf["dtype"], leaf["key_implementation"])
        for path, leaf in manifest["leaves"].items()
    }


def difference(saved: Leaves, target: Leaves) -> str | None:
    """Return a table of the leaves that differ, or None where a target fits a step."""
    rows = [
        row
        for path in sorted(saved.keys() | target.keys())
        if (row := _row(path, saved.get(path), target.get(path)))
    ]
    if not rows:
        return None
    counts = Counter(kind for kind, _ in rows)
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    lines = [f"  {kind:<10}  {text}" for kind, text in rows[:_ROWS_SHOWN]]
    if hidden := len(rows) - len(lines):
        lines.append(f"  ... and {hidden} more")
    return "\n".join([f"{summary} (of {len(target)} leaves in the target)", *lines])


def _row(
    path: str, saved: LeafDescription | None, target: LeafDescription | None
) -> tuple[str, str] | None:
    if saved is None:
        return "missing", f"{path}: expected {target}, found nothing"
    if target is None:
        return "unexpected", f"{path}: found {saved}, expected nothing"
    if saved.shape != target.shape:
        return "shape", f"{path}: found {saved}, expected {target}"
    if saved.dtype != target.dtype:
        return "dtype", f"{path}: found {saved}, expected {target}"
    return None
