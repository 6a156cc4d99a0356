"""Rows as scalars in TensorBoard, without TensorFlow."""

import os

from linen_train.writers._event_file import EventFile
from linen_train.writers.writer import Values, Writer, checked_row

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter(Writer):
    """Writes each value as a scalar of an event file, which TensorBoard shows as a curve.

    Needs `pip install 'linen-train[tensorboard]'`; TensorFlow is not needed. For images, text and
    histograms, use `linen_train.tensorboard.SummaryWriter`.

    Args:
        log_dir: the folder of the event files, one run of TensorBoard; it is made.
        resume_step: None for a new run. A run that is resumed passes the step of its checkpoint:
            earlier event files stay as they are, and TensorBoard shows nothing of their later
            steps.

    Raises:
        MissingExtraError: the package `tensorboard` is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from linen_train.writers import TensorBoardWriter
        >>> folder = Path(tempfile.mkdtemp())
        >>> with TensorBoardWriter(folder) as writer:
        ...     writer.write(1, {"loss": 0.5})
        >>> len(list(folder.glob("events.out.tfevents.*")))
        1
    """

    def __init__(self, log_dir: str | os.PathLike[str], *, resume_step: int | None = None) -> None:
        self._events = EventFile("TensorBoardWriter", log_dir)
        if resume_step is not None:
            self._events.purge_from(resume_step + 1)

    def write(self, step: int, values: Values) -> None:
        """Write one row.

        Args:
            step: the number of updates that were made.
            values: real numbers by name: Python numbers, or arrays of no axes; kept as float32.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: the step or a value cannot be written.
        """
        step, numbers = checked_row("TensorBoardWriter", step, values)
        self._events.add(step, [{"tag": name, "simple_value": n} for name, n in numbers.items()])

    def flush(self) -> None:
        """Return when every row is in the event file.

        Raises:
            WriterClosedError: the writer is closed.
        """
        self._events.flush()

    def close(self) -> None:
        """Flush and close the event file. Closing twice is fine."""
        self._events.close()
