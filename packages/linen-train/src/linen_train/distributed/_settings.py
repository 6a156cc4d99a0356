"""Where the number of a process, the number of all and the coordinator's address are found.

For each of the three in this order: the argument; the environment variable of JAX's name; what the
launcher (SLURM's `srun`, Open MPI's `mpirun`) says. What a launcher says of a single process counts for
nothing, so that a program runs by itself inside an allocation.
"""

import dataclasses
import numbers
import re
from collections.abc import Mapping
from typing import Any

from linen_train.errors import DistributedSettingsError

ADDRESS = "JAX_COORDINATOR_ADDRESS"
NUM_PROCESSES = "JAX_NUM_PROCESSES"
PROCESS_ID = "JAX_PROCESS_ID"
_HIGH_PORTS = range(65535 - 2**12 + 1, 65536)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a process has to know to find the others.

    Attributes:
        coordinator_address: host and port of process 0; None for a process by itself.
        num_processes: how many processes there are.
        process_id: which of them this one is, from 0.
        source: where the settings are from, in words.
        local_device_ids: which devices of its machine belong to this process; None for all.
    """

    coordinator_address: str | None
    num_processes: int
    process_id: int
    source: str
    local_device_ids: tuple[int, ...] | None = None


ALONE = Settings(None, 1, 0, "no settings were found")


def find(
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    environment: Mapping[str, str],
) -> Settings:
    """Return the settings, from arguments and environment.

    Raises:
        DistributedSettingsError: some are missing or malformed.
    """
    launcher = _slurm(environment) or _open_mpi(environment) or {}
    address, address_source = _first(
        ("the argument", coordinator_address),
        (ADDRESS, environment.get(ADDRESS)),
        (launcher.get("name"), launcher.get("address")),
    )
    count, count_source = _first(
        ("the argument", num_processes),
        (NUM_PROCESSES, _number(environment, NUM_PROCESSES)),
        (launcher.get("name"), launcher.get("num_processes")),
    )
    number, number_source = _first(
        ("the argument", process_id),
        (PROCESS_ID, _number(environment, PROCESS_ID)),
        (launcher.get("name"), launcher.get("process_id")),
    )
    count, number = whole("num_processes", count, 1), whole("process_id", number, 0)
    found = {"coordinator_address": address, "num_processes": count, "process_id": number}
    sources = [address_source, count_source, number_source]
    is_alone = address is None and (count or 1) == 1 and not number
    if not any(sources) or is_alone:
        return ALONE
    if missing := [name for name, value in found.items() if value is None]:
        raise DistributedSettingsError(_incomplete(found, missing))
    if number >= count:
        raise DistributedSettingsError(
            f"initialize: found process_id={number} of num_processes={count}, expected a number from 0 "
            f"to {count - 1}. Give every process a number of its own."
        )
    host_and_port(str(address))
    local = launcher.get("local_device_ids") if number_source == launcher.get("name") else None
    source = ", ".join(dict.fromkeys(str(source) for source in sources))
    return Settings(str(address), count, number, source, local)


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of an address.

    Raises:
        DistributedSettingsError: it does not have the form HOST:PORT.
    """
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]/\s]+)):(\d{1,5})", address)
    if match is None or not 0 < int(match[3]) < 65536:
        raise DistributedSettingsError(
            f"initialize: found the coordinator's address {address!r}, expected HOST:PORT, such as "
            "'10.0.0.1:1234' or '[fe80::1]:1234', with a port from 1 to 65535."
        )
    return match[1] or match[2], int(match[3])


def whole(name: str, value: Any, least: int) -> Any:
    """Return a number of processes, or of one of them, as an `int`; None where there is none.

    Raises:
        DistributedSettingsError: it is no whole number, or less than the least.
    """
    if value is None:
        return None
    is_text = isinstance(value, str) and value.strip().isdecimal()
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        instead = f" Write {name}={int(value)}." if is_text else ""
        raise DistributedSettingsError(
            f"initialize: found {name}={value!r:.80}, expected a whole number.{instead}"
        )
    if value < least:
        raise DistributedSettingsError(
            f"initialize: found {name}={value}, expected at least {least}. Write "
            "num_processes=N for N processes, and process_id=I, from 0 to N - 1, in each of them."
        )
    return int(value)


