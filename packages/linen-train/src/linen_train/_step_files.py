"""Checkpoints that are one file or one directory each, named by a prefix and a step.

A *step file* appears under its name when it is complete and on the disk, and not before: it is
written under a hidden name, synced and renamed. What begins with the prefix and does not end in a
number is none of ours, and is left alone.
"""

import contextlib
import os
import re
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from linen_train.checkpoint._owner import lock
from linen_train.checkpoint._writing import sync
from linen_train.errors import CheckpointDirectoryError, CheckpointReadError, CheckpointSaveError

__all__ = ["Number", "StepFile", "delete", "read", "retain", "step_files", "write"]

Number = int | float

_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_HIDDEN = re.compile(r"\.linen-(?:new|old)-[0-9a-f]{32}")
_PIECE_BYTES = 2**25


class StepFile(NamedTuple):
    """One checkpoint: its step and where it is."""

    step: Number
    path: Path


def step_files(directory: str, prefix: str) -> list[StepFile]:
    """Return the checkpoints of a directory with a prefix, lowest step first.

    The prefix may go into a directory below, as "eval/best_" does.
    """
    example = Path(directory, f"{prefix}0")
    folder, name = example.parent, example.name[:-1]
    try:
        names = [entry.name for entry in folder.iterdir() if entry.name.startswith(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointReadError(f"{folder}: cannot be listed: {error.strerror}.") from error
    steps = {entry: entry[len(name) :] for entry in names}
    return sorted(
        StepFile(to_number(step), Path(folder, entry))
        for entry, step in steps.items()
        if _NUMBER.fullmatch(step)
    )


def to_number(text: str) -> Number:
    """Return the step that a name ends in, exactly."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def read(path: Path, parallel: bool) -> bytes | bytearray:
    """Read a file; in several pieces at once where it is large and that is wanted.

    Raises:
        CheckpointReadError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not parallel or size <= _PIECE_BYTES:
                return file.read()
            content = bytearray(size)
            view = memoryview(content)

            def fill(start: int) -> None:
                with path.open("rb") as piece:
                    piece.seek(start)
                    piece.readinto(view[start : start + _PIECE_BYTES])

            with ThreadPoolExecutor() as threads:
                list(threads.map(fill, range(0, size, _PIECE_BYTES)))
            return content
    except OSError as error:
        raise CheckpointReadError(f"{path}: cannot be read: {error.strerror or error}.") from error


def write(path: Path, content: bytes) -> None:
    """Let a file have this content, all of it or none.

    Raises:
        CheckpointDirectoryError: its directory cannot be made.
        CheckpointSaveError: it cannot be written. What was there before is still there.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointDirectoryError(
            f"{folder}: cannot make this directory for checkpoints: {error.strerror}."
        ) from error
    new = folder / f".linen-new-{uuid.uuid4().hex}"
    try:
        _clean(folder)
        with _locked(new) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
            _put_in_place(new, path)
        sync(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise CheckpointSaveError(
            f"{path}: cannot be written: {error.strerror or error}. The checkpoints before it are still "
            "there. Make room, or save into another directory."
        ) from error


def delete(path: Path) -> None:
    """Delete a checkpoint that another one makes superfluous, a directory in one go.

    Raises:
        CheckpointSaveError: it cannot be deleted.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            old = path.with_name(f".linen-old-{uuid.uuid4().hex}")
            path.rename(old)
            shutil.rmtree(old)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointSaveError(
            f"{path}: cannot be deleted: {error.strerror or error}. The new checkpoint is saved; "
            "delete this one yourself."
        ) from error


def retain(files: list[StepFile], keep: int, keep_every: float | None) -> None:
    """Delete all but the last `keep`, and of the others those in between of `keep_every` steps.

    Raises:
        CheckpointSaveError: one cannot be deleted.
    """
    kept = float("-inf")
    for step, path in files[:-keep]:
        if keep_every is not None and step - kept >= keep_every:
            kept = step
        else:
            delete(path)


def _locked(path: Path) -> FileIO:
    """Make a file, and tell others by a lock that it has an owner."""
    while True:
        file = FileIO(path, "xb")
        lock(file.fileno())
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # somebody has cleaned up between the two lines


def _put_in_place(new: Path, path: Path) -> None:
    old = path.with_name(f".linen-old-{uuid.uuid4().hex}")
    if is_directory := path.is_dir() and not path.is_symlink():
        path.rename(old)
    new.replace(path)
    if is_directory:
        shutil.rmtree(old)


def _clean(folder: Path) -> None:
    """Remove what writers left under hidden names who do not run any more."""
    for entry in folder.iterdir():
        if _HIDDEN.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                if entry.is_dir():
                    shutil.rmtree(entry)
                    continue
                with entry.open("rb") as file:
                    if lock(file):
                        entry.unlink()
