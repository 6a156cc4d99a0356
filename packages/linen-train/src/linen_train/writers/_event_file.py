"""Event files of TensorBoard, through the writer of the package `tensorboard`."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from linen_train._extras import extra
from linen_train.errors import WriterClosedError

__all__ = ["EventFile"]

_FLUSH_SECONDS = 10


class EventFile:
    """An event file of its own in a folder.

    Args:
        writer: the name of the writer, for errors.
        log_dir: the folder; it is made.

    Raises:
        MissingExtraError: the package `tensorboard` is not installed.
    """

    def __init__(self, writer: str, log_dir: str | os.PathLike[str]) -> None:
        with extra("tensorboard", needed_by=writer):
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        self._writer = writer
        self._log_dir = Path(log_dir)
        self._protos: Any = event_pb2, summary_pb2  # protobuf makes their classes at run time
        self._file: Any = EventFileWriter(str(self._log_dir), flush_secs=_FLUSH_SECONDS)

    def add(self, step: int, values: Iterable[Mapping[str, Any]]) -> None:
        """Add one event of values, each given by the fields of a `Summary.Value`."""
        _, summary_pb2 = self._protos
        messages = [summary_pb2.Summary.Value(**value) for value in values]
        self._add(step=step, summary=summary_pb2.Summary(value=messages))

    def purge_from(self, step: int) -> None:
        """Tell readers to forget what earlier files say of this step and later ones."""
        session_log = self._protos[0].SessionLog
        self._add(step=step, session_log=session_log(status=session_log.START))

    def flush(self) -> None:
        """Return when every event is in the file."""
        self._open().flush()

    def close(self) -> None:
        """Flush and close, once."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, **fields: Any) -> None:
        event_pb2, _ = self._protos
        self._open().add_event(event_pb2.Event(wall_time=time.time(), **fields))

    def _open(self) -> Any:
        if self._file is None:
            raise WriterClosedError(
                f"{self._writer}: the writer of {self._log_dir} is closed. Write inside its `with` "
                "block, or make a new one."
            )
        return self._file
