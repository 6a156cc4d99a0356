"""Reading the steps of a directory, and going back to one that is intact."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

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

_T = TypeVar("_T")


class StepReader:
    """Reads steps, and remembers those that it passed over, with what is damaged in them."""

    def __init__(self, directory: StepDirectory) -> None:
        self._directory = directory
        self.damaged: dict[int, str] = {}

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

    def manifest(self, step: int | None) -> Manifest:
        """Return the manifest of a step, of the newest one for None.

        Raises:
            CheckpointNotFoundError: there is none, or a writer has deleted it meanwhile.
            CheckpointFormatError: this library did not write the step, or a newer release did.
            CheckpointReadError: it is damaged.
        """
        return self._try(step, lambda number: self._own(number).manifest)

    def verify(self, step: int | None) -> None:
        """Compare every file of a step with its checksum, of the newest one for None.

        Raises:
            CheckpointNotFoundError: there is none, or a writer has deleted it meanwhile.
            CheckpointFormatError: this library did not write the step, or a newer release did.
            CheckpointReadError: something is damaged.
        """

        def check(number: int) -> None:
            if damages := self._own(number).check():
                raise DamagedStepError(damages)

        self._try(step, check)

    def read(self, step: int | None, target: Any, selection: Selection, *, verify: bool) -> Any:
        """Return the tree of a step, of the newest one for None.

        Raises:
            CheckpointNotFoundError: there is none, or a writer has deleted it meanwhile.
            CheckpointReadError: it is damaged.
            CheckpointMismatchError: it does not fit the target.
            CheckpointPathError: a prefix of the selection is none of anything.
            CheckpointFormatError: a newer release wrote it.
        """
        return self._try(step, lambda number: self._read(number, target, selection, verify, bool))

    def read_newest_intact(
        self, newest: int | None, target: Any, selection: Selection, *, verify: bool
    ) -> Any:
        """Return the tree of a step, or of the newest one before it that is not damaged.

        Raises:
            CheckpointNotFoundError: there is no such step.
            CheckpointReadError: every step is damaged.
            CheckpointMismatchError: a step that is intact does not fit the target.
            CheckpointPathError: a prefix of the selection is none of anything.
            CheckpointFormatError: a newer release wrote a step.
        """
        last = self.existing(newest)
        passed: list[int] = []
        while steps := [step for step in self.usable() if newest is None or step <= newest]:
            try:
                tree = self._read(steps[-1], target, selection, verify, _everywhere)
            except DamagedStepError as error:
                if self._is_there(steps[-1]):
                    passed.append(steps[-1])
                    self.damaged[steps[-1]] = self._text(steps[-1], error)
                continue
            if passed:
                causes = "\n".join(self.damaged[step] for step in passed)
                warnings.warn(
                    f"{self._directory.path}: restored step {steps[-1]}, the newest one that is "
                    f"intact.\n{causes}",
                    CheckpointWarning,
                    stacklevel=3,
                )
            return tree
        causes = [self.damaged[step] for step in sorted(self.damaged, reverse=True) if step <= last]
        raise CheckpointReadError(
            "\n".join([f"{self._directory.path}: no step up to {last} is intact.", *causes])
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
        is_orbax = not self._directory.is_own(step) and self._is_there(step)
        try:
            source: ReadableStep = OrbaxStep(place) if is_orbax else OwnStep(place, verify=verify)
        except DamagedStepError:
            agree(False)
            raise
        return restore_tree(str(place), source, target, selection, agree)

    def _try(self, step: int | None, read: Callable[[int], _T]) -> _T:
        """Read a step; where a writer deletes it meanwhile, look anew which steps there are."""
        while True:
            number = self.existing(step)
            try:
                return read(number)
            except DamagedStepError as error:
                if self._is_there(number):
                    raise self._damage(number, error) from None

    def _own(self, step: int) -> OwnStep:
        if self._is_there(step) and not self._directory.is_own(step):
            raise CheckpointFormatError(
                f"{self._directory.place(step)}: found a step of Orbax, expected one of linen-train: "
                "metadata, metrics, data state and checksums are kept by linen-train alone. "
                "restore(target) reads its arrays."
            )
        return OwnStep(self._directory.place(step))

    def _is_there(self, step: int) -> bool:
        """Whether a step is still there; a writer may delete it while it is read."""
        return self._directory.place(step).exists()

    def _damage(self, step: int, error: DamagedStepError) -> CheckpointReadError:
        others = [other for other in self.usable() if other != step]
        return CheckpointReadError(
            f"{self._text(step, error)}\nOther steps: {others}. Write "
            "restore(target, fallback=True) to go back to the newest one that is intact."
        )

    def _text(self, step: int, error: DamagedStepError) -> str:
        place = self._directory.place(step)
        if not error.damages:
            return f"{place} is damaged, as another process found."
        return text_of(place, error.damages)


def _everywhere(flag: bool) -> bool:
    """Whether a flag is set in every process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.all(multihost_utils.process_allgather(np.asarray(flag))))
