"""One directory: who may write, what is cleaned, and what a crash or a full disk leaves."""

import errno
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linen_train import Checkpointer
from linen_train.checkpoint._owner import this_process
from linen_train.checkpoint._writing import write_arrays
from linen_train.errors import (
    CheckpointBusyError,
    CheckpointDirectoryError,
    CheckpointSaveError,
    CheckpointStepError,
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, where warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def workspaces(directory: Path) -> list[Path]:
    return sorted(directory.glob(".linen-train-*"))


def test_two_writers(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as first, Checkpointer(tmp_path) as second:
        first.save(1, {"x": 1})
        first.wait()
        assert second.restore({"x": 0}) == {"x": 1}  # reading is free
        with pytest.raises(CheckpointBusyError) as caught:
            second.save(2, {"x": 2})
        assert re.fullmatch(
            f"{tmp_path}: found another checkpointer of this process saving into this directory, "
            "expected one writer at a time. Close the other checkpointer, or save into another "
            "directory.",
            str(caught.value),
        )
        first.close()
        second.save(2, {"x": 2})
        second.wait()
        assert second.steps() == [1, 2]


def test_a_folder_that_nobody_can_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold steps, so a run must not take the directory for an empty one."""
    closed: list[Path] = []
    iterate = Path.iterdir

    def iterdir(folder: Path) -> Any:
        if folder in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return iterate(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1})
        (tmp_path / "7").mkdir()
        for folder in (tmp_path, tmp_path / "7"):
            closed[:] = [folder]
            for use in (
                checkpointer.steps,
                checkpointer.latest_step,
                checkpointer.restore,
                lambda: checkpointer.save(2, {"x": 2}),
            ):
                with pytest.raises(
                    CheckpointDirectoryError,
                    match=f"^{folder}: cannot look into this folder: Permission denied, .*Make it",
                ):
                    use()
        closed.clear()
        checkpointer.save(2, {"x": 2})
        assert checkpointer.steps() == [1, 2]


def test_a_number_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "4").touch()
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        for step in (3, 4):
            with pytest.raises(
                CheckpointStepError, match=f"{tmp_path}/{step}: found something that"
            ):
                checkpointer.save(step, {"x": 1})
        checkpointer.save(5, {"x": 1})
        assert checkpointer.steps() == [5]


def test_a_workspace_that_somebody_has_deleted(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1})
        shutil.rmtree(workspaces(tmp_path)[0])
        checkpointer.save(2, {"x": 2})
        with pytest.raises(CheckpointBusyError, match="another checkpointer of this process"):
            Checkpointer(tmp_path).save(3, {"x": 3})
        assert checkpointer.restore({"x": 0}) == {"x": 2}
    assert names(tmp_path) == ["1", "2"]


def test_a_checkpointer_that_is_forgotten_lets_others_write(tmp_path: Path) -> None:
    forgotten = Checkpointer(tmp_path)
    forgotten.save(1, {"x": 1})
    forgotten.wait()
    del forgotten
    gc.collect()
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(2, {"x": 1})
    assert names(tmp_path) == ["1", "2"]


def test_a_step_that_somebody_else_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*arguments: Any) -> Any:
        if checkpointer.steps():
            (tmp_path / "2").mkdir()
            (tmp_path / "2" / "precious").write_text("keep me")
            monkeypatch.undo()
        return write_arrays(*arguments)

    monkeypatch.setattr("linen_train.checkpoint._saving.write_arrays", write)
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1})
        with pytest.raises(CheckpointSaveError, match=f"step 2 could not be saved: .*{tmp_path}/2"):
            checkpointer.save(2, {"x": 1})
        assert (tmp_path / "2" / "precious").read_text() == "keep me"
        checkpointer.save(3, {"x": 1})
        assert checkpointer.steps() == [1, 3]


DEAD_PROCESS = 2**22 + 1  # more than Linux gives out


def owner(**fields: Any) -> dict[str, Any]:
    return {**this_process(), **fields}


LEFTOVERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "killed": (lambda: owner(pid=DEAD_PROCESS), True),
    "number_used_again": (lambda: owner(started="1"), True),
    "before_a_restart": (lambda: owner(boot="another"), True),
    "alive": (owner, False),
    "other_host": (lambda: owner(host="elsewhere", pid=DEAD_PROCESS), False),
    "unreadable": (lambda: None, False),
}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for processes")
@pytest.mark.parametrize(("note", "is_removed"), LEFTOVERS.values(), ids=LEFTOVERS)
def test_leftovers(tmp_path: Path, note: Callable[[], Any], is_removed: bool) -> None:
    leftover = tmp_path / f".linen-train-{'0' * 32}"
    (leftover / "save-1-7").mkdir(parents=True)
    (leftover / "owner.json").write_text(json.dumps(note()) if note() else "{")
    similar = tmp_path / ".linen-train-notes"
    similar.mkdir()
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        assert leftover.exists()  # who only reads removes nothing
        checkpointer.save(1, {"x": 1})
    assert leftover.exists() is not is_removed
    assert similar.exists()


def test_a_killed_save_is_cleaned_by_the_next_writer(tmp_path: Path) -> None:
    killed = run_python(f"""
        import os, signal
        import numpy as np
        from linen_train import Checkpointer

        checkpointer = Checkpointer({str(tmp_path)!r})
        checkpointer.save(1, {{"x": 1}})
        checkpointer.wait()
        checkpointer.save(2, {{"x": np.zeros(20_000_000)}})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert killed.returncode == -signal.SIGKILL
    assert len(workspaces(tmp_path)) == 1
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == [1]
        checkpointer.verify()
        checkpointer.save(2, {"x": 3})
        assert checkpointer.restore({"x": 0}) == {"x": 3}
    assert names(tmp_path) == ["1", "2"]


def test_a_program_that_ends_without_waiting(tmp_path: Path) -> None:
    ended = run_python(f"""
        import numpy as np
        from linen_train import Checkpointer

        checkpointer = Checkpointer({str(tmp_path)!r})
        checkpointer.save(1, {{"x": np.arange(10_000_000)}})
    """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert names(tmp_path) == ["1"]
    with Checkpointer(tmp_path) as checkpointer:
        np.testing.assert_array_equal(checkpointer.restore()["x"], np.arange(10_000_000))


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": 1})
    code = f"""
        import os
        from linen_train import Checkpointer
        from linen_train.errors import CheckpointDirectoryError
        import jax; jax.devices()

        if os.geteuid() == 0:
            os.setuid(65534)  # the rules do not hold for root
        checkpointer = Checkpointer({str(tmp_path)!r})
        print(checkpointer.steps(), checkpointer.restore({{"x": 0}}))
        try:
            checkpointer.save(2, {{"x": 1}})
        except CheckpointDirectoryError as error:
            print(error)
    """
    parents = [p for p in tmp_path.parents if p.stat().st_uid == os.geteuid() and p != Path("/")]
    modes = {path: path.stat().st_mode for path in [tmp_path, *parents]}
    try:
        for path in parents:
            path.chmod(modes[path] | 0o555)
        tmp_path.chmod(0o555)
        ended = run_python(code)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "[1] {'x': 1}",
        f"{tmp_path}: cannot write into this directory: Permission denied. What is there can be "
        "restored; save into a directory that can be written.",
    ]
    assert names(tmp_path) == ["1"]


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def save_and_wait(checkpointer: Checkpointer, step: int, state: Any) -> None:
    checkpointer.save(step, state)
    checkpointer.wait()


@pytest.mark.parametrize("call", ["os.pwrite", "os.fsync"])
@pytest.mark.parametrize("asynchronous", [True, False], ids=["background", "at_once"])
@pytest.mark.parametrize("compression", [True, False], ids=["compressed", "plain"])
def test_a_full_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    asynchronous: bool,
    compression: bool,
) -> None:
    state = {"x": np.arange(100), "y": np.arange(50), "z": 1}
    with Checkpointer(tmp_path, asynchronous=asynchronous, compression=compression) as checkpointer:
        checkpointer.save(1, state)
        checkpointer.wait()
        with monkeypatch.context() as full:
            full.setattr(call, full_disk)
            with pytest.raises(CheckpointSaveError) as caught:
                save_and_wait(checkpointer, 2, state)
        assert str(caught.value) == (
            f"{tmp_path}: step 2 could not be saved: No space left on device. Committed steps: [1]. "
            "Once the cause is gone, save it again."
        )
        assert checkpointer.steps() == [1]
        assert checkpointer.should_save(2)
        left = [path.name for path in workspaces(tmp_path)[0].rglob("*") if path.is_file()]
        assert left == ["owner.json"]  # nothing that takes room
        checkpointer.restore(state)
        checkpointer.save(2, state)
        checkpointer.wait()
        assert checkpointer.steps() == [1, 2]
    assert names(tmp_path) == ["1", "2"]


@pytest.mark.parametrize("name", ["wait", "save", "restore", "metadata", "verify", "close"])
def test_a_failure_in_the_background_is_raised_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"x": 1})
    checkpointer.wait()
    with monkeypatch.context() as full:
        full.setattr("os.pwrite", full_disk)
        checkpointer.save(2, {"x": 1})
        thread = checkpointer._saver._thread  # a public call would raise
        assert thread is not None
        thread.join()
    with pytest.raises(CheckpointSaveError, match="step 2 could not be saved"):
        getattr(checkpointer, name)(*((3, {"x": 1}) if name == "save" else ()))
    checkpointer.close()
    assert checkpointer.steps() == [1]


