"""Threads that do many small tasks of one kind.

They are started before the work is known, because a thread that saves in the background may run
while the interpreter shuts down, when no thread can be started any more.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

__all__ = ["Workers"]

_THREADS = max(2, min(4, os.cpu_count() or 1))


class Workers:
    """A few threads; the one that gives out the work works as well."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve) for _ in range(_THREADS - 1)]
        for thread in self._threads:
            thread.start()

    def map(self, function: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Call a function with every item, in about this order; raise the first error."""
        waiting = deque(items)
        errors: list[BaseException] = []
        finished = [threading.Event() for _ in range(len(self._threads) + 1)]

        def work(done: threading.Event) -> None:
            try:
                while not errors and (item := _next(waiting)) is not None:
                    function(item)
            except BaseException as error:
                errors.append(error)
            finally:
                done.set()

        for done in finished[1:]:
            self._jobs.put(lambda done=done: work(done))
        work(finished[0])
        for done in finished:
            while not done.is_set():
                try:
                    done.wait()
                except BaseException as error:  # Ctrl-C: nobody may go on with what is closed next
                    errors.append(error)
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Let the threads end."""
        for _ in self._threads:
            self._jobs.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _next(waiting: deque[Any]) -> Any:
    try:
        return waiting.popleft()
    except IndexError:
        return None
