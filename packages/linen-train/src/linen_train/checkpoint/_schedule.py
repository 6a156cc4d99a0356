"""When a step is due to be saved."""

import time

import jax
import numpy as np
from jax.experimental import multihost_utils

__all__ = ["Schedule"]


class Schedule:
    """Says which steps are due: every so many, or so many seconds after the last; all without these.

    Args:
        every_steps: how many steps are from one to the next.
        every_seconds: how many seconds are from one to the next.
    """

    def __init__(self, every_steps: int | None, every_seconds: float | None) -> None:
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self.saved()

    def saved(self) -> None:
        """Take note that a step is saved now."""
        self._saved_at = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether a step is due; the first process decides on seconds, so all have to ask."""
        if self._every_steps is None and self._every_seconds is None:
            return True
        is_due = self._every_steps is not None and step % self._every_steps == 0
        if self._every_seconds is not None:
            is_late = time.monotonic() - self._saved_at >= self._every_seconds
            if jax.process_count() > 1:
                is_late = bool(multihost_utils.broadcast_one_to_all(np.asarray(is_late)))
            is_due = is_due or is_late
        return is_due
