"""Setting up the processes of a run: who they are, and that all of them are there."""

import dataclasses
import inspect
import math
import numbers
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from linen_train.distributed import _rendezvous, _settings
from linen_train.errors import (
    DistributedConnectionError,
    DistributedSettingsError,
    DistributedStateError,
)

__all__ = ["Processes", "initialize"]

# What JAX's own start needs after everybody has come, however little is left of the time-out.
_LEAST_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Processes:
    """What `initialize` found.

    Attributes:
        process_id: which process this is, from 0.
        num_processes: how many there are.
        coordinator_address: host and port of process 0; None for a process by itself, and where
            JAX found it.
        source: where the settings are from, in words.
        is_distributed: whether JAX was set up for several processes; False when there was nothing
            to do.

    Example:
        >>> from linen_train.distributed import initialize
        >>> initialize().is_distributed
        False
    """

    process_id: int
    num_processes: int
    coordinator_address: str | None
    source: str
    is_distributed: bool

    @property
    def is_main(self) -> bool:
        """Whether this is process 0, the one that prints and draws."""
        return self.process_id == 0


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 60.0,
    heartbeat_timeout: float = 30.0,
    shutdown_timeout: float | None = None,
    local_device_ids: Sequence[int] | None = None,
    cluster_detection_method: str | None = None,
) -> Processes:
    """Set up JAX for the processes of this run; call it first, in every process.

    What is not given is looked up in the environment, in `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, and then in what SLURM's `srun` and Open MPI's `mpirun`
    set. Where nothing is found, the process is by itself, and nothing is done: the same program runs
    everywhere.

    The processes meet before JAX connects them, so that what is wrong is an exception. Once they are
    connected, JAX watches them: when one of them dies, the others end within `heartbeat_timeout`, with
    a message on standard error that tells which.

    Args:
        coordinator_address: host and port of process 0, which listens there, as "10.0.0.1:1234".
        num_processes: how many processes there are.
        process_id: which of them this one is, from 0.
        timeout: seconds to wait for the others.
        heartbeat_timeout: seconds after which a process that is not heard of counts as dead.
        shutdown_timeout: seconds that a process that ends, for an exception too, waits for the
            others; None for JAX's 300. Older releases of JAX have no such setting.
        local_device_ids: which devices of its machine belong to this process; None for all, but under
            a launcher that starts several processes on one machine, for the one of its local number.
        cluster_detection_method: a way for JAX to find the settings by itself, such as "k8s",
            "gcetpu" or "mpi4py". The processes do not meet beforehand then, so a missing one ends the
            others with JAX's own message.

    Returns:
        Which process this is and how many there are; `is_distributed` is False where nothing
        was found.

    Raises:
        DistributedSettingsError: settings are missing or malformed, JAX finds none in the way that it
            was told to, or the processes disagree.
        DistributedTimeoutError: other processes did not come in time.
        DistributedConnectionError: the port is taken, or another program answers there.
        DistributedStateError: it was called before, or JAX has used its devices already.

    Example:
        >>> from linen_train.distributed import initialize
        >>> processes = initialize()
        >>> processes.process_id, processes.num_processes, processes.source
        (0, 1, 'no settings were found')
    """
    options = _options(timeout, heartbeat_timeout, shutdown_timeout)
    started = time.monotonic()
    if cluster_detection_method is not None:
        if coordinator_address is not None:
            _settings.host_and_port(str(coordinator_address))
        count = _settings.whole("num_processes", num_processes, 1)
        number = _settings.whole("process_id", process_id, 0)
        _check_unused()
        _connect(
            timeout,
            coordinator_address=coordinator_address,
            num_processes=count,
            process_id=number,
            local_device_ids=local_device_ids,
            cluster_detection_method=cluster_detection_method,
            **options,
        )
        found = f"JAX, by {cluster_detection_method!r}"
        return Processes(jax.process_index(), jax.process_count(), coordinator_address, found, True)
    settings = _settings.find(coordinator_address, num_processes, process_id, os.environ)
    if settings.coordinator_address is not None:
        _check_unused()
        _rendezvous.meet(settings, timeout)
        # JAX_LOCAL_DEVICE_IDS is JAX's own, and counts more than the number under a launcher.
        is_in_environment = "JAX_LOCAL_DEVICE_IDS" in os.environ
        if local_device_ids is None and not is_in_environment:
            local_device_ids = settings.local_device_ids
        _connect(
            timeout - (time.monotonic() - started),
            coordinator_address=settings.coordinator_address,
            num_processes=settings.num_processes,
            process_id=settings.process_id,
            local_device_ids=local_device_ids,
            cluster_detection_method="deactivate",
            **options,
        )
    return Processes(
        settings.process_id,
        settings.num_processes,
        settings.coordinator_address,
        settings.source,
        settings.coordinator_address is not None,
    )


