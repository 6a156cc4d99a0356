"""The checkpointer: steps of a training run in one directory.

To *save* is to take a snapshot of a state and to write it, by default in the background; a step is
*committed* once it is complete on disk under its own name. `wait` returns when everything that was
saved is committed. To *restore* is to read a committed step into the form of a *target*: a state
(or the abstract state that `jax.eval_shape` gives) with the same paths, shapes and dtypes. To
*verify* is to compare files with the checksums that were taken when they were written. What is
guaranteed beyond that, and how the files look, is in the folder's README.

This module checks what it is asked and says what is wrong; the work is done by `_saving`,
`_restoring` and what they use.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import jax

from linen_train.checkpoint import _data_state
from linen_train.checkpoint._directory import StepDirectory
from linen_train.checkpoint._manifest import Manifest
from linen_train.checkpoint._options import (
    check_new,
    check_options,
    checked_metadata,
    checked_metrics,
    checked_number,
)
from linen_train.checkpoint._reader import StepReader
from linen_train.checkpoint._retention import Retention
from linen_train.checkpoint._saving import Saver, Snapshot
from linen_train.checkpoint._schedule import Schedule
from linen_train.checkpoint._selection import Selection
from linen_train.errors import (
    CheckpointClosedError,
    CheckpointDataStateError,
    CheckpointError,
    CheckpointMetricError,
    CheckpointNotFoundError,
)

__all__ = ["Checkpointer"]

_Tree = TypeVar("_Tree")


class Checkpointer:
    """Saves and restores the steps of a training run in one directory.

    Use it as a context manager, or call `close` at the end: both wait until the last step is
    committed. Where several processes train together, each makes a checkpointer of the same
    directory, and all call `save`, `wait`, `restore` and `close` together. Within a process, one
    thread calls them.

    Args:
        directory: where the steps are; made if it does not exist. A relative path is resolved
            against the current directory now.
        keep_last: how many of the newest steps to keep; None keeps all.
        keep_best: how many of the best steps to keep beside those.
        best_metric: the name of the metric that tells which steps are best.
        best_mode: whether the lowest ("min") or the highest ("max") value is best. NaN is worst.
        every_steps: `should_save` says yes at multiples of this.
        every_seconds: `should_save` says yes when this many seconds have passed since the last save.
        asynchronous: whether `save` writes in the background.
        compression: whether arrays are compressed (zstd). Parameters hardly get smaller, and saving
            takes several times as long.
        peer_timeout: for how many seconds the processes wait for each other's files.

    Raises:
        CheckpointDirectoryError: the directory cannot be made, or is not a local directory.
        CheckpointOptionError: an option makes no sense, by itself or beside another.

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

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_last: int | None = 3,
        keep_best: int | None = None,
        best_metric: str | None = None,
        best_mode: Literal["min", "max"] = "min",
        every_steps: int | None = None,
        every_seconds: float | None = None,
        asynchronous: bool = True,
        compression: bool = False,
        peer_timeout: float = 600.0,
    ) -> None:
        self._retention = Retention(keep_last, keep_best, best_metric, best_mode)
        flags = {"asynchronous": asynchronous, "compression": compression}
        check_options(self._retention, every_steps, every_seconds, peer_timeout, flags)
        self._schedule = Schedule(every_steps, every_seconds)
        self._asynchronous = asynchronous
        self._directory = StepDirectory(directory)
        self._reader = StepReader(self._directory)
        self._saver = Saver(
            self._directory, self._retention, compressed=compression, peer_timeout=peer_timeout
        )
        self._last_saved: int | None = None
        self._is_closed = False

    @property
    def directory(self) -> Path:
        """The absolute path of the directory that holds the steps."""
        return self._directory.path

    @property
    def best_metric(self) -> str | None:
        """The name of the metric that tells which steps are best; None where none does."""
        return self._retention.metric

    def should_save(self, step: int | jax.Array) -> bool:
        """Whether a step is due, by `every_steps` or by `every_seconds`; every one without these.

        A step that is there already is never due. With `every_seconds` and several processes, the
        first one decides for all, so all have to ask.

        Args:
            step: number of the step.

        Returns:
            Whether to save it.

        Raises:
            CheckpointStepError: the step is no whole number.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory, every_steps=10) as checkpointer:
            ...         [step for step in range(1, 31) if checkpointer.should_save(step)]
            [10, 20, 30]
        """
        self._check_open()
        step = checked_number(self.directory, step)
        return self._schedule.is_due(step) and self._is_new(step)

    def save(
        self,
        step: int | jax.Array,
        state: Any,
        *,
        data: Any = None,
        metadata: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a state under a step.

        Returns as soon as nothing that happens to the state can change what is saved; the files are
        written in the background. With `asynchronous=False` the step is committed on return.

        Args:
            step: number of the step, greater than every one saved before.
            state: a pytree of arrays, numbers and random keys. A leaf that every process has for
                itself is taken from the first process.
            data: the iterator over the data, which is asked for its `get_state()`, or its state:
                JSON values, bytes, tuples, NumPy arrays. Each process saves its own.
            metadata: JSON values to keep with the step, such as the settings of the run.
            metrics: numbers by name, such as the loss on the validation data; scalars of JAX are
                turned into numbers.

        Raises:
            CheckpointStepError: the step is negative, not newer than the newest one, or no number.
            CheckpointLeafError: a leaf is neither array nor number nor random key, or has no values.
            CheckpointMetadataError: the metadata cannot be written as JSON.
            CheckpointMetricError: a metric is no number, or `best_metric` is not among the metrics.
            CheckpointDataStateError: the state of the data cannot be written.
            CheckpointBusyError: another checkpointer is saving into the directory.
            CheckpointDirectoryError: the directory cannot be written.
            CheckpointSaveError: this save, or the one before it, failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0}, data={"position": 7}, metrics={"loss": 0.5})
            ...         print(checkpointer.data_state(), checkpointer.metrics())
            {'position': 7} {'loss': 0.5}
        """
        self.wait()
        step = checked_number(self.directory, step)
        check_new(self._directory.place(step), self.latest_step(), self._reader.damaged)
        snapshot = Snapshot.take(
            step,
            state,
            copy=self._asynchronous,
            metadata=checked_metadata(metadata),
            metrics=checked_metrics(metrics, self._retention.metric),
            data=_data_state.encode(_data_state.state_of(data)),
        )
        self._saver.open()
        self._saver.set_aside(self._reader.damaged)
        self._saver.start(snapshot, asynchronous=self._asynchronous)
        self._schedule.saved()
        self._last_saved = step

    def wait(self) -> None:
        """Return when the last save is committed.

        Raises:
            CheckpointSaveError: it failed. The older steps are still there, and the failed one can
                be saved again.
            CheckpointDirectoryError: it is committed, but older steps could not be deleted.
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
        self._check_open()
        try:
            self._saver.wait()
        except CheckpointError:
            self._last_saved = None
            raise

    def steps(self) -> list[int]:
        """Return the committed steps on disk, oldest first.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory, Checkpointer(directory) as checkpointer:
            ...     checkpointer.steps()
            []
        """
        return self._directory.steps()

    def latest_step(self) -> int | None:
        """Return the newest committed step, or None when there is none.

        Steps that `restore(fallback=True)` found damaged do not count.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory, Checkpointer(directory) as checkpointer:
            ...     print(checkpointer.latest_step())
            None
        """
        return max(self._reader.usable(), default=None)

    def best_step(self) -> int | None:
        """Return the committed step with the best metric, or None when no step has it.

        Of equal ones it is the newest. NaN is worse than every number.

        Raises:
            CheckpointMetricError: the checkpointer was made without `best_metric`.
            CheckpointReadError: a step is damaged.
            CheckpointFormatError: a newer release wrote a step.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory, best_metric="loss") as checkpointer:
            ...         for step, loss in enumerate([0.9, 0.4, 0.6]):
            ...             checkpointer.save(step, {"x": 2.0}, metrics={"loss": loss})
            ...         checkpointer.best_step()
            1
        """
        if self._retention.metric is None:
            raise CheckpointMetricError(
                f"{self.directory}: found no best_metric, expected the name of the metric that tells "
                "the best step. Write Checkpointer(directory, best_metric='loss')."
            )
        self.wait()
        own = [step for step in self._reader.usable() if self._directory.is_own(step)]
        metrics: dict[int, dict[str, float]] = {}
        for step in own:
            with contextlib.suppress(CheckpointNotFoundError):  # a writer has deleted it meanwhile
                metrics[step] = self._reader.manifest(step).metrics
        return next(iter(self._retention.ranked(metrics)), None)

    @overload
    def restore(
        self,
        target: None = None,
        step: int | None = None,
        *,
        fallback: bool = False,
        verify: bool = True,
        paths: Iterable[str] | Callable[[str], bool] | None = None,
        rename: Mapping[str, str] | None = None,
        dtypes: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> Any: ...

    @overload
    def restore(
        self,
        target: _Tree,
        step: int | None = None,
        *,
        fallback: bool = False,
        verify: bool = True,
        paths: Iterable[str] | Callable[[str], bool] | None = None,
        rename: Mapping[str, str] | None = None,
        dtypes: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> _Tree: ...

    def restore(
        self,
        target: Any = None,
        step: int | None = None,
        *,
        fallback: bool = False,
        verify: bool = True,
        paths: Iterable[str] | Callable[[str], bool] | None = None,
        rename: Mapping[str, str] | None = None,
        dtypes: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> Any:
        """Read a step into the form of a target.

        A *path* names a leaf: `params/Dense_0/kernel`. A *prefix* is the beginning of a path, up to
        a slash; the empty one is that of all.

        Args:
            target: a state with the paths, shapes and dtypes of the saved one. Each leaf says what
                comes back in its place: a Python number, a numpy array, a random key or a
                `jax.Array`; one with the sharding of the target, where that is an array committed
                to devices or a `jax.ShapeDtypeStruct` with a sharding, and on the default device
                elsewhere. Without a target the step comes back as nested dicts of numpy arrays and
                random keys, where lists and tuples are dicts with the keys "0", "1", ...; named
                tuples and dataclasses are dicts of their fields; empty containers are left out.
            step: which step; by default the newest.
            fallback: whether to go back, from a step that is damaged, to the newest older one that
                is not. A `CheckpointWarning` names what is passed over. The next `save` renames it
                to `<step>.damaged-...`.
            verify: whether to check the checksums of everything that is read.
            paths: prefixes of paths in the target, or a function that tells whether a path is
                wanted. Other leaves stay as they are in the target, or are left out without one.
            rename: for prefixes in the target, those under which the same leaves were saved.
            dtypes: for prefixes in the target, the dtype to which numbers of the same kind (floating,
                integer, complex) are cast, whatever the target has there. Keys are never cast.
            strict: whether leaves that are missing in the step or in the target are errors. When
                they are not, the former stay as they are in the target. Shapes and dtypes that
                differ always are.

        Returns:
            A tree with the target's structure and the values of the step.

        Raises:
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointMismatchError: the target differs from what was saved. The error lists the
                differences by path.
            CheckpointPathError: a prefix is the beginning of no path, a cast would change the kind
                of a number, or `paths`, `rename` or `dtypes` are no such collections.
            CheckpointFormatError: the step was written by a newer release.
            CheckpointReadError: files of the step are missing or damaged; with `fallback`, those of
                every step.
            CheckpointLeafError: a leaf of the target is neither array nor number nor random key.
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
            ...         half = checkpointer.restore(dtypes={"": jnp.float16})
            ...         half["kernel"].dtype
            (2, 2)
            dtype('float16')
        """
        self.wait()
        selection = Selection.checked(paths, rename, dtypes, strict)
        read = self._reader.read_newest_intact if fallback else self._reader.read
        return read(step, target, selection, verify=verify)

    def data_state(self, step: int | None = None) -> Any:
        """Return the state of the data iterator that was saved with a step.

        Args:
            step: which step; by default the newest.

        Returns:
            What `set_state` of the iterator takes, as this process saved it; None when nothing was
            saved. Where another number of processes saved, and each had the same state, that one.

        Raises:
            CheckpointDataStateError: another number of processes saved, each a state of its own.
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointFormatError: the step was not written by this library.
            CheckpointReadError: the manifest is missing or damaged.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> import numpy as np
            >>> from linen_train import Checkpointer
            >>> from linen_train.data import ArrayLoader
            >>> loader = ArrayLoader(np.arange(6), batch_size=2, epochs=1)
            >>> batches = iter(loader)
            >>> _ = next(batches)
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0}, data=batches)
            ...         resumed = iter(loader)
            ...         resumed.set_state(checkpointer.data_state())
            >>> next(resumed)
            array([2, 3])
        """
        states = self._manifest(step).data
        if len(states) == jax.process_count():
            return _data_state.decode(states[jax.process_index()])
        if any(state != states[0] for state in states):
            raise CheckpointDataStateError(
                f"{self.directory}: found states of the data of {len(states)} processes, expected "
                f"those of {jax.process_count()}, or the same for all. Restore on as many processes, "
                "or begin the data anew."
            )
        return _data_state.decode(states[0])

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """Return what was passed as `metadata` when a step was saved.

        Args:
            step: which step; by default the newest.

        Returns:
            The metadata as JSON gives it back (tuples have become lists); empty when none was given.

        Raises:
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointFormatError: the step was not written by this library.
            CheckpointReadError: the manifest is missing or damaged.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory, Checkpointer(directory) as checkpointer:
            ...     checkpointer.save(1, {"x": 2.0}, metadata={"seed": 5})
            ...     checkpointer.metadata()
            {'seed': 5}
        """
        return self._manifest(step).metadata

    def metrics(self, step: int | None = None) -> dict[str, float]:
        """Return what was passed as `metrics` when a step was saved.

        Args:
            step: which step; by default the newest.

        Returns:
            Numbers by name; empty when none were given.

        Raises:
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointFormatError: the step was not written by this library.
            CheckpointReadError: the manifest is missing or damaged.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory, Checkpointer(directory) as checkpointer:
            ...     checkpointer.save(1, {"x": 2.0}, metrics={"loss": 0.5})
            ...     checkpointer.metrics()
            {'loss': 0.5}
        """
        return self._manifest(step).metrics

    def verify(self, step: int | None = None) -> None:
        """Read every file of a step and compare it with its checksum.

        Args:
            step: which step; by default the newest.

        Raises:
            CheckpointReadError: files are missing, damaged, or do not belong there. The error lists
                them with the leaves that they hold.
            CheckpointNotFoundError: there is no such step, or no step at all.
            CheckpointFormatError: the step was not written by this library, and has no checksums.
            CheckpointSaveError: the save that was still running failed.
            CheckpointClosedError: the checkpointer is closed.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from linen_train import Checkpointer
            >>> from linen_train.errors import CheckpointReadError
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     with Checkpointer(directory) as checkpointer:
            ...         checkpointer.save(1, {"x": 2.0})
            ...         checkpointer.verify()
            ...         (checkpointer.directory / "1" / "arrays-0.safetensors").unlink()
            ...         try:
            ...             checkpointer.verify()
            ...         except CheckpointReadError as error:
            ...             print(str(error).splitlines()[1])
              arrays-0.safetensors is missing: x
        """
        self.wait()
        self._reader.verify(step)

    def close(self) -> None:
        """Wait until the last save is committed, and let others save into the directory.

        Closing twice is fine.

        Raises:
            CheckpointSaveError: the last save failed.
            CheckpointDirectoryError: it is committed, but older steps could not be deleted.

        Example:
            >>> import tempfile
            >>> from linen_train import Checkpointer
            >>> with tempfile.TemporaryDirectory() as directory:
            ...     checkpointer = Checkpointer(directory)
            ...     checkpointer.save(1, {"x": 2.0})
            ...     checkpointer.close()
        """
        self._is_closed = True
        self._saver.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except CheckpointError as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # what ended the block says more, and may be an exit

    def __repr__(self) -> str:
        return f"Checkpointer({str(self.directory)!r}, keep_last={self._retention.keep_last})"

    def _check_open(self) -> None:
        if self._is_closed:
            raise CheckpointClosedError(
                f"{self.directory}: the checkpointer is closed. Use it inside its `with` block, or "
                f"open it again: Checkpointer({str(self.directory)!r})."
            )

    def _manifest(self, step: int | None) -> Manifest:
        self.wait()
        return self._reader.manifest(step)

    def _is_new(self, step: int) -> bool:
        if self._last_saved is None:
            self._last_saved = self.latest_step()  # which lists the directory
        return self._last_saved is None or step > self._last_saved
