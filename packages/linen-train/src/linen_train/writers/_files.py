"""Files of rows: begun, resumed, and replaced as a whole."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from linen_train.errors import WriterClosedError, WriterFileError, WriterFileExistsError
from linen_train.writers.writer import Writer

__all__ = ["RowFile", "RowFileWriter", "complete_lines", "replace_file"]


class RowFile:
    """A text file that rows are appended to; each is with the operating system at once, or not at all.

    Args:
        writer: the name of the writer, for errors.
        path: the file; folders above it are made.
        resume_step: the last step whose rows stay; None begins a new file.
        truncate: called with the path and `resume_step` when there is a file to go on with.

    Raises:
        WriterFileExistsError: the file has content, and there is no `resume_step`.
    """

    def __init__(
        self,
        writer: str,
        path: str | os.PathLike[str],
        resume_step: int | None,
        truncate: Callable[[Path, int], None],
    ) -> None:
        self.writer = writer
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size:
            if resume_step is None:
                raise WriterFileExistsError(
                    f"{writer}: found rows in {self.path}, expected no file there. To go on with "
                    "them, pass resume_step=, the step of the checkpoint; for another run, choose "
                    "another path."
                )
            truncate(self.path, resume_step)
        self._file: IO[bytes] | None = self._opened()

    def append(self, text: str) -> None:
        """Hand text to the operating system.

        Raises:
            WriterFileError: it was not taken, and nothing of it is in the file.
        """
        file, rest = self._open(), text.encode()
        end = file.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            file.truncate(end)
            raise WriterFileError(
                f"{self.writer}: could not write a row into {self.path}: {error.strerror}. All earlier "
                "rows are in the file. Make room, and write it again."
            ) from error

    def replace(self, lines: Iterator[str]) -> None:
        """Put other content in the place of the file's, as a whole or not at all.

        Raises:
            WriterFileError: it was not taken, and the file is what it was.
        """
        self._open().close()
        try:
            replace_file(self.path, lines)
        except OSError as error:
            raise WriterFileError(
                f"{self.writer}: could not write {self.path} anew, with another column: "
                f"{error.strerror}. The file is as it was. Make room, and write the row again."
            ) from error
        finally:
            self._file = self._opened()

    def flush(self) -> None:
        """Return when the content is on the disk."""
        os.fsync(self._open().fileno())

    def close(self) -> None:
        """Flush and close, once."""
        if self._file is not None:
            self.flush()
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        return self.path.open("ab", buffering=0)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            raise WriterClosedError(
                f"{self.writer}: the writer of {self.path} is closed. Write inside its `with` block, "
                "or make a new one with resume_step=."
            )
        return self._file


class RowFileWriter(Writer):
    """A writer of rows into a file of rows."""

    _file: RowFile

    def flush(self) -> None:
        """Return when every row is on the disk.

        Raises:
            WriterClosedError: the writer is closed.
        """
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file. Closing twice is fine."""
        self._file.close()


def complete_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without a last one that was cut off while it was written."""
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            if line.endswith("\n"):
                yield line


def replace_file(path: Path, lines: Iterator[str]) -> None:
    """Write lines beside a file, and put them in its place once they are on the disk."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
