"""Checks of what callers pass to a checkpointer beside trees."""

import json
from collections.abc import Mapping
from typing import Any

from linen_train.checkpoint._retention import Retention
from linen_train.errors import (
    CheckpointMetadataError,
    CheckpointMetricError,
    CheckpointOptionError,
)

__all__ = ["check_options", "checked_metadata", "checked_metrics"]


def check_options(
    retention: Retention,
    every_steps: int | None,
    every_seconds: float | None,
    peer_timeout: float,
) -> None:
    """Refuse options that make no sense.

    Raises:
        CheckpointOptionError: one does not.
    """
    keep_last, keep_best = retention.keep_last, retention.keep_best
    if keep_last is not None and keep_last < 1:
        _refuse(f"keep_last={keep_last}, expected at least 1, or None to keep every step")
    if keep_best is not None and keep_best < 1:
        _refuse(f"keep_best={keep_best}, expected at least 1, or None to keep the newest alone")
    if keep_best is not None and retention.metric is None:
        _refuse(f"keep_best={keep_best} alone, expected best_metric='loss' beside it")
    if keep_best is not None and keep_last is None:
        _refuse(f"keep_best={keep_best} beside keep_last=None, which keeps every step; drop one")
    if retention.mode not in ("min", "max"):
        _refuse(f"best_mode={retention.mode!r}, expected 'min' or 'max'")
    if every_steps is not None and every_steps < 1:
        _refuse(f"every_steps={every_steps}, expected at least 1")
    if every_seconds is not None and not every_seconds > 0:
        _refuse(f"every_seconds={every_seconds}, expected more than 0")
    if not peer_timeout > 0:
        _refuse(f"peer_timeout={peer_timeout}, expected more than 0 seconds")


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the metadata.

    Raises:
        CheckpointMetadataError: it is not JSON.
    """
    try:
        return json.loads(json.dumps(dict(metadata or {})))
    except (TypeError, ValueError) as error:
        raise CheckpointMetadataError(
            f"metadata: found a value that is not JSON ({error}), expected dicts, lists, text, "
            "numbers, booleans and None. Arrays belong into the state; write float(x) for a scalar."
        ) from error


def checked_metrics(metrics: Mapping[str, Any] | None, best: str | None) -> dict[str, float]:
    """Return metrics as numbers.

    Raises:
        CheckpointMetricError: one is none, or the one that tells the best step is missing.
    """
    numbers: dict[str, float] = {}
    for name, value in (metrics or {}).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError) as error:
            raise CheckpointMetricError(
                f"metrics[{name!r}]: found {value!r:.80} of type {type(value).__name__}, expected a "
                "number or a scalar array. Other things go into the metadata."
            ) from error
    if numbers and best is not None and best not in numbers:
        raise CheckpointMetricError(
            f"metrics: found {sorted(numbers)}, expected {best!r} among them, which tells the best "
            f"step. Write metrics={{{best!r}: value, ...}}."
        )
    return numbers


def _refuse(found: str) -> None:
    raise CheckpointOptionError(f"Checkpointer: found {found}.")
