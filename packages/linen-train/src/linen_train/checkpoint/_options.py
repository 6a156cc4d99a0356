"""Checks of what callers pass to a checkpointer beside trees."""

import operator
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linen_train.checkpoint._retention import Retention
from linen_train.errors import (
    CheckpointMetadataError,
    CheckpointMetricError,
    CheckpointOptionError,
    CheckpointStepError,
)

__all__ = [
    "check_new",
    "check_options",
    "checked_metadata",
    "checked_metrics",
    "checked_number",
]


def check_options(
    retention: Retention,
    every_steps: int | None,
    every_seconds: float | None,
    peer_timeout: float,
    flags: Mapping[str, Any],
) -> None:
    """Refuse options that make no sense.

    Raises:
        CheckpointOptionError: one does not.
    """
    keep_last, keep_best = retention.keep_last, retention.keep_best
    counts = {"keep_last": keep_last, "keep_best": keep_best, "every_steps": every_steps}
    for name, value in counts.items():
        if value is not None and not isinstance(value, int | np.integer):
            _refuse(f"{name}={value!r}, expected a whole number, or None")
    for name, value in {"every_seconds": every_seconds, "peer_timeout": peer_timeout}.items():
        if value is not None and not isinstance(value, float | int | np.number):
            _refuse(f"{name}={value!r}, expected a number of seconds")
    for name, value in flags.items():
        if not isinstance(value, bool):
            _refuse(f"{name}={value!r}, expected True or False")
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
    if retention.mode == "max" and retention.metric is None:
        _refuse("best_mode='max' alone, expected best_metric='accuracy' beside it")
    if every_steps is not None and every_steps < 1:
        _refuse(f"every_steps={every_steps}, expected at least 1")
    if every_seconds is not None and not every_seconds > 0:
        _refuse(f"every_seconds={every_seconds}, expected more than 0")
    if not peer_timeout > 0:
        _refuse(f"peer_timeout={peer_timeout}, expected more than 0 seconds")


def checked_number(directory: Path, step: Any) -> int:
    """Return the number of a step.

    Raises:
        CheckpointStepError: it is none.
    """
    try:
        return operator.index(step)
    except TypeError as error:
        raise CheckpointStepError(
            f"{directory}: found {step!r:.80} for a step, expected a whole number. Write "
            "int(state.step)."
        ) from error


def check_new(place: Path, newest: int | None, damaged: Collection[int]) -> None:
    """Refuse to save a step that is not newer than all there are, or whose place is taken.

    Args:
        place: the directory of the step.
        newest: the newest step there is.
        damaged: steps that make room.

    Raises:
        CheckpointStepError: it cannot be saved.
    """
    step = int(place.name)
    if step < 0 or (newest is not None and step <= newest):
        expected = "0 or more" if newest is None else f"more than {newest}, the newest step there"
        raise CheckpointStepError(
            f"{place.parent}: found step {step}, expected {expected}. To begin again from an older "
            "step, save into another directory."
        )
    if place.exists() and step not in damaged:
        raise CheckpointStepError(
            f"{place}: found something that is no step, expected nothing. Move it elsewhere."
        )


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the metadata.

    Raises:
        CheckpointMetadataError: it is not JSON.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise _not_json("metadata", metadata)
    return {name: _checked("metadata", name, value) for name, value in metadata.items()}


def _checked(place: str, name: Any, value: Any) -> Any:
    """Return a copy of a value that is below a key of a dict."""
    if not isinstance(name, str):
        raise CheckpointMetadataError(
            f"{place}: found the key {name!r}, expected text, which is what comes back. Write "
            f"{{{str(name)!r}: ...}}."
        )
    return _json(f"{place}[{name!r}]", value)


def _json(place: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {name: _checked(place, name, item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(f"{place}[{index}]", item) for index, item in enumerate(value)]
    raise _not_json(place, value)


def _not_json(place: str, value: Any) -> CheckpointMetadataError:
    return CheckpointMetadataError(
        f"{place}: found {value!r:.80} of type {type(value).__name__}, expected JSON: dicts, lists, "
        "text, numbers, booleans and None. Arrays belong into the state; write float(x) for a scalar."
    )


def checked_metrics(metrics: Mapping[str, Any] | None, best: str | None) -> dict[str, float]:
    """Return metrics as numbers.

    Raises:
        CheckpointMetricError: one is none, or the one that tells the best step is missing.
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise CheckpointMetricError(
            f"metrics: found {metrics!r:.80} of type {type(metrics).__name__}, expected numbers by "
            "name. Write metrics={'loss': loss}."
        )
    numbers: dict[str, float] = {}
    for name, value in (metrics or {}).items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
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
