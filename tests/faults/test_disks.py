"""Disks that are full or cannot be written: the older steps stay, and saving works again afterwards."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linen_train import Checkpointer
from linen_train.errors import CheckpointDirectoryError, CheckpointError, CheckpointSaveError

from .observer import Workers, examine, save_next
from .states import KEEP_LAST, TARGET_BYTES, data_of, differing_leaves, state_of

MODES = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
DISK_BYTES = 8 * TARGET_BYTES


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, free: int) -> None:
        """Leaves so many bytes free."""
        block = 4096
        with (self.path / "filler").open("wb") as file, contextlib.suppress(OSError):
            while shutil.disk_usage(self.path).free - block >= free:
                file.write(bytes(block))
                file.flush()

    def empty(self) -> None:
        (self.path / "filler").unlink()

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "faults", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here: this needs the rights of root")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def save_and_wait(checkpointer: Checkpointer, step: int) -> None:
    """Saves a step; an error of a save in the background comes at the latest by the next call."""
    checkpointer.save(step, state_of(step), data=data_of(step), metadata={"step": step})
    checkpointer.wait()


def save_steps(directory: Path, count: int) -> None:
    for _ in range(count):
        save_next(directory)


@MODES
@pytest.mark.parametrize("free", [0, 0.1, 0.5, 0.9, 0.99], ids=lambda free: f"{free:.0%} free")
def test_a_full_disk(
    free: float, asynchronous: bool, disk: Disk, outcome: Callable[..., None]
) -> None:
    directory = disk.path / "run"
    save_steps(directory, 2)
    with Checkpointer(directory, keep_last=KEEP_LAST, asynchronous=asynchronous) as checkpointer:
        disk.fill(int(free * TARGET_BYTES * 0.9))
        with pytest.raises(CheckpointError) as caught:
            save_and_wait(checkpointer, 2)
        assert isinstance(caught.value, CheckpointSaveError | CheckpointDirectoryError)
        assert f"{directory}" in str(caught.value)
        assert "No space left on device" in str(caught.value)
        assert checkpointer.steps() == [0, 1]
        assert differing_leaves(checkpointer.restore(state_of(0)), 1) == []
        disk.empty()
        save_and_wait(checkpointer, 2)
        assert differing_leaves(checkpointer.restore(state_of(0)), 2) == []
    found = examine(directory, [0, 1, 2], [])
    assert (found.lost, found.wrong, found.leftovers) == ([], [], [])
    mode = "async" if asynchronous else "sync"
    text = "raised, older steps kept and restored, saved again when there was room"
    outcome(f"full disk, {mode}", 1, text)


@MODES
def test_files_that_may_not_grow(
    asynchronous: bool, workers: Workers, tmp_path: Path, outcome: Callable[..., None]
) -> None:
    for trial, part in enumerate((0.001, 0.3, 0.9)):
        directory = tmp_path / f"run-{trial}"
        save_steps(directory, 2)
        worker = workers.start(
            directory,
            tmp_path / f"journal-{trial}",
            asynchronous=asynchronous,
            steps=3,
            largest_file=int(part * TARGET_BYTES * 0.9),
        )
        assert worker.end() == 1
        journal = worker.journal
        assert len(journal.failures) == 1
        failed = len(journal.committed) + 2  # in the background step 2 may be under way still
        text = f"CheckpointSaveError: {directory}: step {failed} could not be saved: File too large"
        assert journal.failures[0].startswith(text)
        found = examine(directory, [0, 1, *journal.committed], journal.begun)
        assert (found.lost, found.wrong, found.leftovers) == ([], [], [])
        save_next(directory)
    assert workers.errors.read_text() == ""
    mode = "async" if asynchronous else "sync"
    text = "raised, older steps kept, no leftovers, saved again afterwards"
    outcome(f"files of limited size, {mode}", 3, text)


@contextlib.contextmanager
def read_only(disk: Disk) -> Iterator[None]:
    disk.remount("ro")
    try:
        yield
    finally:
        disk.remount("rw")


@MODES
def test_a_disk_that_cannot_be_written(
    asynchronous: bool, disk: Disk, outcome: Callable[..., None]
) -> None:
    directory = disk.path / "run"
    save_steps(directory, 2)
    checkpointer = Checkpointer(directory, asynchronous=asynchronous)
    with read_only(disk):
        with pytest.raises(CheckpointDirectoryError) as caught:
            checkpointer.save(2, state_of(2))
        assert str(caught.value).startswith(f"{directory}: cannot write into this directory")
        assert differing_leaves(checkpointer.restore(state_of(0)), 1) == []
        checkpointer.verify()
        with pytest.raises(CheckpointDirectoryError, match=f"{disk.path}/new"):
            Checkpointer(disk.path / "new")
    checkpointer.save(2, state_of(2))
    checkpointer.close()
    assert Checkpointer(directory).steps() == [0, 1, 2]
    mode = "async" if asynchronous else "sync"
    outcome(f"read-only directory, {mode}", 1, "raised, restored from, saved when it was writable")


@MODES
def test_a_disk_that_becomes_unwritable(
    asynchronous: bool, disk: Disk, outcome: Callable[..., None]
) -> None:
    directory = disk.path / "run"
    checkpointer = Checkpointer(directory, asynchronous=asynchronous)
    for step in range(2):
        checkpointer.save(step, state_of(step))
    checkpointer.wait()
    with contextlib.suppress(OSError), read_only(disk):
        with pytest.raises(CheckpointSaveError) as caught:
            save_and_wait(checkpointer, 2)
        assert f"{directory}: step 2 could not be saved" in str(caught.value)
        assert "Read-only file system" in str(caught.value)
        assert differing_leaves(checkpointer.restore(state_of(0)), 1) == []
    checkpointer.save(2, state_of(2))
    checkpointer.close()
    assert differing_leaves(Checkpointer(directory).restore(state_of(0)), 2) == []
    mode = "async" if asynchronous else "sync"
    outcome(f"directory becomes read-only, {mode}", 1, "raised, restored from, saved later")


def test_a_directory_without_permission(tmp_path: Path, outcome: Callable[..., None]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the tests of a read-only disk run instead")
    directory = tmp_path / "run"
    save_steps(directory, 2)
    directory.chmod(0o555)
    try:
        checkpointer = Checkpointer(directory)
        with pytest.raises(CheckpointDirectoryError, match=f"{directory}: cannot write"):
            checkpointer.save(2, state_of(2))
        assert differing_leaves(checkpointer.restore(state_of(0)), 1) == []
    finally:
        directory.chmod(0o755)
    outcome("directory without permission", 1, "raised, restored from")
