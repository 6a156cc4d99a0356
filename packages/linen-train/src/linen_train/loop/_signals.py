"""Ctrl-C and SIGTERM as requests: the step is finished, then the run is saved.

Handlers are installed in the main thread alone, where Python allows it, and taken back in the end.
Ctrl-C takes back its handler at once, so that a second one raises KeyboardInterrupt wherever the program
is. SIGTERM may come several times, as launchers pass it on: one request is enough.

Several processes have to stop at the same step, because they save together. JAX watches for SIGTERM,
the notice that a machine is to be taken away, tells all processes, and finds the next step that they
all reach. Ctrl-C takes the same way: it is passed on to JAX as SIGTERM. Where JAX does not watch,
several processes could not stop together, so both signals are left alone.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

__all__ = ["Interruption"]


class Interruption:
    """Inside its `with` block, signals become requests to stop.

    Args:
        active: whether signals are of interest at all.
    """

    def __init__(self, active: bool = True) -> None:
        self.requested: signal.Signals | None = None
        self._several = jax.process_count() > 1
        self._jax_watches = active and self._several and _jax_watches_for_preemption()
        signals = [signal.SIGINT] if self._jax_watches else []
        if not self._several:
            signals = [signal.SIGINT, signal.SIGTERM]
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._signals = signals if active and in_main_thread else []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in self._signals:
            # A handler that Python did not install, which it calls None, could not be put back.
            if signal.getsignal(number) is not None:
                self._handlers[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in list(self._handlers):
            signal.signal(number, self._handlers.pop(number))

    def poll(self, step: int) -> signal.Signals | None:
        """Return the signal to stop for after this step; with several processes, alike in all."""
        if not self._several:
            return self.requested
        if self._jax_watches and multihost_utils.reached_preemption_sync_point(step):
            return self.requested or signal.SIGTERM
        return None

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested = signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, self._handlers.pop(signal.SIGINT))
        if self._several:
            signal.raise_signal(signal.SIGTERM)


def _jax_watches_for_preemption() -> bool:
    # JAX before 0.8.2 has no such setting, and always watches.
    return bool(getattr(jax.config, "jax_enable_preemption_service", True))
