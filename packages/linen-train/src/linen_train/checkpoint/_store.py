"""The step store: numbered steps in a directory, written and read by Orbax.

This is the only module that drives Orbax. A step consists of two JSON items, `manifest` and
`metadata`, and the item `state`: arrays by path, as nested dicts. The store knows neither train
states nor targets.

The directory is the truth: which steps there are is read from it each time, because Orbax's own
list loses committed steps after a failed save and already counts the one that is being written.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from linen_train.errors import (
    CheckpointClosedError,
    CheckpointDirectoryError,
    CheckpointFormatError,
    CheckpointReadError,
    CheckpointSaveError,
)

__all__ = ["StepStore"]


class StepStore:
    """Steps in one directory, the newest `keep_last` of them.

    Raises:
        CheckpointDirectoryError: the directory cannot be made, or is not a local one.
    """

    def __init__(self, directory: str | os.PathLike[str], keep_last: int | None) -> None:
        self.directory = _make_directory(directory)
        self._keep_last = keep_last
        self._writing: int | None = None
        self._manager: ocp.CheckpointManager | None = self._open()

    def steps(self) -> list[int]:
        """Return the committed steps, oldest first."""
        return sorted(ocp.utils.checkpoint_steps(self.directory))

    def place(self, step: int) -> Path:
        """Return the directory of a step."""
        return self.directory / str(step)

    def write(
        self,
        step: int,
        *,
        manifest: dict[str, Any],
        metadata: dict[str, Any],
        arrays: Mapping[str, Any],
    ) -> None:
        """Copy the arrays and begin to write a step.

        Raises:
            CheckpointSaveError: it failed already.
            CheckpointDirectoryError: the directory holds steps of another library.
            CheckpointClosedError: the store is closed.
        """
        self._check_own()
        items: dict[str, ocp.args.CheckpointArgs] = {
            "manifest": ocp.args.JsonSave(manifest),
            "metadata": ocp.args.JsonSave(metadata),
        }
        if arrays:  # Orbax refuses to write an empty tree
            items["state"] = ocp.args.PyTreeSave(_nest(arrays))
        manager = self._opened()
        self._writing = step
        self._report(lambda: manager.save(step, args=ocp.args.Composite(**items)))

    def wait(self) -> None:
        """Return when the step that is being written is committed.

        Raises:
            CheckpointSaveError: it failed.
            CheckpointClosedError: the store is closed.
        """
        self._report(self._opened().wait_until_finished)
        self._writing = None

    def read_json(self, step: int, item: str) -> dict[str, Any]:
        """Return one of the JSON items of a step.

        Raises:
            CheckpointFormatError: the step has no such item.
            CheckpointReadError: it is damaged.
        """
        if not (self.place(step) / item).is_dir():
            raise CheckpointFormatError(
                f"{self.place(step)}: found no {item}, so linen-train did not write this step. Read "
                "it with the library that wrote it."
            )
        return self._read(step, item, ocp.args.JsonRestore())

    def read_arrays(self, step: int, arguments: Mapping[str, ocp.RestoreArgs]) -> dict[str, Any]:
        """Return arrays of a step by path, each read as its argument says.

        Raises:
            CheckpointReadError: files are missing or damaged.
        """
        if not arguments:
            return {}
        request = ocp.args.PyTreeRestore(
            item=_nest(dict.fromkeys(arguments, 0)), restore_args=_nest(arguments)
        )
        tree = self._read(step, "state", request)
        return {path: _at(tree, path) for path in arguments}

    def close(self) -> None:
        """Wait, and give the resources back.

        Raises:
            CheckpointSaveError: the last save failed.
        """
        if self._manager is None:
            return
        try:
            self.wait()
        finally:
            self._manager.close()
            self._manager = None

    def _check_own(self) -> None:
        """Refuse to write beside steps of another library: Orbax would delete the oldest of them."""
        foreign = [step for step in self.steps() if not (self.place(step) / "manifest").is_dir()]
        if foreign:
            raise CheckpointDirectoryError(
                f"{self.directory}: found steps {foreign}, which linen-train did not write, and which "
                "keeping the newest steps could delete. Save into another directory."
            )

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=self._keep_last),
            item_handlers={
                "manifest": ocp.JsonCheckpointHandler(),
                "metadata": ocp.JsonCheckpointHandler(),
                # Parameters hardly compress, and trying costs several times the time and memory.
                "state": ocp.PyTreeCheckpointHandler(use_compression=False),
            },
        )

    def _opened(self) -> ocp.CheckpointManager:
        if self._manager is None:
            raise CheckpointClosedError(
                f"{self.directory}: the checkpointer is closed. Use it inside its `with` block, or "
                f"open it again: Checkpointer({str(self.directory)!r})."
            )
        return self._manager

    def _report(self, action: Callable[[], Any]) -> None:
        """Run a part of a save; where it fails, start afresh from what is on disk."""
        try:
            action()
        except Exception as error:
            step, self._writing = self._writing, None
            self._manager = self._open()
            raise CheckpointSaveError(
                f"{self.directory}: step {step} could not be saved: {_reason(error)} "
                f"Committed steps: {self.steps()}. Once the cause is gone, save it again."
            ) from error

    def _read(self, step: int, item: str, request: ocp.args.CheckpointArgs) -> Any:
        manager = self._opened()
        try:
            return manager.restore(step, args=ocp.args.Composite(**{item: request}))[item]
        except Exception as error:
            raise CheckpointReadError(
                f"{self.place(step) / item}: files are missing or damaged: {_reason(error)} "
                f"Restore another of the steps {self.steps()}."
            ) from error


def _make_directory(directory: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(directory):
        raise CheckpointDirectoryError(
            f"{directory}: found a URL, expected the path of a local directory."
        )
    path = Path(directory).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointDirectoryError(
            f"{path}: cannot make this directory for checkpoints: {error.strerror}."
        ) from error
    return path


def _nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts with the leaves at their paths."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def _at(tree: Any, path: str) -> Any:
    for part in path.split("/"):
        tree = tree[part]
    return tree


def _reason(error: Exception) -> str:
    """Return the first line of an error as a sentence."""
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text if text.endswith(".") else f"{text}."
