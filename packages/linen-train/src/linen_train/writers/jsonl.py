"""JSON Lines: one JSON object per row."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linen_train.errors import WriterFileFormatError
from linen_train.writers._files import RowFile, RowFileWriter, complete_lines, replace_file
from linen_train.writers.writer import Number, Values, checked_row

__all__ = ["JSONLWriter"]


class JSONLWriter(RowFileWriter):
    """Writes each row as one line of JSON: `{"step": 3, "loss": 0.5}`.

    JSON has no numbers for what is not finite, so such values are the strings `"NaN"`,
    `"Infinity"` and `"-Infinity"`, which `float()` in Python and `Number()` in JavaScript read.

    Args:
        path: the file; folders above it are made.
        resume_step: None begins a new file. A run that is resumed passes the step of its
            checkpoint: rows of later steps, and a last line that was cut off, are dropped, and new
            rows follow.

    Raises:
        WriterFileExistsError: the file has rows, and there is no `resume_step`.
        WriterFileFormatError: the file to go on with has a line that is no row.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from linen_train.writers import JSONLWriter
        >>> file = Path(tempfile.mkdtemp(), "metrics.jsonl")
        >>> with JSONLWriter(file) as writer:
        ...     writer.write(1, {"loss": 0.5})
        ...     writer.write(2, {"loss": float("nan"), "accuracy": 0.75})
        >>> print(file.read_text(), end="")
        {"step": 1, "loss": 0.5}
        {"step": 2, "loss": "NaN", "accuracy": 0.75}
    """

    def __init__(self, path: str | os.PathLike[str], *, resume_step: int | None = None) -> None:
        self._file = RowFile("JSONLWriter", path, resume_step, _truncate)

    def write(self, step: int, values: Values) -> None:
        """Append one row.

        Args:
            step: the number of updates that were made.
            values: real numbers by name: Python numbers, or arrays of no axes.

        Raises:
            WriterClosedError: the writer is closed.
            WriterFileError: the system did not take the row: the disk is full, for one.
            WriterValueError: the step or a value cannot be written, or a value is called "step".
        """
        step, numbers = checked_row("JSONLWriter", step, values, reserved="step")
        row = {"step": step} | {name: _finite_or_text(value) for name, value in numbers.items()}
        self._file.append(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")


def _finite_or_text(value: Number) -> Number | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _truncate(path: Path, resume_step: int) -> None:
    replace_file(path, _rows_until(path, resume_step))


def _rows_until(path: Path, step: int) -> Iterator[str]:
    for number, line in enumerate(complete_lines(path), start=1):
        if _step(path, number, line) <= step:
            yield line


def _step(path: Path, number: int, line: str) -> int:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        raise WriterFileFormatError(
            f"JSONLWriter: found {line.strip()[:80]!r} in line {number} of {path}, expected a row "
            'like {"step": 3, "loss": 0.5}. Mend or move the file; nothing in it was changed.'
        )
    return row["step"]
