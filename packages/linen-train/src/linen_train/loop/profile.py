"""A window of steps that is profiled."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax

from linen_train.errors import LoopArgumentError

__all__ = ["Profile", "Profiler"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """Says which steps of a run to profile, and where the trace goes.

    `fit` waits for the device before and after them, so that the trace holds these steps and no
    others. TensorBoard's profile plugin, xprof and Perfetto show it.

    Args:
        directory: where `jax.profiler` writes.
        first_step: the first step of the trace; steps count from 1. Take one after the first few,
            which compile.
        last_step: the last step of the trace.

    Raises:
        LoopArgumentError: `last_step` is before `first_step`, or that is less than 1.

    Example:
        >>> from linen_train import Profile
        >>> Profile("runs/profile", first_step=10, last_step=12)
        Profile(directory='runs/profile', first_step=10, last_step=12)
    """

    directory: str | os.PathLike[str]
    first_step: int
    last_step: int

    def __post_init__(self) -> None:
        if not 1 <= self.first_step <= self.last_step:
            raise LoopArgumentError(
                f"Profile: found first_step={self.first_step} and last_step={self.last_step}, "
                "expected 1 <= first_step <= last_step."
            )


class Profiler:
    """Traces the steps of a profile; without one it does nothing.

    Args:
        profile: which steps, and where to.
        last_step: the last step of the run, if that is known.
    """

    def __init__(self, profile: Profile | None, last_step: int | None) -> None:
        is_reached = profile is not None and (last_step is None or profile.first_step <= last_step)
        self._profile = profile if is_reached else None
        self.is_tracing: bool = False

    def next_step(self, step: int) -> int | None:
        """Return the step after which there is something to do, if there is one after `step`."""
        if self._profile is None:
            return None
        if self.is_tracing:
            return self._profile.last_step
        return self._profile.first_step - 1 if step < self._profile.first_step else None

    def after(self, step: int, state: Any) -> None:
        """Begin or end the trace after a step; the state is what to wait for."""
        if self._profile is None:
            return
        if self.is_tracing and step >= self._profile.last_step:
            self.stop(state)
        elif not self.is_tracing and step == self._profile.first_step - 1:
            jax.block_until_ready(state)
            jax.profiler.start_trace(Path(self._profile.directory))
            self.is_tracing = True

    def stop(self, state: Any) -> None:
        """End the trace, if there is one."""
        if self.is_tracing:
            self.is_tracing = False
            leaves = [leaf for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array)]
            # After an error of a step that donates its state there is none to wait for.
            jax.block_until_ready([leaf for leaf in leaves if not leaf.is_deleted()])
            jax.profiler.stop_trace()
