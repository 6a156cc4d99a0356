"""Rows as lines on the console."""

import sys
from typing import TextIO

from linen_train.writers.writer import Number, Values, Writer, checked_row

__all__ = ["ConsoleWriter"]


class ConsoleWriter(Writer):
    """Prints each row as one line.

    Args:
        file: where to print; None is what `sys.stdout` is at that moment.
        digits: significant digits of numbers that are not whole.

    Example:
        >>> from linen_train.writers import ConsoleWriter
        >>> ConsoleWriter().write(100, {"loss": 0.123456, "examples": 6400})
        step 100  loss 0.1235  examples 6400
    """

    def __init__(self, file: TextIO | None = None, *, digits: int = 4) -> None:
        self._file = file
        self._digits = digits

    def write(self, step: int, values: Values) -> None:
        """Print one row.

        Args:
            step: the number of updates that were made.
            values: real numbers by name: Python numbers, or arrays of no axes.

        Raises:
            WriterValueError: the step or a value cannot be written.
        """
        step, numbers = checked_row("ConsoleWriter", step, values)
        cells = [f"step {step}", *(f"{name} {self._text(n)}" for name, n in numbers.items())]
        print("  ".join(cells), file=self._file or sys.stdout)

    def flush(self) -> None:
        """Flush the stream."""
        (self._file or sys.stdout).flush()

    def close(self) -> None:
        """Flush the stream; it is not closed, since others print to it."""
        self.flush()

    def _text(self, value: Number) -> str:
        return f"{value:.{self._digits}g}" if isinstance(value, float) else str(value)
