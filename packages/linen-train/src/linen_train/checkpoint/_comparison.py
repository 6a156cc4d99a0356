"""The table of leaves that differ between a step and a target."""

from collections import Counter
from collections.abc import Iterable, Mapping

from linen_train.checkpoint._leaves import LeafDescription

__all__ = ["MISSING", "UNEXPECTED", "Row", "differences", "table"]

Row = tuple[str, str]
"""The kind of a difference, and what it is."""

MISSING = "missing"
UNEXPECTED = "unexpected"
_ROWS_SHOWN = 20


def differences(
    saved: Mapping[str, LeafDescription], target: Mapping[str, LeafDescription]
) -> list[Row]:
    """Return how leaves that are saved differ from those of a target, by path."""
    paths = sorted(saved.keys() | target.keys())
    return [row for path in paths if (row := _row(path, saved.get(path), target.get(path)))]


def table(rows: Iterable[Row], leaves: int) -> str:
    """Return the differences as text: how many of each kind, and the first of them."""
    rows = list(rows)
    counts = Counter(kind for kind, _ in rows)
    summary = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    lines = [f"  {kind:<10}  {text}" for kind, text in rows[:_ROWS_SHOWN]]
    if hidden := len(rows) - len(lines):
        lines.append(f"  ... and {hidden} more")
    return "\n".join([f"{summary} (of {leaves} leaves in the target)", *lines])


def _row(path: str, saved: LeafDescription | None, target: LeafDescription | None) -> Row | None:
    if saved is None:
        return MISSING, f"{path}: expected {target}, found nothing"
    if target is None:
        return UNEXPECTED, f"{path}: found {saved}, expected nothing"
    if saved.shape != target.shape:
        return "shape", f"{path}: found {saved}, expected {target}"
    if saved.dtype != target.dtype:
        return "dtype", f"{path}: found {saved}, expected {target}"
    return None