def test_a_failure_that_nobody_waits_for_is_told(tmp_path: Path) -> None:
    ended = run_python(f"""
        import resource
        import numpy as np
        from linen_train import Checkpointer

        checkpointer = Checkpointer({str(tmp_path)!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        checkpointer.save(1, {{"x": np.arange(10_000)}})
    """)
    assert "CheckpointWarning: A checkpoint is lost, and nobody waited for it" in ended.stderr
    assert f"{tmp_path}: step 1 could not be saved: File too large." in ended.stderr
    assert names(tmp_path) == []


def test_older_steps_that_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpointer(tmp_path, keep_last=1, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1})
        with monkeypatch.context() as stuck:
            stuck.setattr("shutil.rmtree", full_disk)
            with pytest.raises(CheckpointDirectoryError) as caught:
                checkpointer.save(2, {"x": 1})
        assert str(caught.value) == (
            f"{tmp_path}: step 2 is committed, but step 1, which is not to be kept, could not be "
            "deleted: No space left on device."
        )
        checkpointer.save(3, {"x": 1})
        assert checkpointer.steps() == [3]


def test_entries_that_are_no_steps(tmp_path: Path) -> None:
    for name in ("007", "-1", "1.5", "٣", "12", "13.damaged-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "14").touch()
    with Checkpointer(tmp_path, keep_last=1) as checkpointer:
        assert checkpointer.steps() == []
        checkpointer.save(1, {"x": 1})
        checkpointer.save(2, {"x": 1})
    assert names(tmp_path) == sorted(["007", "-1", "1.5", "٣", "12", "13.damaged-1", "14", "2"])
