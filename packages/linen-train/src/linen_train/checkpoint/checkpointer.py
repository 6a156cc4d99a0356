"""The checkpointer: steps of a training run in one directory.

To *save* is to copy a state and to write it in the background; a step is *committed* once it is
complete on disk under its own name. `wait` returns when everything that was saved is committed. To
*restore* is to read a committed step into the form of a *target*: a state (or the abstract state
that `jax.eval_shape` gives) with the same paths, shapes and dtypes. What is guaranteed beyond that,
and how the files look, is in the folder's README.

Orbax writes the arrays (`_store`). This module adds what the state is on disk (`_leaves`,
`_manifest`), and that nothing is skipped, cast or left out without an error that says so.
"""

import json
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import jax

from linen_train.checkpoint import _leaves, _manifest
from linen_train.checkpoint._store import StepStore
from linen_train.errors import (
    CheckpointMetadataError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointStepError,
)

__all__ = ["Checkpointer"]

_Tree = TypeVar("_Tree")


class Checkpointer:
    """Saves and restores the steps of a training run in one directory.

    Use it as a context manager, or call `close` at the end: both wait until the last step is
    committed.

    Args:
        directory: where the steps are; made if it does not exist. A relative path is resolved
            against the current directory now.
        keep_last: how many of the newest steps to keep; None keeps all.

    Raises:
        CheckpointDirectoryError: the directory cannot be made, or is not a local directory.
        CheckpointStepError: `keep_last` is less than 1.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from linen_train import Checkpointer
        >>> state = {"params": {"kernel": jnp.arange(3.0)}}
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with Checkpointer(directory, keep_last=2) as checkpointer:
        ...         for step in (10, 20, 30):
        ...             checkpointer.save(step, state, metadata={"epoch": step // 10})
        ...         checkpointer.wait()
        ...         restored = checkpointer.restore(state)
        ...         print(checkpointer.steps(), checkpointer.metadata())
        [20, 30] {'epoch': 3}
        >>> restored["params"]["kernel"]
        Array([0., 1., 2.], dtype=float32)
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep_last: int | None = 3) -> None:
        if keep_last is not None and keep_last < 1:
            raise CheckpointStepError(
                f"Checkpointer: found keep_last={keep_last}, expected at least 1, or None to keep "
                "every step."
            )
        self._store = StepStore(directory, keep_last)
        self._keep_last = keep_last

    @property
    def directory(self) -> Path:
        """The absolute path of the directory that holds the steps."""
        return self._store.directory

    def save(
        self, step: int | jax.Array, state: Any, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Save a state under a step.

        Returns as soon as the state is copied; the files are written in the background.

        Args:
            step: number of the step, greater than every one saved before.
            state: a pytree of arrays, numbers and random keys.
            metadata: JSON values to keep with the step, such as the position in the data.

        Raises:
            CheckpointStepError: the step is negative or not newer than the newest one.
            CheckpointLeafError: a leaf is neither array nor number nor random key.
            CheckpointMetadataError: the metadata cannot be written as JSON.
            CheckpointDirectoryError: the directory holds steps of another library.
            CheckpointSaveError: this save, or the one before it, failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0}, metadata={"note": "warm-up"})
        """
        self.wait()
        step = self._newer(step)
        metadata = _checked_metadata(metadata)
        leaves, _ = _leaves.flatten(state)
        described = {path: _leaves.describe(path, leaf) for path, leaf in leaves.items()}
        self._store.write(
            step,
            manifest=_manifest.to_json(described),
            metadata=metadata,
            arrays={
                path: _leaves.stored(leaf)
                for path, leaf in leaves.items()
                if described[path].has_elements
            },
        )

    def wait(self) -> None:
        """Return when the last save is committed.

        Raises:
            CheckpointSaveError: it failed. The older steps are still there, and the failed one can
                be saved again.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0})
            ...         checkpointer.wait()
            ...         checkpointer.latest_step()
            1
        """
        self._store.wait()

    def steps(self) -> list[int]:
        """Return the committed steps on disk, oldest first.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.steps()
            []
        """
        return self._store.steps()

    def latest_step(self) -> int | None:
        """Return the newest committed step, or None when there is none.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         print(checkpointer.latest_step())
            None
        """
        return max(self.steps(), default=None)

    def restore(self, target: _Tree, step: int | None = None) -> _Tree:
        """Read a step into the form of a target.

        Args:
            target: a state with the paths, shapes and dtypes of the saved one. Each leaf says what
                comes back in its place: a Python number, a numpy array, a random key or a
                `jax.Array`; one with the sharding of the target, where that is an array committed
                to devices or a `jax.ShapeDtypeStruct` with a sharding, and on the default device
                elsewhere.
            step: which step; by default the newest.

        Returns:
            A tree with the target's structure and the values of the step.

        Raises:
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointMismatchError: the target differs from what was saved. The error lists the
                differences by path.
            CheckpointFormatError: the step was not written by this library, or by a newer one.
            CheckpointReadError: files of the step are missing or damaged.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> import jax, jax.numpy as jnp
            >>> from linen_train import Checkpointer
            >>> abstract = jax.eval_shape(lambda: {"kernel": jnp.zeros((2, 2))})
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"kernel": jnp.ones((2, 2))})
            ...         checkpointer.restore(abstract)["kernel"].shape
            (2, 2)
        """
        self.wait()
        step = self._existing(step)
        manifest = self._store.read_json(step, "manifest")
        saved = _manifest.from_json(manifest, str(self._store.place(step)))
        targets, structure = _leaves.flatten(target)
        self._check_fit(step, saved, targets, "Make the target as the saved state was made.")
        arguments = {
            path: _leaves.restore_args(leaf)
            for path, leaf in targets.items()
            if saved[path].has_elements
        }
        values = self._store.read_arrays(step, arguments)
        restored = {
            path: _leaves.rebuild(
                values[path] if path in values else _leaves.empty(saved[path]), leaf, saved[path]
            )
            for path, leaf in targets.items()
        }
        # JAX narrows what it cannot hold, and a target may ask for what JAX cannot hold.
        self._check_fit(step, saved, restored, "Write jax.config.update('jax_enable_x64', True).")
        return jax.tree.unflatten(structure, restored.values())

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """Return what was passed as `metadata` when a step was saved.

        Args:
            step: which step; by default the newest.

        Returns:
            The metadata as JSON gives it back (tuples have become lists); empty when none was given.

        Raises:
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointFormatError: the step was not written by this library.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0}, metadata={"loss": 0.5})
            ...         checkpointer.metadata()
            {'loss': 0.5}
        """
        self.wait()
        step = self._existing(step)
        return self._store.read_json(step, "metadata")

    def close(self) -> None:
        """Wait until the last save is committed, and give the resources back.

        Closing twice is fine.

        Raises:
            CheckpointSaveError: the last save failed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     checkpointer = Checkpointer(directory)
            ...     checkpointer.save(1, {"x": 2.0})
            ...     checkpointer.close()
        """
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpointer({str(self.directory)!r}, keep_last={self._keep_last})"

    def _newer(self, step: int | jax.Array) -> int:
        step = operator.index(step)
        newest = self.latest_step()
        if step < 0 or (newest is not None and step <= newest):
            expected = (
                "0 or more" if newest is None else f"more than {newest}, the newest step there"
            )
            raise CheckpointStepError(
                f"{self.directory}: found step {step}, expected {expected}. To begin again from an "
                "older step, save into another directory."
            )
        return step

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if not steps:
            raise CheckpointNotFoundError(
                f"{self.directory}: found no checkpoint, expected at least one. Check the directory, "
                "or save(step, state) first."
            )
        if step is None:
            return steps[-1]
        if step not in steps:
            raise CheckpointNotFoundError(
                f"{self.directory}: found no step {step}, expected one of {steps}."
            )
        return step

    def _check_fit(
        self, step: int, saved: _manifest.Leaves, leaves: Mapping[str, Any], remedy: str
    ) -> None:
        described = {path: _leaves.describe(path, leaf) for path, leaf in leaves.items()}
        if table := _manifest.difference(saved, described):
            raise CheckpointMismatchError(
                f"{self._store.place(step)} does not fit the target: {table}\n{remedy}"
            )


def _checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    metadata = dict(metadata or {})
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise CheckpointMetadataError(
            f"metadata: found a value that is not JSON ({error}), expected dicts, lists, text, "
            "numbers, booleans and None. Arrays belong into the state; write float(x) for a scalar."
        ) from error
    return metadata
