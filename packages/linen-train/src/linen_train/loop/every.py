"""When something is due: every so many steps, or every so many seconds."""

import dataclasses
import math
import time

import jax

from linen_train.errors import LoopArgumentError

__all__ = ["Every", "Schedule", "as_every"]

_NEVER = 2**63


@dataclasses.dataclass(frozen=True)
class Every:
    """Says when something is to be done: at every so many steps, every so many seconds, or both.

    Args:
        steps: at each step that is a multiple of it.
        seconds: at the first step that ends so long after the last time, or after the beginning.
            Given together with `steps`, whichever comes first. Several processes cannot agree on
            seconds; use steps there.

    Raises:
        LoopArgumentError: neither is given, or one is not positive.

    Example:
        >>> from linen_train import Every
        >>> Every(steps=100)
        Every(steps=100, seconds=None)
        >>> Every(seconds=0)
        Traceback (most recent call last):
        ...
        linen_train.errors._loop.LoopArgumentError: Every: found seconds=0, expected more than 0.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise LoopArgumentError(
                "Every: found neither steps nor seconds, expected at least one. Write "
                "Every(steps=100) or Every(seconds=60)."
            )
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise LoopArgumentError(f"Every: found steps={self.steps!r}, expected 1 or more.")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise LoopArgumentError(f"Every: found seconds={self.seconds}, expected more than 0.")


def as_every(every: Every | int | None, argument: str) -> Every | None:
    """Return what an argument says, where a number is a number of steps.

    Raises:
        LoopArgumentError: it is a number below 1 or none, or counts seconds in several processes.
    """
    if isinstance(every, int):
        every = Every(steps=every)
    if every is not None and not isinstance(every, Every):
        raise LoopArgumentError(
            f"fit: found {argument}={every!r:.80}, expected a number of steps. Write {argument}=100 or "
            f"{argument}=Every(seconds=60)."
        )
    if every is not None and every.seconds is not None and jax.process_count() > 1:
        raise LoopArgumentError(
            f"fit: found {argument}={every} with {jax.process_count()} processes, which would be due "
            "at different steps in each. Write Every(steps=...)."
        )
    return every


class Schedule:
    """When one thing is due in one run.

    Args:
        every: when; None is never.
        step: the step that the run begins after.
    """

    def __init__(self, every: Every | None, step: int) -> None:
        self._steps = every.steps if every else None
        self._seconds = every.seconds if every else None
        self.done(step)

    def done(self, step: int) -> None:
        """Take note that it was done at a step, and find out when it is due next."""
        self.next_step: int = step + self._steps - step % self._steps if self._steps else _NEVER
        self.next_time: float = time.monotonic() + self._seconds if self._seconds else math.inf

    def is_due(self, step: int) -> bool:
        """Say whether it is due after a step."""
        return step >= self.next_step or time.monotonic() >= self.next_time
