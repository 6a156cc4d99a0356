"""Comma-separated values: one line per row, one column per name."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linen_train.errors import WriterFileFormatError
from linen_train.writers._files import RowFile, RowFileWriter, complete_lines, replace_file
from linen_train.writers.writer import Values, checked_row

__all__ = ["CSVWriter"]


class CSVWriter(RowFileWriter):
    """Writes rows under a header of columns: `step`, and the names of the values.

    A name that comes later gets a new column: the file is written anew with a longer header, in
    which earlier rows are empty there. What a row does not have stays empty. What is not finite is
    `nan`, `inf` and `-inf`.

    Args:
        path: the file; folders above it are made.
        resume_step: None begins a new file. A run that is resumed passes the step of its
            checkpoint: rows of later steps, and a last line that was cut off, are dropped, and new
            rows follow.

    Raises:
        WriterFileExistsError: the file has rows, and there is no `resume_step`.
        WriterFileFormatError: the file to go on with is no such table.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from linen_train.writers import CSVWriter
        >>> file = Path(tempfile.mkdtemp(), "metrics.csv")
        >>> with CSVWriter(file) as writer:
        ...     writer.write(1, {"loss": 0.5})
        ...     writer.write(2, {"loss": 0.25, "accuracy": 0.75})
        >>> print(file.read_text(), end="")
        step,loss,accuracy
        1,0.5,
        2,0.25,0.75
    """

    def __init__(self, path: str | os.PathLike[str], *, resume_step: int | None = None) -> None:
        self._file = RowFile("CSVWriter", path, resume_step, _truncate)
        self._columns = next(csv.reader(complete_lines(self._file.path)), [])

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
        step, numbers = checked_row("CSVWriter", step, values, reserved="step")
        cells = {k: int(n) if isinstance(n, bool) else n for k, n in numbers.items()}
        row: dict[str, Any] = {"step": step, **cells}
        if new := [name for name in row if name not in self._columns]:
            columns = [*self._columns, *new]
            padding = [""] * len(new)
            earlier = (
                [*cells, *padding]
                for cells in list(csv.reader(complete_lines(self._file.path)))[1:]
            )
            self._file.replace(_lines([columns, *earlier]))
            self._columns = columns
        self._file.append("".join(_lines([[row.get(name, "") for name in self._columns]])))


def _lines(rows: Iterable[list[Any]]) -> Iterator[str]:
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()


def _truncate(path: Path, resume_step: int) -> None:
    replace_file(path, _lines(_rows_until(path, resume_step)))


def _rows_until(path: Path, step: int) -> Iterator[list[str]]:
    rows = csv.reader(complete_lines(path))
    header = next(rows, [])
    if header[:1] not in ([], ["step"]):
        raise _no_row(path, 1, header, "a header that begins with 'step'")
    yield from [header] if header else []
    for cells in rows:
        if len(cells) != len(header) or not cells[0].isdecimal():
            expected = f"{len(header)} cells that begin with a step"
            raise _no_row(path, rows.line_num, cells, expected)
        if int(cells[0]) <= step:
            yield cells


def _no_row(path: Path, line: int, cells: list[str], expected: str) -> WriterFileFormatError:
    return WriterFileFormatError(
        f"CSVWriter: found {','.join(cells)[:80]!r} in line {line} of {path}, expected {expected}. "
        "Mend or move the file; nothing in it was changed."
    )
