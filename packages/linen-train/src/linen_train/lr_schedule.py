"""Learning rates by epoch, with a linear warm-up.

The schedules of `optax` serve new programs. These three compute the same numbers as the functions of
`flax.training.lr_schedule`, to the bit, which those of optax do not: their warm-up begins elsewhere,
their steps come one step earlier, and their cosine ends where this one goes on.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

__all__ = [
    "create_constant_learning_rate_schedule",
    "create_cosine_learning_rate_schedule",
    "create_stepped_learning_rate_schedule",
]

Schedule = Callable[[Any], Any]


def create_constant_learning_rate_schedule(
    base_learning_rate: float, steps_per_epoch: int, warmup_length: float = 0.0
) -> Schedule:
    """Return a learning rate that stays as it is after the warm-up.

    Args:
        base_learning_rate: the rate after the warm-up.
        steps_per_epoch: how many steps are one epoch.
        warmup_length: for how many epochs the rate grows linearly from zero.

    Returns:
        A function from the step, a number or an integer array, to the rate; `optax` takes it as a
        schedule.

    Example:
        >>> rate = create_constant_learning_rate_schedule(0.5, 10, warmup_length=2.0)
        >>> float(rate(0)), float(rate(10)), float(rate(30))
        (0.0, 0.25, 0.5)
    """

    def learning_rate(step: Any) -> Any:
        return _warmed_up(base_learning_rate, step, steps_per_epoch, warmup_length)

    return learning_rate


def create_stepped_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: int,
    lr_sched_steps: Sequence[Sequence[float]],
    warmup_length: float = 0.0,
) -> Schedule:
    """Return a learning rate that changes after given epochs.

    Args:
        base_learning_rate: the rate before the first change.
        steps_per_epoch: how many steps are one epoch.
        lr_sched_steps: pairs of an epoch and a factor, in the order of the epochs. The steps after
            that epoch have the base rate times the factor.
        warmup_length: for how many epochs the rate grows linearly from zero.

    Returns:
        A function from the step, a number or an integer array, to the rate; `optax` takes it as a
        schedule.

    Example:
        >>> rate = create_stepped_learning_rate_schedule(0.5, 10, [[2, 0.5], [3, 0.25]])
        >>> float(rate(20)), float(rate(21)), float(rate(31))
        (0.5, 0.25, 0.125)
    """
    boundaries = jnp.array([epoch for epoch, _ in lr_sched_steps]) * steps_per_epoch
    factors = [1.0, *(factor for _, factor in lr_sched_steps)]
    rates = jnp.array([base_learning_rate * factor for factor in factors])

    def learning_rate(step: Any) -> Any:
        rate = rates[jnp.sum(boundaries < step)]
        return _warmed_up(rate, step, steps_per_epoch, warmup_length)

    return learning_rate


def create_cosine_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: int,
    halfcos_epochs: float,
    warmup_length: float = 0.0,
) -> Schedule:
    """Return a learning rate that follows a cosine down to zero.

    Args:
        base_learning_rate: the rate at the top of the cosine, at step 0 without a warm-up.
        steps_per_epoch: how many steps are one epoch.
        halfcos_epochs: after how many epochs the rate is zero. Afterwards it rises again: end the
            training there.
        warmup_length: for how many epochs the rate is also multiplied by a factor that grows
            linearly from zero to one.

    Returns:
        A function from the step, a number or an integer array, to the rate; `optax` takes it as a
        schedule.

    Example:
        >>> rate = create_cosine_learning_rate_schedule(0.5, 10, halfcos_epochs=4)
        >>> float(rate(0)), round(float(rate(20)), 6), float(rate(40))
        (0.5, 0.25, 0.0)
    """
    half = halfcos_epochs * steps_per_epoch

    def learning_rate(step: Any) -> Any:
        rate = base_learning_rate * (jnp.cos(jnp.pi * step / half) / 2 + 0.5)
        return _warmed_up(rate, step, steps_per_epoch, warmup_length)

    return learning_rate


def _warmed_up(rate: Any, step: Any, steps_per_epoch: int, warmup_length: float) -> Any:
    if warmup_length <= 0:
        return rate
    return rate * jnp.minimum(1.0, step / float(warmup_length) / steps_per_epoch)
