"""What a run ends with."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

__all__ = ["FitResult"]

_State = TypeVar("_State")


@dataclasses.dataclass(frozen=True)
class FitResult(Generic[_State]):
    """What `fit` returns.

    Args:
        state: the state after the last step.
        step: how many steps were made, those of earlier runs included.
        stopped_by: why there are no more: `"steps"` (all were made), `"data"` (it has ended),
            `"early_stopping"`, `"hook"`, `"SIGINT"` (Ctrl-C) or `"SIGTERM"`.
        metrics: the newest values by name, of the last log and of the last evaluation.
        history: one row for each evaluation, those of earlier runs included: `step`, `epoch` where
            it is known, the means of the metrics of the steps since the row before, and what was
            evaluated.
        saved_step: the newest step in the checkpoints; None if there is none.
        early_stopping: the object given to `fit` after its last update; None if none was given.

    Example:
        >>> from linen_train import FitResult
        >>> result = FitResult(state=None, step=3, stopped_by="SIGTERM")
        >>> result.exit_code
        143
    """

    state: _State
    step: int
    stopped_by: str
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    saved_step: int | None = None
    early_stopping: Any = None

    @property
    def exit_code(self) -> int:
        """The status for `sys.exit`: 130 after Ctrl-C, 143 after SIGTERM, 0 otherwise."""
        return {"SIGINT": 130, "SIGTERM": 143}.get(self.stopped_by, 0)
