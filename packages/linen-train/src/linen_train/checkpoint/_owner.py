"""Who owns a folder, and whether that process is still there.

A folder may be removed by the process that made it, and by others only once that process is
*provably* gone: it ran on this host, no such process runs any more, and the lock that it held on
its note is free, which the kernel sees to whatever way a process ends.
"""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["describe_owner", "is_gone", "lock", "this_process"]


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other, as JSON values."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def lock(file: IO[Any] | int) -> bool | None:
    """Lock a file or directory until it is closed.

    Returns:
        Whether it is locked now; None where the file system has no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_gone(note: Path) -> bool:
    """Whether the process that wrote a note about itself is provably gone."""
    try:
        with note.open() as file:
            owner = json.load(file)
            if lock(file) is False:
                return False
    except (OSError, ValueError):
        return False
    here = this_process()
    if owner.get("host") != here["host"]:
        return False
    if any(owner.get(name) != here[name] for name in ("boot", "namespace")):
        return True
    return not _runs(owner["pid"]) or _started(owner["pid"]) != owner["started"]


def describe_owner(note: Path) -> str:
    """Return the owner of a folder for a message."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        owner = json.loads(note.read_text())
        if owner == this_process():
            return "another checkpointer of this process"
        return f"process {owner['pid']} on {owner['host']}"
    return "another process"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the boot; empty where this is not told."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""
