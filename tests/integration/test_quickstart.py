"""The quickstart as a user runs it: from the command line, interrupted, resumed, and misused."""

import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train import Checkpointer

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "quickstart"
COMMAND = [sys.executable, "-u", "-W", "error", str(FOLDER / "main.py")]
EPOCHS = 4
STEPS_PER_EPOCH = 1437 // 64


def run(*arguments: str | Path) -> str:
    """Run the quickstart and return its output; nothing may go to standard error."""
    completed = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    return completed.stdout


def last_state(output: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the last checkpoint by path, keys as their data."""
    with Checkpointer(output / "checkpoints") as checkpointer:
        leaves = jax.tree_util.tree_leaves_with_path(checkpointer.restore())
    return {jax.tree_util.keystr(path): numbers(leaf) for path, leaf in leaves}


def numbers(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_bit_for_bit_equal(first: Path, second: Path) -> None:
    one, other = last_state(first), last_state(second)
    assert one.keys() == other.keys()
    for path, array in one.items():
        assert array.dtype == other[path].dtype
        assert array.tobytes() == other[path].tobytes(), path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    lines = run("--epochs", str(EPOCHS), "--output", output).splitlines()
    for epoch, line in enumerate(lines[:EPOCHS], start=1):
        assert line.startswith(f"epoch {epoch}/{EPOCHS}  accuracy ")
        assert line.endswith(" examples/s")
    assert float(lines[-2].removeprefix("Test accuracy ").partition("%")[0]) > 95
    return output


def test_what_it_leaves(uninterrupted: Path) -> None:
    names = sorted(path.name for path in uninterrupted.iterdir())
    assert names == ["checkpoints", "learning_curve.png", "predictions.png"]
    for picture in ("learning_curve.png", "predictions.png"):
        assert (uninterrupted / picture).read_bytes().startswith(b"\x89PNG")
    steps = sorted(int(path.name) for path in (uninterrupted / "checkpoints").iterdir())
    assert steps == [STEPS_PER_EPOCH * epoch for epoch in (2, 3, 4)]


def test_a_run_in_two_parts_ends_bit_for_bit_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    run("--epochs", "2", "--output", tmp_path)
    lines = run("--epochs", str(EPOCHS), "--output", tmp_path, "--resume").splitlines()
    assert lines[0].startswith(f"epoch 3/{EPOCHS}  ")
    assert_bit_for_bit_equal(uninterrupted, tmp_path)


def test_after_ctrl_c_a_run_ends_bit_for_bit_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    arguments = ["--epochs", str(EPOCHS), "--output", str(tmp_path)]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 1/")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    last_line = output.splitlines()[-1]
    assert last_line.startswith("Interrupted: saved step ")
    assert last_line.endswith(" To go on, add --resume to the command.")
    assert f"epoch {EPOCHS}/{EPOCHS}" not in output
    run(*arguments, "--resume")
    assert_bit_for_bit_equal(uninterrupted, tmp_path)


MISUSE = {
    "no_epochs": (
        ["--epochs", "0"],
        "argument --epochs: found '0', expected a whole number from 1",
    ),
    "epochs_in_words": (["--epochs", "ten"], "argument --epochs: found 'ten', expected a whole"),
    "learning_rate": (
        ["--learning-rate", "-1"],
        "argument --learning-rate: found '-1', expected a",
    ),
    "seed": (["--seed", "-3"], "argument --seed: found '-3', expected a whole number from 0"),
    "unknown": (["--epoch-count", "3"], "unrecognized arguments: --epoch-count 3"),
    "earlier_run": ([], "holds an earlier run; go on with --resume, start anew with --overwrite"),
    "both": (
        ["--resume", "--overwrite"],
        "argument --overwrite: not allowed with argument --resume",
    ),
    "fewer_epochs": (["--resume", "--epochs", "3"], "the checkpoint has 4 epochs already; ask for"),
    "other_seed": (["--resume", "--seed", "1"], "found --seed 1, but the run was started with 0"),
    "other_batches": (["--resume", "--batch-size", "32"], "found --batch-size 32, but the run was"),
}


def error_of(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run the quickstart in this process; return the one line that it ends with."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(FOLDER / "main.py"), run_name="__main__")
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("quickstart: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(("arguments", "text"), MISUSE.values(), ids=MISUSE)
def test_misuse_gets_one_clear_line(
    uninterrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    before = last_state(uninterrupted)
    assert text in error_of(["--output", str(uninterrupted), *arguments], monkeypatch, capsys)
    assert last_state(uninterrupted).keys() == before.keys()


def test_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["--output", str(tmp_path), "--resume"], monkeypatch, capsys)
    assert f"{tmp_path}/checkpoints holds no checkpoint; start a run without --resume" in error


def test_an_output_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    error = error_of(["--output", str(tmp_path / "file" / "run")], monkeypatch, capsys)
    assert "argument --output: cannot write to" in error
    assert "choose another directory" in error


def test_batches_larger_than_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["--output", str(tmp_path), "--batch-size", "2000"], monkeypatch, capsys)
    assert "found batch_size=2000 for 1437 examples, expected 1 to 1437" in error
