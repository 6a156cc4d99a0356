"""Arguments of `fit` that make no sense, by themselves or beside another."""

from collections.abc import Mapping
from typing import Any

import rich.console

from linen_train.errors import LoopArgumentError
from linen_train.loop._counters import KEY
from linen_train.loop.hook import Hook
from linen_train.loop.profile import Profile

__all__ = ["check_arguments", "check_profile"]


def check_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that have no effect, or that are of another kind.

    Raises:
        LoopArgumentError: there is one.
    """
    _check_kinds(given)
    _check_alone(given)
    _check_monitor(given)
    if KEY in (given["metadata"] or ()):
        _refuse(f"{KEY!r} in metadata, where the loop keeps its counters. Use another name.")
    if given["check_finite"] not in ("log", "step", None):
        _refuse(f"check_finite={given['check_finite']!r}, expected 'log', 'step' or None.")
    if given["prefetch"] < 0:
        _refuse(f"prefetch={given['prefetch']}, expected 0 or more batches.")


def check_profile(profile: Profile | None, last_step: int | None) -> None:
    """Refuse a profile of steps that are never made.

    Raises:
        LoopArgumentError: they are not.
    """
    if profile is not None and last_step is not None and profile.first_step > last_step:
        _refuse(
            f"{profile}, but the run ends at step {last_step}, expected steps before. Write "
            f"Profile(directory, {max(last_step - 1, 1)}, {last_step})."
        )


def _check_kinds(given: Mapping[str, Any]) -> None:
    writer, hooks = given["writer"], given["hooks"]
    if writer is not None and not all(hasattr(writer, name) for name in ("write", "flush")):
        _refuse(
            f"writer={writer!r:.80}, expected an object with write and flush. Write "
            "writer=JSONLWriter(path), or MultiWriter(one, other) for several."
        )
    if not isinstance(hooks, list | tuple) or not all(isinstance(hook, Hook) for hook in hooks):
        _refuse(f"hooks={hooks!r:.80}, expected Hooks. Write hooks=[Hook(100, function)].")
    if given["profile"] is not None and not isinstance(given["profile"], Profile):
        _refuse(
            f"profile={given['profile']!r:.80}, expected a Profile. Write "
            "profile=Profile(directory, first_step=10, last_step=12)."
        )
    stopper = given["early_stopping"]
    if stopper is not None and not all(
        hasattr(stopper, name) for name in ("update", "should_stop")
    ):
        _refuse(
            f"early_stopping={stopper!r:.80}, expected an object with update and should_stop. Write "
            "early_stopping=EarlyStopping(patience=5)."
        )
    if not isinstance(given["progress"], bool | rich.console.Console):
        _refuse(f"progress={given['progress']!r:.80}, expected True, False or a rich Console.")


def _check_alone(given: Mapping[str, Any]) -> None:
    """Refuse what would have no effect without another argument."""
    if given["checkpointer"] is None:
        missing = (
            "without a checkpointer. Write checkpointer=Checkpointer(directory, every_steps=1000)."
        )
        if given["resume"]:
            _refuse(f"resume=True {missing}")
        if given["metadata"]:
            _refuse(f"metadata={given['metadata']!r:.80} {missing}")
    if given["sharding"] is not None and not given["prefetch"]:
        _refuse(
            "sharding without prefetch. Write prefetch=2, which puts batches there ahead of time."
        )


def _check_monitor(given: Mapping[str, Any]) -> None:
    monitor, stopper = given["monitor"], given["early_stopping"]
    best = getattr(given["checkpointer"], "best_metric", None)
    if stopper is not None and monitor is None:
        _refuse(
            "early_stopping without monitor. Write monitor='test_loss', the metric that decides."
        )
    if stopper is not None and given["log_every"] is None and given["evaluate"] is None:
        _refuse(
            "early_stopping with log_every=None and without evaluate, so that it never sees a metric. "
            "Write log_every=100, or evaluate=function."
        )
    if monitor is not None and stopper is None and best is None:
        _refuse(
            f"monitor={monitor!r}, but nothing that looks at it. Write early_stopping=EarlyStopping("
            f"patience=5), or Checkpointer(directory, best_metric={monitor!r})."
        )
    if best is not None and monitor != best:
        _refuse(
            f"monitor={monitor!r}, but the checkpointer has best_metric={best!r}, expected the same "
            f"name. Write monitor={best!r}."
        )


def _refuse(found: str) -> None:
    raise LoopArgumentError(f"fit: found {found}")
