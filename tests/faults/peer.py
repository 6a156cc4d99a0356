"""One of two processes that save together, until one of them is killed.

Arguments: port, number of the process, directory, journal, asynchronous (0 or 1), seconds that the
processes wait for each other. See worker.py for the journal.
"""

import os
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from states import KEEP_LAST, SHARED_SHAPE, shared_values

from linen_core.errors import LinenError
from linen_train import Checkpointer


def sharded_state(step: int, mesh: Mesh) -> dict[str, Any]:
    """Returns a state of which every process has a part."""
    values = shared_values(step)
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    return {
        "kernel": jax.make_array_from_callback(SHARED_SHAPE, sharding, lambda index: values[index]),
        "step": step,
    }


def main(port: str, process: str, directory: str, journal: str, mode: str, timeout: str) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(
        f"127.0.0.1:{port}",
        num_processes=2,
        process_id=int(process),
        initialization_timeout=60,
        heartbeat_timeout_seconds=10,
    )
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(line: str) -> None:
        os.write(descriptor, f"{line}\n".encode())

    mesh = Mesh(np.array(jax.devices()), ("x",), axis_types=(AxisType.Auto,))
    checkpointer = Checkpointer(
        directory, keep_last=KEEP_LAST, asynchronous=mode == "1", peer_timeout=float(timeout)
    )
    latest = checkpointer.latest_step()
    note("open")
    for step in range(0 if latest is None else latest + 1, 10**9):
        note(f"begin {step}")
        try:
            checkpointer.save(step, sharded_state(step, mesh))
            checkpointer.wait()
        except LinenError as error:
            note(f"failed {type(error).__name__}: {' '.join(str(error).split())}")
            os._exit(1)
        note(f"committed {step}")


if __name__ == "__main__":
    main(*sys.argv[1:])
