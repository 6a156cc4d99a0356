"""The arguments of `fit`, checked."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import rich.console

from linen_train.errors import LoopArgumentError
from linen_train.loop._arguments import check_profile
from linen_train.loop._data import steps_in_epoch
from linen_train.loop.every import Every, as_every
from linen_train.loop.hook import Hook
from linen_train.loop.profile import Profile

__all__ = ["Settings", "last_step_of"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `fit` was asked for; each attribute is an argument of `fit`."""

    last_step: int | None
    steps_per_epoch: int | None
    log_every: Every | None
    evaluate: Callable[[Any], Any] | None
    evaluate_every: Every | None
    checkpointer: Any
    metadata: Mapping[str, Any]
    writer: Any
    console: rich.console.Console | None
    monitor: str | None
    check_finite: Literal["log", "step"] | None
    profile: Profile | None
    hooks: Sequence[Hook]
    handle_signals: bool

    def __post_init__(self) -> None:
        check_profile(self.profile, self.last_step)


def last_step_of(
    data: Any, num_steps: int | None, epochs: int | None, steps_per_epoch: int | None
) -> tuple[int | None, int | None]:
    """Return the step that a run ends at, and the steps of an epoch; None where that is not known.

    Raises:
        LoopArgumentError: the arguments are out of range or do not go together.
    """
    given = {"num_steps": num_steps, "epochs": epochs, "steps_per_epoch": steps_per_epoch}
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise LoopArgumentError(f"fit: found {name}={value!r}, expected a whole number.")
        if value is not None and value < (name != "num_steps"):
            raise LoopArgumentError(
                f"fit: found {name}={value}, expected at least {int(name != 'num_steps')}."
            )
    if num_steps is not None and epochs is not None:
        raise LoopArgumentError(
            f"fit: found num_steps={num_steps} and epochs={epochs}, expected one of the two."
        )
    in_epoch = steps_in_epoch(data, steps_per_epoch)
    if epochs is None:
        return num_steps, in_epoch
    if in_epoch is None:
        raise LoopArgumentError(
            f"fit: found epochs={epochs} with data of type {type(data).__name__}, which does not "
            "tell how many batches an epoch has. Write steps_per_epoch=..., or num_steps=..."
        )
    return epochs * in_epoch, in_epoch


def evaluation_schedule(
    evaluate: Any, every: Every | int | None, steps_per_epoch: int | None
) -> Every | None:
    """Return when to evaluate: as asked for, at the end of each epoch, or only in the end.

    Raises:
        LoopArgumentError: there is nothing to evaluate with.
    """
    if evaluate is None and every is not None:
        raise LoopArgumentError(
            f"fit: found evaluate_every={every} without evaluate. Write evaluate=function, where "
            "function(state) returns a dict of scalars."
        )
    if evaluate is not None and every is None and steps_per_epoch is not None:
        return Every(steps=steps_per_epoch)
    return as_every(every, "evaluate_every")
