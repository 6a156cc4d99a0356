"""Processes that save known states until something happens to them.

Importing takes seconds, so this script imports once and then forks a process for each *job*, a line
of JSON on its input. It answers with the process's id, and with its exit status once it has ended. A
job keeps a *journal*: `open`, then for each step `begin N` and, once it is certain, `committed N`;
`failed` with the class and text of an error; `closed`. What is in the journal outlives the process.

A job says: `directory`, `journal`, `asynchronous`, and perhaps

- `first`: the first step; by default the one after the newest.
- `steps`: how many steps to save; without end by default.
- `on_sigterm`: "exit" to raise SystemExit; the default is that of the system, death.
- `largest_file`: how many bytes a file may have, from the second step of the job on.
- `pause`: seconds between steps.
"""

import json
import os
import resource
import signal
import sys
import time
import warnings
from typing import Any

from states import KEEP_LAST, data_of, state_of

from linen_core.errors import LinenError
from linen_train import Checkpointer

PATIENCE = 30.0


def save_steps(job: dict[str, Any], journal: int) -> None:
    def note(line: str) -> None:
        os.write(journal, f"{line}\n".encode())

    told: list[int] = []

    def leave(*_: object) -> None:
        # Python drops an exception that is raised while it collects garbage, hence the list.
        told.append(143)
        sys.exit(told[0])

    if job.get("on_sigterm") == "exit":
        signal.signal(signal.SIGTERM, leave)
    state_of(0)  # sets JAX up, which takes longer than a save
    asynchronous = job["asynchronous"]
    checkpointer = Checkpointer(job["directory"], keep_last=KEEP_LAST, asynchronous=asynchronous)
    begun = None
    try:
        with checkpointer:
            latest = checkpointer.latest_step()
            first = job.get("first", 0 if latest is None else latest + 1)
            note("open")
            for step in range(first, first + job.get("steps", 10**9)):
                if step > first and job.get("largest_file"):
                    limit = job["largest_file"]
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                note(f"begin {step}")
                checkpointer.save(step, state_of(step), data=data_of(step), metadata={"step": step})
                if asynchronous and begun is not None:
                    note(f"committed {begun}")
                begun = step
                if not asynchronous:
                    note(f"committed {step}")
                time.sleep(job.get("pause", 0))
                if told:
                    sys.exit(told[0])
            checkpointer.wait()
            note(f"committed {begun}")
    except LinenError as error:
        note(f"failed {type(error).__name__}: {' '.join(str(error).split())}")
        raise SystemExit(1) from None
    finally:
        note("closed")


def start(job: dict[str, Any]) -> int:
    """Forks the process of a job, and returns its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; nothing of it has been used yet
        pid = os.fork()
    if pid:
        return pid
    journal = os.open(job["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    # The kernel would kill the process where a file grows too large.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    status = 1
    try:
        save_steps(job, journal)
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)
    return 0


def exit_code(pid: int) -> int | None:
    """Waits for a process and returns its exit code; None where it had to be killed."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "await" in request:
            print(json.dumps(exit_code(request["await"])), flush=True)
        else:
            print(json.dumps(start(request)), flush=True)


if __name__ == "__main__":
    main()
