"""Several writers at once."""

from collections.abc import Callable

from linen_train.errors import MultiWriterError, WriterValueError
from linen_train.writers.writer import Values, Writer

__all__ = ["MultiWriter"]


class MultiWriter(Writer):
    """Passes each row to several writers.

    An error of one does not keep the row from the others. It is raised afterwards: as it is when
    it is the only one, else inside a `MultiWriterError`, an exception group.

    Args:
        *writers: the writers. They are closed with this one.

    Raises:
        WriterValueError: one is no writer.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from linen_train.writers import ConsoleWriter, CSVWriter, MultiWriter
        >>> file = Path(tempfile.mkdtemp(), "metrics.csv")
        >>> with MultiWriter(ConsoleWriter(), CSVWriter(file)) as writer:
        ...     writer.write(1, {"loss": 0.5})
        step 1  loss 0.5
        >>> print(file.read_text(), end="")
        step,loss
        1,0.5
    """

    def __init__(self, *writers: Writer) -> None:
        for writer in writers:
            has_methods = all(hasattr(writer, name) for name in ("write", "flush", "close"))
            if isinstance(writer, type) or not has_methods:
                raise WriterValueError(
                    f"MultiWriter: found {writer!r:.80}, expected a writer. Write MultiWriter(a, b), each "
                    "a writer of its own."
                )
        self.writers = writers

    def write(self, step: int, values: Values) -> None:
        """Pass one row to every writer.

        Args:
            step: the number of updates that were made.
            values: real numbers by name: Python numbers, or arrays of no axes.

        Raises:
            MultiWriterError: several writers failed. The error of a single one is raised as it is.
        """
        self._each(lambda writer: writer.write(step, values))

    def flush(self) -> None:
        """Flush every writer.

        Raises:
            MultiWriterError: several writers failed.
        """
        self._each(lambda writer: writer.flush())

    def close(self) -> None:
        """Close every writer.

        Raises:
            MultiWriterError: several writers failed.
        """
        self._each(lambda writer: writer.close())

    def _each(self, action: Callable[[Writer], None]) -> None:
        errors: list[Exception] = []
        for writer in self.writers:
            try:
                action(writer)
            except Exception as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            names = ", ".join(sorted({type(error).__name__ for error in errors}))
            raise MultiWriterError(
                f"MultiWriter: {len(errors)} of {len(self.writers)} writers failed ({names})",
                errors,
            )
