"""What can go wrong with writers and plots."""

from linen_core.errors import LinenError

__all__ = [
    "MissingExtraError",
    "MultiWriterError",
    "PlotError",
    "WriterClosedError",
    "WriterError",
    "WriterFileError",
    "WriterFileExistsError",
    "WriterFileFormatError",
    "WriterValueError",
]


class MissingExtraError(LinenError, ImportError):
    """A library is not installed that an extra of linen-train brings."""


class PlotError(LinenError, ValueError):
    """A history holds nothing that can be drawn, or is of another form."""


class WriterError(LinenError):
    """Base of what can go wrong with writers."""


class WriterClosedError(WriterError, RuntimeError):
    """A writer was used after it was closed."""


class WriterFileError(WriterError, OSError):
    """The system did not take a row: the disk is full, for one."""


class WriterFileExistsError(WriterError, FileExistsError):
    """A new file was asked for where there is one with rows."""


class WriterFileFormatError(WriterError, ValueError):
    """The file to go on with was not written by this kind of writer."""


class WriterValueError(WriterError, TypeError):
    """A step, a name or a value cannot be written."""


class MultiWriterError(WriterError, ExceptionGroup):
    """Several writers of a `MultiWriter` failed; `exceptions` holds each error."""
