"""The example on Fashion-MNIST as a user runs it: killed, resumed, misused.

The tests use small files of the same format, with pictures that are easy to tell apart. With
LINEN_FASHION_MNIST=FOLDER the example also learns the real pictures from that folder, twice: a run
that is killed has to end with the parameters of one that is not, and with 92 % of the answers right.
"""

import gzip
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "fashion_mnist"
COMMAND = [sys.executable, "-u", "-W", "error", str(FOLDER / "main.py")]
REAL_DATA = os.environ.get("LINEN_FASHION_MNIST")
SMALL = ["--epochs", "3", "--batch-size", "16", "--save-every", "3", "--learning-rate", "0.01"]
STEPS = 3 * (160 // 16)


def write_idx(file: Path, array: np.ndarray) -> None:
    shape = np.array(array.shape, ">u4").tobytes()
    file.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write pictures whose label is the row that is bright."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for part, count in (("train", 160), ("t10k", 50)):
        labels = generator.integers(0, 10, count).astype(np.uint8)
        images = generator.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 3] = 250
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def run(data: Path, output: Path, *arguments: str) -> str:
    """Run the example and return its output; nothing may go to standard error."""
    command = [*COMMAND, "--data", str(data), "--output", str(output), *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, "")
    return completed.stdout


def kill(data: Path, output: Path, *arguments: str, from_step: int) -> None:
    """Start the example, and kill it once it has saved a step."""
    command = [*COMMAND, "--data", str(data), "--output", str(output), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(step >= from_step for step in saved_steps(output)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    _, errors = process.communicate(timeout=300)
    assert errors == ""
    assert process.returncode == -signal.SIGKILL


def saved_steps(output: Path) -> list[int]:
    folder = output / "checkpoints"
    return [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return run(data, tmp_path_factory.mktemp("uninterrupted"), *SMALL).splitlines()


def test_what_it_prints(uninterrupted: list[str]) -> None:
    *rows, accuracy, digest = uninterrupted
    assert len(rows) == 6
    for epoch in (1, 2, 3):
        log, evaluation = rows[2 * epoch - 2 : 2 * epoch]
        assert log.startswith((f"step {10 * epoch}  loss ", f"step {10 * epoch}  accuracy "))
        assert f"step {10 * epoch}  test_" in evaluation
    assert accuracy.startswith("Test accuracy ")
    assert accuracy.endswith(f"% after {STEPS} steps.")
    assert digest.startswith("Digest of the parameters: ")


def test_a_killed_run_ends_bit_for_bit_the_same(
    uninterrupted: list[str], data: Path, tmp_path: Path
) -> None:
    kill(data, tmp_path, *SMALL, from_step=3)
    assert STEPS not in saved_steps(tmp_path)  # it was stopped in the middle
    lines = run(data, tmp_path, *SMALL).splitlines()
    assert lines[-2:] == uninterrupted[-2:]
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 6  # nothing is there twice, nothing is missing


def error_of(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run the example in this process; return what it ends with."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("clothes", "model", "training"):  # other examples have files of these names
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(FOLDER / "main.py"), run_name="__main__")
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (2, "")
    for name in ("clothes", "model", "training"):
        sys.modules.pop(name, None)
    return captured.err


def test_data_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["--data", str(tmp_path)], monkeypatch, capsys)
    assert error.startswith(
        f"fashion_mnist: error: Found no {tmp_path}/train-images-idx3-ubyte.gz. "
    )
    assert "apt-get download dataset-fashion-mnist\n    dpkg -x" in error


def test_data_that_is_something_else(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in data.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes((data / "train-labels-idx1-ubyte.gz").read_bytes())
    error = error_of(["--data", str(tmp_path)], monkeypatch, capsys)
    assert "is no IDX file of unsigned bytes in 3 dimensions" in error
    images.write_bytes(b"no gzip")
    assert "cannot be read" in error_of(["--data", str(tmp_path)], monkeypatch, capsys)


@pytest.mark.skipif(REAL_DATA is None, reason="needs LINEN_FASHION_MNIST, and many minutes")
def test_the_real_pictures(tmp_path: Path) -> None:
    real = Path(REAL_DATA or "")
    whole = run(real, tmp_path / "whole").splitlines()
    assert float(whole[-2].removeprefix("Test accuracy ").partition("%")[0]) >= 92
    kill(real, tmp_path / "killed", from_step=1000)
    assert run(real, tmp_path / "killed").splitlines()[-2:] == whole[-2:]
