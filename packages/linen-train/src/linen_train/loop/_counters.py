"""What a loop counts, and how that is kept in the metadata of a checkpoint."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from linen_train.errors import LoopResumeError

__all__ = ["KEY", "Counters"]

KEY = "fit"
_FORMAT = 1


@dataclasses.dataclass
class Counters:
    """What a run has counted so far.

    Attributes:
        data_step: the step after which the data was begun.
        examples: how many examples were seen.
        seconds: how long training has taken, evaluation and saving included.
        monitored: the values that early stopping has seen.
        logged_step: the last step at which metrics were logged.
        evaluated_step: the last one at which the state was evaluated.
        evaluation_is_due: whether the run was interrupted where it would have been evaluated.
        due_hooks: the hooks, by their number, that an interruption kept from being called.
        metrics: the newest values by name.
        history: one row for each evaluation.
        log: sum and weight of each scalar metric since the last log.
        row: the same since the last row of the history.
        merged_log: each metric that merges, since the last log.
        merged_row: the same since the last row of the history.
    """

    data_step: int = 0
    examples: int = 0
    seconds: float = 0.0
    monitored: list[float] = dataclasses.field(default_factory=list)
    logged_step: int = 0
    evaluated_step: int = 0
    evaluation_is_due: bool = False
    due_hooks: list[int] = dataclasses.field(default_factory=list)
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    log: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    row: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    merged_log: dict[str, Any] = dataclasses.field(default_factory=dict)
    merged_row: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"format": _FORMAT, **{name: _encoded(value) for name, value in fields.items()}}

    @classmethod
    def from_json(cls, metadata: Mapping[str, Any], place: str) -> "Counters":
        """Return what was written.

        Raises:
            LoopResumeError: it was not written by `fit`, or by a newer release.
        """
        saved = metadata.get(KEY)
        names = [f.name for f in dataclasses.fields(cls)]
        if not isinstance(saved, Mapping):
            found = "no counters"
        elif saved.get("format") != _FORMAT:
            found = f"format {saved.get('format')}"
        elif missing := [name for name in names if name not in saved]:
            found = f"no {missing} among the counters"
        else:
            return cls(**{name: _decoded(saved[name]) for name in names})
        raise LoopResumeError(
            f"fit: {place} holds {found} of fit, expected those of format {_FORMAT}. Restore it "
            "yourself, state = checkpointer.restore(state), set the data's position, and save "
            "into another directory."
        )


def _encoded(value: Any) -> Any:
    """Return JSON values; JSON knows only finite numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
