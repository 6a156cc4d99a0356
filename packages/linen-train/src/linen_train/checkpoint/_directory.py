"""The directory of a run: numbered steps, and a private folder for the one process that writes.

A *step* is a directory whose name is a number and that holds files of this library, or of Orbax. The
directory is the truth: which steps there are is read from it each time. Steps appear and disappear
by renaming alone, from and to the *workspace*: a hidden folder with a unique name that belongs to
one writer. So whatever is half written or half deleted lies there.
"""

import contextlib
import json
import os
import shutil
import uuid
import weakref
from pathlib import Path

from linen_train.checkpoint._manifest import MANIFEST
from linen_train.checkpoint._orbax import is_orbax
from linen_train.checkpoint._owner import describe_owner, is_gone, lock, this_process
from linen_train.checkpoint._writing import sync, write_file
from linen_train.errors import CheckpointBusyError, CheckpointDirectoryError

__all__ = ["StepDirectory", "Workspace"]

_WORKSPACE = ".linen-train-"
_NOTE = "owner.json"


class StepDirectory:
    """The steps in one directory.

    Raises:
        CheckpointDirectoryError: the directory cannot be made, or is not a local one.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if not isinstance(directory, str | os.PathLike) or not str(directory):
            raise CheckpointDirectoryError(
                f"Checkpointer: found {directory!r} for the directory, expected a path. Write "
                "Checkpointer('runs/first')."
            )
        if "://" in os.fspath(directory):
            raise CheckpointDirectoryError(
                f"{directory}: found a URL, expected the path of a local directory."
            )
        self.path = Path(directory).expanduser().resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointDirectoryError(
                f"{self.path}: cannot make this directory for checkpoints: {error.strerror}."
            ) from error

    def steps(self) -> list[int]:
        """Return the numbers of all steps, lowest first.

        Raises:
            CheckpointDirectoryError: a folder cannot be looked into, so nobody knows.
        """
        numbers = sorted(int(name) for name in _names(self.path) if _is_number(name))
        return [n for n in numbers if self.is_own(n) or self._is_of_orbax(n)]

    def place(self, step: int) -> Path:
        """Return the directory of a step."""
        return self.path / str(step)

    def is_own(self, step: int) -> bool:
        """Whether a step is of this library, complete or not.

        Raises:
            CheckpointDirectoryError: its folder cannot be looked into.
        """
        names = _names(self.place(step))
        return any(name == MANIFEST or name.startswith("arrays-") for name in names)

    def _is_of_orbax(self, step: int) -> bool:
        try:
            return is_orbax(self.place(step))
        except OSError as error:
            raise _unknown(self.place(step), error) from error


class Workspace:
    """The folder of the one writer of a directory.

    Args:
        directory: the directory to write into.
        name: unique name of this writer.

    Raises:
        CheckpointBusyError: there is another writer.
        CheckpointDirectoryError: the directory cannot be written.
    """

    def __init__(self, directory: StepDirectory, name: str) -> None:
        self.directory = directory
        self.path = workspace_path(directory, name)
        self._open_files = contextlib.ExitStack()
        self._release = weakref.finalize(self, _release, self.path, self._open_files, os.getpid())
        try:
            self._enter()
        except BaseException:
            self.close()
            raise

    def begin(self, name: str) -> Path:
        """Make an empty folder to write a step into."""
        if not self.path.exists():
            self._make()  # somebody has cleaned up, and took the folder of a run for a leftover
        folder = self.path / name
        folder.mkdir()
        return folder

    def commit(self, folder: Path, step: int) -> None:
        """Let a folder be a step, for good.

        Raises:
            OSError: there is such a step, or the disk fails.
        """
        sync(folder)
        place = self.directory.place(step)
        if place.exists():
            raise FileExistsError(f"{place} exists already")
        folder.rename(place)
        sync(self.directory.path)

    def give_up(self, folder: Path) -> None:
        """Remove what was written; an empty folder with another name tells that it failed."""
        with contextlib.suppress(OSError):
            folder = folder.rename(failed_name(folder))
        for entry in _entries(folder):
            with contextlib.suppress(OSError):
                entry.unlink()

    def remove(self, step: int) -> None:
        """Delete a step.

        Raises:
            OSError: it cannot be deleted.
        """
        trash = self.path / f"trash-{step}-{uuid.uuid4().hex}"
        self.directory.place(step).rename(trash)
        sync(self.directory.path)
        shutil.rmtree(trash)

    def set_aside(self, step: int) -> Path:
        """Give a step a name under which it is no step, and return that.

        Raises:
            OSError: it cannot be renamed.
        """
        place = self.directory.place(step)
        aside = place.with_name(f"{step}.damaged-{uuid.uuid4().hex[:8]}")
        place.rename(aside)
        sync(self.directory.path)
        return aside

    def close(self) -> None:
        """Remove the folder, and let others write."""
        self._release()

    def _enter(self) -> None:
        try:
            descriptor = os.open(self.directory.path, os.O_RDONLY)
            self._open_files.callback(os.close, descriptor)
            if lock(descriptor) is False:
                raise CheckpointBusyError(
                    f"{self.directory.path}: found {self._other_writer()} saving into this "
                    "directory, expected one writer at a time. Close the other checkpointer, or "
                    "save into another directory."
                )
            self._clean()
            self._make()
        except OSError as error:
            if isinstance(error, CheckpointBusyError):
                raise
            raise CheckpointDirectoryError(
                f"{self.directory.path}: cannot write into this directory: {error.strerror}. What "
                "is there can be restored; save into a directory that can be written."
            ) from error

    def _make(self) -> None:
        self.path.mkdir()
        write_file(self.path / _NOTE, json.dumps(this_process()).encode())
        lock(self._open_files.enter_context((self.path / _NOTE).open("rb")))

    def _other_writer(self) -> str:
        notes = [folder / _NOTE for folder in self._workspaces() if not is_gone(folder / _NOTE)]
        return describe_owner(notes[0]) if notes else "another process"

    def _clean(self) -> None:
        """Remove what writers left that are gone."""
        for folder in self._workspaces():
            if is_gone(folder / _NOTE):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.rmdir()  # it is empty where its writer was killed before its first file

    def _workspaces(self) -> list[Path]:
        return [entry for entry in _entries(self.directory.path) if _is_workspace(entry)]


def workspace_path(directory: StepDirectory, name: str) -> Path:
    """Return where a writer has its folder."""
    return directory.path / f"{_WORKSPACE}{name}"


def failed_name(folder: Path) -> Path:
    """Return the name that a folder gets when its save failed."""
    return folder.with_name(f"failed-{folder.name}")


def _release(path: Path, open_files: contextlib.ExitStack, pid: int) -> None:
    if os.getpid() == pid:  # a forked process has inherited what is not its own
        if open_files and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        open_files.close()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _is_workspace(path: Path) -> bool:
    name = path.name.removeprefix(_WORKSPACE)
    return path.name != name and len(name) == 32 and path.is_dir() and not path.is_symlink()


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none where there is no such folder."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unknown(folder, error) from error


def _unknown(folder: Path, error: OSError) -> CheckpointDirectoryError:
    return CheckpointDirectoryError(
        f"{folder}: cannot look into this folder: {error.strerror}, so nobody knows which steps there "
        "are. Make it readable, or move it out of the directory of the checkpoints."
    )


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []
