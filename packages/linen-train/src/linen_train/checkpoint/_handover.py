"""How the processes of one run agree that a step is complete.

They share the directory, and nothing else is needed: every process writes its arrays and then its
*part*, a JSON file; the first process waits for all parts, writes the manifest and commits; the
others wait until the step is there, or until the folder has the name of one that failed. No
computation runs on devices, so a save in the background cannot get between the steps of training.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linen_train.checkpoint._directory import failed_name
from linen_train.checkpoint._writing import write_file

__all__ = ["PeerError", "await_commit", "await_folder", "collect", "deliver"]

_PAUSE_SECONDS = 0.01


class PeerError(Exception):
    """Another process failed, or is not heard of; never seen outside this folder."""


def deliver(folder: Path, process: int, part: dict[str, Any]) -> None:
    """Hand the part of a process over.

    Raises:
        OSError: it cannot be written.
    """
    whole, half = _part(folder, process), folder / f"half-part-{process}.json"
    write_file(half, json.dumps(part).encode())
    half.rename(whole)


def collect(folder: Path, processes: int, timeout: float) -> list[dict[str, Any]]:
    """Return the parts of all processes but the first, and remove their files.

    Raises:
        PeerError: a process failed, or its part does not come.
    """
    files = [_part(folder, process) for process in range(1, processes)]
    parts = []
    for process, file in enumerate(files, start=1):
        _wait_for(file.exists, timeout, f"process {process} did not write its arrays")
        part = json.loads(file.read_text())
        if error := part.get("error"):
            raise PeerError(f"process {process} failed: {error}")
        parts.append(part)
    for file in files:
        file.unlink()
    return parts


def await_folder(folder: Path, timeout: float) -> None:
    """Return when the first process has made the folder of a step.

    Raises:
        PeerError: it failed, or is not heard of.
    """
    message = "process 0 did not begin to save"
    _wait_for(lambda: folder.exists() or _has_failed(folder), timeout, message)
    if not folder.exists():
        raise PeerError("process 0 failed; its error says why")


def await_commit(folder: Path, place: Path, timeout: float) -> None:
    """Return when the first process has committed a step.

    Raises:
        PeerError: it failed, or is not heard of.
    """
    message = "process 0 did not commit the step"
    _wait_for(lambda: place.exists() or _has_failed(folder), timeout, message)
    if not place.exists():
        raise PeerError("another process failed; the error of process 0 says why")


def _has_failed(folder: Path) -> bool:
    """Whether the first process gave a step up, or closed its checkpointer after that."""
    return failed_name(folder).exists() or not folder.parent.exists()


def _wait_for(condition: Callable[[], bool], timeout: float, message: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise PeerError(f"{message} within {timeout:g} s")
        time.sleep(_PAUSE_SECONDS)


def _part(folder: Path, process: int) -> Path:
    return folder / f"part-{process}.json"
