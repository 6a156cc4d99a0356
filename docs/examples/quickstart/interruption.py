"""Ctrl-C as a request: the current step is finished, then the run is saved."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """Inside the `with` block the first Ctrl-C sets `requested`; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._handler_before: Any = None

    def __enter__(self) -> Self:
        self._handler_before = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._handler_before)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._handler_before)
