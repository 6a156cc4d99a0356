"""Prints what checkpoints cost, next to a raw file with fsync and to Orbax as it comes.

python tests/benchmarks/checkpoints.py [--size MiB] [--arrays N] [--repeats N] [--directory DIR]

The contestants take turns over the same data. Before each turn everything is flushed to the disk, so
that nobody pays for the writes of another. Files are read from the disk, as when a run begins, and
once more from the page cache, where memory and cores are all that counts. Memory is measured in
a process of its own for each contestant: the highest it ever held while saving, less what it held
before, over the size of the data.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from rich.console import Console
from rich.table import Table

from linen_train import Checkpointer
from timing import Timings, interleave

MEBIBYTE = 2**20
CONTESTANTS = ("raw", "linen", "orbax")
State = dict[str, jax.Array]


def make_state(size: int, arrays: int) -> State:
    """Returns random float32 arrays of equal length."""
    numbers = np.random.default_rng(0)
    count = size * MEBIBYTE // 4 // arrays
    return {
        f"layer_{i:04}": jnp.asarray(numbers.standard_normal(count, np.float32))
        for i in range(arrays)
    }


class Raw:
    """One file, written and synced, read into fresh arrays: no library could do less."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "file"

    def save(self, state: State) -> None:
        with self.file.open("wb", buffering=0) as file:
            for array in state.values():
                file.write(np.asarray(array).data)
            os.fsync(file.fileno())

    def restore(self, state: State) -> list[np.ndarray]:
        with self.file.open("rb", buffering=0) as file:
            return [np.fromfile(file, np.float32, array.size) for array in state.values()]


class Linen:
    """This library."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpointer: Checkpointer | None = None

    def save(self, state: State) -> None:
        with Checkpointer(self.directory, asynchronous=False) as checkpointer:
            checkpointer.save(1, state)

    def start(self, state: State) -> None:
        self.checkpointer = Checkpointer(self.directory)
        self.checkpointer.save(1, state)

    def finish(self) -> None:
        assert self.checkpointer is not None
        self.checkpointer.close()

    def restore(self, state: State) -> State:
        with Checkpointer(self.directory) as checkpointer:
            return jax.block_until_ready(checkpointer.restore(state))


class Orbax:
    """Orbax with the defaults of its manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manager: ocp.CheckpointManager | None = None

    def save(self, state: State) -> None:
        self.start(state)
        self.finish()

    def start(self, state: State) -> None:
        self.manager = ocp.CheckpointManager(self.directory)
        self.manager.save(1, args=ocp.args.StandardSave(state))

    def finish(self) -> None:
        assert self.manager is not None
        self.manager.wait_until_finished()
        self.manager.close()

    def restore(self, state: State) -> State:
        with ocp.CheckpointManager(self.directory) as manager:
            restored = manager.restore(1, args=ocp.args.StandardRestore(state))
            return jax.block_until_ready(restored)


CLASSES: dict[str, Any] = {"raw": Raw, "linen": Linen, "orbax": Orbax}


def measure(state: State, directory: Path, repeats: int) -> dict[str, Timings]:
    """Returns the seconds of saving, of the part that blocks, and of restoring."""

    def fresh(name: str) -> Any:
        folder = directory / name
        rmtree(folder, ignore_errors=True)
        folder.mkdir()
        os.sync()
        return CLASSES[name](folder)

    def saves(name: str) -> Callable[[], Any]:
        contestant = fresh(name)
        return lambda: contestant.save(state)

    running: list[Any] = []

    def blocks(name: str) -> Callable[[], Any]:
        while running:
            running.pop().finish()
        running.append(fresh(name))
        return lambda: running[-1].start(state)

    def restores(name: str) -> Callable[[], Any]:
        return lambda: CLASSES[name](directory / name).restore(state)

    def restores_from_disk(name: str) -> Callable[[], Any]:
        forget(directory / name)
        return restores(name)

    def each(make: Callable[[str], Callable[[], Any]], names: tuple[str, ...]) -> Any:
        return {name: lambda name=name: make(name) for name in names}

    timings = {
        "save": interleave(each(saves, CONTESTANTS), repeats),
        "restore, from disk": interleave(each(restores_from_disk, CONTESTANTS), repeats),
        "restore, from cache": interleave(each(restores, CONTESTANTS), repeats),
        "blocking": interleave(each(blocks, CONTESTANTS[1:]), repeats),
    }
    while running:
        running.pop().finish()
    return timings


def forget(folder: Path) -> None:
    """Drops the files in a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_memory(size: int, arrays: int, name: str, directory: Path) -> float:
    """Returns the extra memory of one save over the size of the data, from another process."""
    command = [sys.executable, __file__, f"--size={size}", f"--arrays={arrays}"]
    command += [f"--peak-of={name}", f"--directory={directory}"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(completed.stdout.splitlines()[-1])


def peak_here(size: int, arrays: int, name: str, directory: Path) -> float:
    """Returns the same, measured in this process."""
    state = jax.block_until_ready(make_state(size, arrays))
    with tempfile.TemporaryDirectory(dir=directory) as small:
        CLASSES[name](Path(small)).save({"x": jnp.zeros(3)})  # what is loaded once is not counted
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
        before = status("VmRSS")
        CLASSES[name](Path(folder)).save(state)
        return (status("VmHWM") - before) / (size * MEBIBYTE)


def status(field: str) -> int:
    """Returns a number of bytes that the system keeps on this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def print_table(
    size: int, arrays: int, timings: dict[str, Timings], peaks: dict[str, float]
) -> None:
    """Prints medians and ratios."""
    what = "one array" if arrays == 1 else f"{arrays:,} arrays"
    table = Table("what", *CONTESTANTS, "linen / raw", "linen / orbax", title=f"{size} MiB, {what}")
    for metric, times in timings.items():
        middle = {name: median(seconds) for name, seconds in times.seconds.items()}
        cells = [f"{middle[name]:.3f} s" if name in middle else "-" for name in CONTESTANTS]
        ratios = [
            f"{times.ratio('linen', name):.2f}x" if name in middle else "-"
            for name in ("raw", "orbax")
        ]
        table.add_row(metric, *cells, *ratios)
    ratio = f"{peaks['linen'] / peaks['orbax']:.2f}x"
    table.add_row("extra memory", *[f"{peaks[n]:.2f}x data" for n in CONTESTANTS], "-", ratio)
    Console().print(table)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB of the data")
    parser.add_argument("--arrays", type=int, nargs="*", default=[1, 2000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--peak-of", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable()
    if options.peak_of:
        print(peak_here(options.size, options.arrays[0], options.peak_of, options.directory))
        return
    for arrays in options.arrays:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            timings = measure(make_state(options.size, arrays), Path(directory), options.repeats)
        peaks = {
            name: peak_memory(options.size, arrays, name, options.directory) for name in CONTESTANTS
        }
        print_table(options.size, arrays, timings, peaks)


if __name__ == "__main__":
    main()