def _first(*candidates: tuple[Any, Any]) -> tuple[Any, str | None]:
    """Return the first value that is there, and where it is from."""
    for name, value in candidates:
        if value is not None:
            return value, name
    return None, None


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\s*\d+\s*", text):
        raise DistributedSettingsError(
            f"initialize: found {name}={text!r} in the environment, expected a whole number."
        )
    return int(text)


def _incomplete(found: Mapping[str, Any], missing: list[str]) -> str:
    present = ", ".join(f"{name}={value!r}" for name, value in found.items() if value is not None)
    names = {
        "coordinator_address": ADDRESS,
        "num_processes": NUM_PROCESSES,
        "process_id": PROCESS_ID,
    }
    variables = ", ".join(names[name] for name in missing)
    return (
        f"initialize: found {present}, but no {' and no '.join(missing)}. Write "
        "initialize('HOST_OF_PROCESS_0:PORT', num_processes=N, process_id=I), or set "
        f"{variables} in the environment of every process."
    )


def _slurm(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what `srun` says; it sets these variables for every task."""
    nodes, job = environment.get("SLURM_STEP_NODELIST"), environment.get("SLURM_JOB_ID")
    count = _number(environment, "SLURM_STEP_NUM_TASKS") or _number(environment, "SLURM_NTASKS")
    number = _number(environment, "SLURM_PROCID")
    if nodes is None or job is None or number is None or count in (None, 1):
        return None
    port = _number(environment, "JAX_COORDINATOR_PORT") or _high_port(
        int(re.sub(r"\D", "", job) or 0)
    )
    return {
        "name": "SLURM",
        "address": f"{_first_node(nodes)}:{port}",
        "num_processes": count,
        "process_id": number,
        "local_device_ids": _local_ids(
            _number(environment, "SLURM_LOCALID"),
            environment.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0] == "1",
        ),
    }


def _first_node(nodes: str) -> str:
    """Return the first of nodes such as `node[007-012,014],gpu1`."""
    prefix, _, rest = nodes.partition("[") if "[" in nodes.partition(",")[0] else (nodes, "", "")
    if not rest:
        return nodes.partition(",")[0]
    return prefix + re.split(r"[-,\]]", rest, maxsplit=1)[0]


def _high_port(job: int) -> int:
    """Return a port that the processes of a job agree on, and other jobs seldom use."""
    return _HIGH_PORTS[job % len(_HIGH_PORTS)]


def _open_mpi(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what `mpirun` says; the address of its own process is known up to Open MPI 4."""
    count = _number(environment, "OMPI_COMM_WORLD_SIZE")
    number = _number(environment, "OMPI_COMM_WORLD_RANK")
    if number is None or count in (None, 1):
        return None
    uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
    host = re.search(r"tcp://([^,:]+)|tcp6://\[([^,\]]+)", uri)
    port = _number(environment, "JAX_COORDINATOR_PORT")
    if port is None and (job := re.match(r"\d+", uri)):
        port = _high_port(int(job[0]) // 2**12)
    address = None
    if host is not None and port is not None:
        address = f"{host[1]}:{port}" if host[1] else f"[{host[2]}]:{port}"
    return {
        "name": "Open MPI",
        "address": address,
        "num_processes": count,
        "process_id": number,
        "local_device_ids": _local_ids(
            _number(environment, "OMPI_COMM_WORLD_LOCAL_RANK"),
            environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1",
        ),
    }


def _local_ids(number: int | None, is_alone: bool) -> tuple[int, ...] | None:
    """Return the device of one of several processes on a machine; None, for all, if it is alone."""
    return None if number is None or is_alone else (number,)
