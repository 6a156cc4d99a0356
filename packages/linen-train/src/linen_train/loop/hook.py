"""What `fit` calls between steps, and what it tells."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from linen_train.errors import LoopArgumentError
from linen_train.loop.every import Every

__all__ = ["Event", "Hook"]


@dataclasses.dataclass
class Event:
    """Where a run is, as a hook sees it.

    Args:
        step: how many steps were made.
        epoch: how many epochs were begun, from 1; None if the length of an epoch is not known.
        state: the state after the step. A step function that donates its state makes it unusable
            with the next step: copy what is to be kept.
        metrics: the newest values by name: the last log's, and what was evaluated at this step.
    """

    step: int
    epoch: int | None
    state: Any
    metrics: Mapping[str, float]
    stop_requested: bool = dataclasses.field(default=False, init=False)

    def stop(self) -> None:
        """Ask the run to stop after this step, as if it were at its end.

        Example:
            >>> from linen_train import Event
            >>> event = Event(step=3, epoch=None, state=None, metrics={})
            >>> event.stop()
            >>> event.stop_requested
            True
        """
        self.stop_requested = True


@dataclasses.dataclass(frozen=True)
class Hook:
    """A function that `fit` calls at some steps.

    Args:
        every: at which steps, or after how many seconds; a number counts steps.
        call: takes an `Event`; what it returns, a dict of scalars or None, goes to the writers.

    Raises:
        LoopArgumentError: `every` says no steps and no seconds, or `call` cannot be called.

    Example:
        >>> from linen_train import Every, Hook
        >>> hook = Hook(Every(seconds=60), lambda event: print("at step", event.step))
    """

    every: Every | int
    call: Callable[[Event], Mapping[str, Any] | None]

    def __post_init__(self) -> None:
        if isinstance(self.every, int):
            Every(steps=self.every)  # which checks it
        elif not isinstance(self.every, Every):
            raise LoopArgumentError(
                f"Hook: found every={self.every!r:.80}, expected a number of steps or Every(seconds=60)."
            )
        if not callable(self.call):
            raise LoopArgumentError(
                f"Hook: found {self.call!r:.80} to call, expected a function. Write Hook(100, function), "
                "where function(event) returns a dict of scalars or None."
            )