def _options(
    timeout: float, heartbeat_timeout: float, shutdown_timeout: float | None
) -> dict[str, Any]:
    """Return the options of JAX for the times, which are whole seconds there."""
    times = {
        "timeout": timeout,
        "heartbeat_timeout": heartbeat_timeout,
        "shutdown_timeout": 1 if shutdown_timeout is None else shutdown_timeout,
    }
    for name, seconds in times.items():
        if not _is_positive(seconds):
            raise DistributedSettingsError(
                f"initialize: found {name}={seconds!r}, expected seconds, more than 0."
            )
    options = {"heartbeat_timeout_seconds": max(1, round(heartbeat_timeout))}
    if shutdown_timeout is not None:
        name = "shutdown_timeout_seconds"
        if name not in inspect.signature(jax.distributed.initialize).parameters:
            raise DistributedSettingsError(
                f"initialize: found shutdown_timeout={shutdown_timeout:g}, but JAX {jax.__version__} "
                "has no such setting. Leave it out, or install a newer JAX."
            )
        options[name] = max(1, round(shutdown_timeout))
    return options


def _is_positive(seconds: Any) -> bool:
    return isinstance(seconds, numbers.Real) and 0 < float(seconds) < math.inf


def _check_unused() -> None:
    """Raise if JAX cannot be set up any more, before other processes are told that it can."""
    if jax.distributed.is_initialized():
        raise DistributedStateError(
            "initialize: JAX is set up for several processes already, which can be done once. Write "
            "`if not jax.distributed.is_initialized(): initialize(...)`."
        )
    try:
        # Without settings it raises a ValueError, after it has looked at the state of JAX.
        jax.distributed.initialize(cluster_detection_method="deactivate")
    except RuntimeError as error:
        raise DistributedStateError(_TOO_LATE) from error
    except ValueError:
        return


_TOO_LATE = (
    "initialize: JAX has used its devices already, so that it is too late to connect processes. Call "
    "initialize() before anything that computes or asks for devices, such as jax.devices(), "
    "jax.random.key or jax.numpy.zeros, also in modules that are imported earlier."
)


def _connect(remaining: float, **options: Any) -> None:
    try:
        jax.distributed.initialize(
            initialization_timeout=max(_LEAST_SECONDS, round(remaining)), **options
        )
    except ValueError as error:  # before it has tried to connect anything
        raise DistributedSettingsError(_no_settings(error, options)) from error
    except RuntimeError as error:
        address = options["coordinator_address"]
        place = "" if address is None else f" at {address}"
        raise DistributedConnectionError(
            f"initialize: JAX could not connect the processes{place}: {error} Give all processes "
            "another port, and look at what the others say."
        ) from error


def _no_settings(error: ValueError, options: Mapping[str, Any]) -> str:
    method = options["cluster_detection_method"]
    if method == "deactivate":
        return f"initialize: JAX does not take the settings: {error}"
    return (
        f"initialize: found cluster_detection_method={method!r}, by which JAX found no settings: {error} "
        "Write a way that JAX knows and that is in use here, such as 'k8s', 'slurm', 'ompi' or "
        "'mpi4py', or give coordinator_address, num_processes and process_id in its place."
    )
