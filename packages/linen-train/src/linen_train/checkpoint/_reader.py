"""Reading the steps of a directory, and going back to one that is intact."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from linen_train.checkpoint._collector import paused_collection
from linen_train.checkpoint._directory import StepDirectory
from linen_train.checkpoint._manifest import Manifest
from linen_train.checkpoint._orbax import OrbaxStep
from linen_train.checkpoint._own import OwnStep, text_of
from linen_train.checkpoint._restoring import DamagedStepError, ReadableStep, restore_tree
from linen_train.checkpoint._selection import Selection
from linen_train.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
    CheckpointWarning,
)

__all__ = ["StepReader"]


class StepReader:
    """Reads steps, and remembers those that it passed over because they are damaged."""

    def __init__(self, directory: StepDirectory) -> None:
        self._directory = directory
        self.damaged: set[int] = set()

    def usable(self) -> list[int]:
        """Return the steps that are not known to be damaged, lowest first."""
        return [step for step in self._directory.steps() if step not in self.damaged]

    def existing(self, step: int | None) -> int:
        """Return a step that is there, the newest usable one for None.

        Raises:
            CheckpointNotFoundError: there is none.
        """
        steps = self._directory.steps()
        if not steps:
            raise CheckpointNotFoundError(
                f"{self._directory.path}: found no checkpoint, expected at least one. Check the "
                "directory, or save(step, state) first."
            )
        if step is None:
            return max(self.usable(), default=steps[-1])
        if step not in steps:
            raise CheckpointNotFoundError(
                f"{self._directory.path}: found no step {step}, expected one of {steps}."
            )
        return step

    def manifest(self, step: int) -> Manifest:
        """Return the manifest of a step.

        Raises:
            CheckpointFormatError: this library did not write the step, or a newer release did.
            CheckpointReadError: it is damaged.
        """
        self._check_own(step)
        try:
            return OwnStep(self._directory.place(step)).manifest
        except DamagedStepError as error:
            raise self._damage(step, error) from None

    def verify(self, step: int) -> None:
        """Compare every file of a step with its checksum.

        Raises:
            CheckpointFormatError: this library did not write the step, or a newer release did.
            CheckpointReadError: something is damaged.
        """
        self._check_own(step)
        try:
            if damages := OwnStep(self._directory.place(step)).check():
                raise DamagedStepError(damages)
        except DamagedStepError as error:
            raise self._damage(step, error) from None

    def read(self, step: int, target: Any, selection: Selection, *, verify: bool) -> Any:
        """Return the tree of a step.

        Raises:
            CheckpointReadError: it is damaged.
            CheckpointMismatchError: it does not fit the target.
            CheckpointPathError: a prefix of the selection is none of anything.
            CheckpointFormatError: a newer release wrote it.
        """
        try:
            return self._read(step, target, selection, verify, bool)
        except DamagedStepError as error:
            raise self._damage(step, error) from None

    def read_newest_intact(
        self, newest: int, target: Any, selection: Selection, *, verify: bool
    ) -> Any:
        """Return the tree of a step, or of the newest one before it that is not damaged.

        Raises:
            CheckpointReadError: every step is damaged.
            CheckpointMismatchError: a step that is intact does not fit the target.
            CheckpointPathError: a prefix of the selection is none of anything.
            CheckpointFormatError: a newer release wrote a step.
        """
        causes = []
        for step in reversed([step for step in self.usable() if step <= newest]):
            try:
                return self._read(step, target, selection, verify, _everywhere)
            except DamagedStepError as error:
                cause = self._damage(step, error)
            causes.append(str(cause))
            self.damaged.add(step)
            warnings.warn(f"Passed over a damaged step. {cause}", CheckpointWarning, stacklevel=3)
        raise CheckpointReadError(
            "\n".join([f"{self._directory.path}: no step up to {newest} is intact.", *causes])
        )

    @paused_collection()
    def _read(
        self,
        step: int,
        target: Any,
        selection: Selection,
        verify: bool,
        agree: Callable[[bool], bool],
    ) -> Any:
        place = self._directory.place(step)
        is_own = self._directory.is_own(step)
        try:
            source: ReadableStep = OwnStep(place, verify=verify) if is_own else OrbaxStep(place)
        except DamagedStepError:
            agree(False)
            raise
        return restore_tree(str(place), source, target, selection, agree)

    def _check_own(self, step: int) -> None:
        if not self._directory.is_own(step):
            raise CheckpointFormatError(
                f"{self._directory.place(step)}: found a step of Orbax, expected one of linen-train: "
                "metadata, metrics, data state and checksums are kept by linen-train alone. "
                "restore(target) reads its arrays."
            )

    def _damage(self, step: int, error: DamagedStepError) -> CheckpointReadError:
        place = self._directory.place(step)
        others = [other for other in self.usable() if other != step]
        if not error.damages:
            return CheckpointReadError(f"{place} is damaged, as another process found.")
        return CheckpointReadError(
            f"{text_of(place, error.damages)}\nOther steps: {others}. Write "
            "restore(target, fallback=True) to go back to the newest one that is intact."
        )


def _everywhere(flag: bool) -> bool:
    """Whether a flag is set in every process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.all(multihost_utils.process_allgather(np.asarray(flag))))
