"""What can go wrong in a training loop."""

from linen_core.errors import LinenError

__all__ = [
    "LoopArgumentError",
    "LoopDataError",
    "LoopError",
    "LoopMetricsError",
    "LoopResumeError",
    "NonFiniteError",
    "StepFunctionError",
]


class LoopError(LinenError):
    """Base of what can go wrong in a training loop."""


class LoopArgumentError(LoopError, ValueError):
    """Arguments of `fit` or `Every` that are out of range, or do not go together."""


class LoopDataError(LoopError, ValueError):
    """The data ends too early, or cannot tell or take up a position."""


class LoopMetricsError(LoopError, ValueError):
    """Metrics that are no scalars, that are missing, or that have one name for two things."""


class LoopResumeError(LoopError, ValueError):
    """A run cannot go on from the checkpoints that there are, or would not go on from them."""


class StepFunctionError(LoopError, TypeError):
    """The step function does not return a pair of state and metrics."""


class NonFiniteError(LoopError, FloatingPointError):
    """A metric or a parameter is NaN or infinite.

    Attributes:
        step: the first step that is known to be bad.
        batch: the number of its batch, counted from the beginning of the data.
        path: path of the first bad leaf: `metrics/loss`, `params/Dense_0/kernel`.
        good_step: the last step whose state is known to be finite; None if there is none.
        saved_step: the newest step in the checkpoints; None if there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        batch: int,
        path: str,
        good_step: int | None,
        saved_step: int | None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.batch = batch
        self.path = path
        self.good_step = good_step
        self.saved_step = saved_step
