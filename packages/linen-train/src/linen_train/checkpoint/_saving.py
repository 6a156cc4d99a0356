"""Saving: a snapshot of a state, and the one save that may be in progress."""

import contextlib
import dataclasses
import threading
import uuid
import warnings
import weakref
from collections import deque
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from linen_train.checkpoint import _handover, _paths
from linen_train.checkpoint._directory import StepDirectory, Workspace, workspace_path
from linen_train.checkpoint._leaves import (
    LeafDescription,
    check_present,
    describe,
    pieces_of,
    start_copies,
)
from linen_train.checkpoint._manifest import MANIFEST, DamagedManifestError, Manifest
from linen_train.checkpoint._records import ArraysFile
from linen_train.checkpoint._retention import Retention
from linen_train.checkpoint._workers import Workers
from linen_train.checkpoint._writing import Source, write_arrays, write_file
from linen_train.errors import (
    CheckpointDirectoryError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointSaveError,
    CheckpointWarning,
)

__all__ = ["Saver", "Snapshot"]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything that is saved as one step.

    Attributes:
        step: its number.
        leaves: description of every leaf, by path.
        sources: the pieces of leaves that this process writes.
        metadata: JSON values.
        metrics: numbers by name.
        data: state of the data iterator of this process, encoded.
    """

    step: int
    leaves: dict[str, LeafDescription]
    sources: deque[Source]
    metadata: dict[str, Any]
    metrics: dict[str, float]
    data: Any

    @classmethod
    def take(cls, step: int, state: Any, *, copy: bool, **fields: Any) -> "Snapshot":
        """Return a snapshot of a state that later changes do not reach.

        Args:
            step: number of the step.
            state: the tree.
            copy: whether arrays of NumPy have to be copied.
            **fields: what is saved beside the state.

        Raises:
            CheckpointLeafError: a leaf is neither array nor number nor random key, or has no values.
        """
        leaves, _ = _paths.flatten(state)
        described = {path: describe(path, leaf) for path, leaf in leaves.items()}
        for path, leaf in leaves.items():
            check_present(path, leaf)
        start_copies(list(leaves.values()))
        process = jax.process_index()
        sources = deque(
            Source(path, described[path].stored_shape, region, array)
            for path, leaf in leaves.items()
            for region, array in pieces_of(leaf, process=process, copy=copy)
        )
        return cls(step, described, sources, **fields)


class Saver:
    """Writes snapshots into a directory, one at a time.

    Args:
        directory: where the steps are.
        retention: which of them are kept.
        compressed: whether arrays are compressed.
        peer_timeout: for how many seconds processes wait for each other.
    """

    def __init__(
        self,
        directory: StepDirectory,
        retention: Retention,
        *,
        compressed: bool,
        peer_timeout: float,
    ) -> None:
        self._directory = directory
        self._retention = retention
        self._compressed = compressed
        self._peer_timeout = peer_timeout
        self._process, self._processes = 0, 1
        self._name: str | None = None
        self._workspace: Workspace | None = None
        self._attempts = 0
        self._metrics: dict[int, dict[str, float]] = {}
        self._thread: threading.Thread | None = None
        self._finished = threading.Event()
        self._finished.set()
        self._errors: list[CheckpointError] = []
        weakref.finalize(self, _tell, self._errors)

    def open(self) -> None:
        """Become the writer of the directory, all processes together.

        Raises:
            CheckpointBusyError: there is another writer.
            CheckpointDirectoryError: the directory cannot be written.
        """
        if self._name is not None:
            return
        self._process, self._processes = jax.process_index(), jax.process_count()
        name = uuid.uuid4().hex
        error = None
        if self._process == 0:
            try:
                self._workspace = Workspace(self._directory, name)
            except CheckpointError as caught:
                name, error = "", caught
        if self._processes > 1:
            name = _of_first_process(name)
        if error is not None:
            raise error
        if not name:
            raise CheckpointDirectoryError(
                f"{self._directory.path}: process 0 cannot write into this directory; its error says "
                "why."
            )
        self._name = name

    def set_aside(self, steps: dict[int, str]) -> None:
        """Rename damaged steps, so that steps of their numbers can be saved again; forget them.

        Raises:
            CheckpointSaveError: they cannot be renamed.
        """
        for step in sorted(steps) if self._workspace else []:
            try:
                assert self._workspace is not None
                self._workspace.set_aside(step)
            except OSError as error:
                raise self._failure(step, error) from error
            self._metrics.pop(step, None)
        steps.clear()

    def start(self, snapshot: Snapshot, *, asynchronous: bool) -> None:
        """Write a snapshot, in the background or at once.

        Raises:
            CheckpointSaveError: it could not be written at once.
        """
        self._attempts += 1
        workers = Workers()
        if asynchronous:
            self._start_thread(snapshot, workers)
        else:
            self._run(snapshot, workers)
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written.

        Raises:
            CheckpointSaveError: the last step could not be written.
            CheckpointDirectoryError: it is written, but older steps could not be deleted.
        """
        # A thread whose join() Ctrl-C interrupts counts as ended in Python before 3.13: hence the event.
        self._finished.wait()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._errors:
            raise self._errors.pop()

    def close(self) -> None:
        """Wait, and let others write.

        Raises:
            CheckpointSaveError: the last step could not be written.
            CheckpointDirectoryError: it is written, but older steps could not be deleted.
        """
        try:
            self.wait()
        finally:
            # Where Ctrl-C came while this waited, the thread goes on, and the exit removes the folder.
            if self._workspace is not None and self._finished.is_set():
                self._workspace.close()

    def _start_thread(self, snapshot: Snapshot, workers: Workers) -> None:
        def run() -> None:
            try:
                self._run(snapshot, workers)
            finally:
                self._finished.set()

        self._thread = threading.Thread(target=run, name="linen-train-checkpointer")
        self._finished.clear()
        try:
            self._thread.start()
        except BaseException:
            if self._thread not in threading.enumerate():
                self._thread = None
                self._finished.set()
            raise

    def _run(self, snapshot: Snapshot, workers: Workers) -> None:
        with workers:
            try:
                if self._process == 0:
                    self._write_and_commit(snapshot, workers)
                else:
                    self._write_part(snapshot, workers)
            except CheckpointError as error:
                self._errors.append(error)
            except Exception as error:
                failure = self._failure(snapshot.step, error)
                failure.__cause__ = error
                self._errors.append(failure)

    def _write_and_commit(self, snapshot: Snapshot, workers: Workers) -> None:
        workspace = self._workspace
        assert workspace is not None
        folder = workspace.begin(self._folder_name(snapshot.step))
        try:
            arrays = write_arrays(folder, 0, snapshot.sources, self._compressed, workers)
            parts = _handover.collect(folder, self._processes, self._peer_timeout)
            others = [ArraysFile.from_json(part["name"], part["arrays"]) for part in parts]
            manifest = Manifest(
                snapshot.step,
                snapshot.leaves,
                [arrays, *others],
                snapshot.metadata,
                snapshot.metrics,
                [snapshot.data, *(part["data"] for part in parts)],
            )
            write_file(folder / MANIFEST, manifest.to_bytes())
            workspace.commit(folder, snapshot.step)
        except BaseException:
            workspace.give_up(folder)
            raise
        self._metrics[snapshot.step] = snapshot.metrics
        self._delete_superfluous(workspace, snapshot.step)

    def _write_part(self, snapshot: Snapshot, workers: Workers) -> None:
        assert self._name is not None
        folder = workspace_path(self._directory, self._name) / self._folder_name(snapshot.step)
        _handover.await_folder(folder, self._peer_timeout)
        try:
            file = write_arrays(folder, self._process, snapshot.sources, self._compressed, workers)
            part = {"name": file.name, "arrays": file.to_json(), "data": snapshot.data}
        except Exception as error:
            if not folder.exists():
                raise _handover.PeerError("process 0 failed; its error says why") from error
            for file in folder.glob(f"arrays-{self._process}.*"):
                file.unlink()  # a full disk has room for the message then
            _handover.deliver(folder, self._process, {"error": _reason(error)})
            raise
        _handover.deliver(folder, self._process, part)
        place = self._directory.place(snapshot.step)
        _handover.await_commit(folder, place, self._peer_timeout)

    def _delete_superfluous(self, workspace: Workspace, step: int) -> None:
        steps = [s for s in self._directory.steps() if self._directory.is_own(s)]
        for known in steps:
            if known not in self._metrics:
                self._metrics[known] = _metrics_of(self._directory, known)
        metrics = {s: self._metrics[s] for s in steps}
        for old in self._retention.superfluous(steps, metrics):
            try:
                workspace.remove(old)
            except OSError as error:
                raise CheckpointDirectoryError(
                    f"{self._directory.path}: step {step} is committed, but step {old}, which is not "
                    f"to be kept, could not be deleted: {_reason(error)}"
                ) from error

    def _folder_name(self, step: int) -> str:
        return f"save-{self._attempts}-{step}"

    def _failure(self, step: int, error: Exception) -> CheckpointSaveError:
        return CheckpointSaveError(
            f"{self._directory.path}: step {step} could not be saved: {_reason(error)} "
            f"{self._committed()}Once the cause is gone, save it again."
        )

    def _committed(self) -> str:
        with contextlib.suppress(CheckpointDirectoryError):
            return f"Committed steps: {self._directory.steps()}. "
        return ""


def _of_first_process(name: str) -> str:
    """Return what the first process calls a thing."""
    text = np.frombuffer(name.ljust(32).encode(), np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(text))).decode().strip()


def _metrics_of(directory: StepDirectory, step: int) -> dict[str, float]:
    try:
        return Manifest.read(directory.place(step)).metrics
    except (DamagedManifestError, CheckpointFormatError):
        return {}


def _tell(errors: list[CheckpointError]) -> None:
    """Warn of a failure that no call was left to raise."""
    for error in errors:
        warnings.warn(
            f"A checkpoint is lost, and nobody waited for it: {error}",
            CheckpointWarning,
            stacklevel=2,
        )


def _reason(error: Exception) -> str:
    """Return the first line of an error as a sentence."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    else:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if text.endswith(".") else f"{text}."
