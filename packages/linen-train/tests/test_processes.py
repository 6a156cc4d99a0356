"""What `initialize` says and passes on; two processes that find each other."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import jax
import pytest

from linen_train.distributed import Processes, initialize
from linen_train.errors import (
    DistributedConnectionError,
    DistributedError,
    DistributedSettingsError,
    DistributedStateError,
)

ADDRESS = "127.0.0.1:1"
PROGRAM = """
import dataclasses, json, sys
from linen_train.distributed import initialize

processes = initialize(*json.loads(sys.argv[1]), timeout=120)
import jax
print(json.dumps([dataclasses.asdict(processes), jax.process_index(), jax.device_count()]))
"""


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "JAX_COORDINATOR", "JAX_NUM_PROC", "JAX_PROCESS")):
            monkeypatch.delenv(name)


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record what JAX is asked for, in a process that has not used its devices, as it were."""
    calls: list[dict[str, Any]] = []

    def record(**options: Any) -> None:
        if options == {"cluster_detection_method": "deactivate"}:  # the look at JAX's state
            raise ValueError("coordinator_address should be defined.")
        calls.append(options)

    monkeypatch.setattr(jax.distributed, "initialize", record)
    return calls


def test_a_process_by_itself(passed_on: list[Any]) -> None:
    processes = initialize()
    assert processes == Processes(0, 1, None, "no settings were found", False)
    assert processes.is_main
    assert passed_on == []


def test_what_jax_is_asked_for(passed_on: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    processes = initialize(address, 1, 0, timeout=5, heartbeat_timeout=7.4, local_device_ids=[1])
    assert (processes.coordinator_address, processes.is_distributed) == (address, True)
    assert passed_on == [
        {
            "coordinator_address": address,
            "num_processes": 1,
            "process_id": 0,
            "local_device_ids": [1],
            "cluster_detection_method": "deactivate",
            "heartbeat_timeout_seconds": 7,
            "initialization_timeout": 20,
        }
    ]


def test_jax_finds_the_settings_by_itself(passed_on: list[Any]) -> None:
    processes = initialize(cluster_detection_method="k8s", timeout=30)
    assert processes == Processes(0, 1, None, "JAX, by 'k8s'", True)
    ((options),) = passed_on
    assert options["cluster_detection_method"] == "k8s"
    assert options["initialization_timeout"] == 30


FAILURES: dict[str, tuple[tuple[Any, ...], Exception, type[DistributedError], str]] = {
    "a_port_in_use": (
        (ADDRESS, 2, 0),
        RuntimeError("Port in use."),
        DistributedConnectionError,
        f"initialize: JAX could not connect the processes at {ADDRESS}: Port in use. Give all "
        "processes another port, and look at what the others say.",
    ),
    "at_an_address_that_jax_has_found": (
        (),
        RuntimeError("Port in use."),
        DistributedConnectionError,
        "initialize: JAX could not connect the processes: Port in use. Give all processes another "
        "port, and look at what the others say.",
    ),
    "no_settings": (
        (),
        ValueError("coordinator_address should be defined."),
        DistributedSettingsError,
        "initialize: found cluster_detection_method='foo', by which JAX found no settings: "
        "coordinator_address should be defined. Write a way that JAX knows and that is in use here, "
        "such as 'k8s', 'slurm', 'ompi' or 'mpi4py', or give coordinator_address, num_processes and "
        "process_id in its place.",
    ),
}


@pytest.mark.parametrize(("arguments", "failure", "error", "text"), FAILURES.values(), ids=FAILURES)
def test_jax_cannot_connect(
    arguments: tuple[Any, ...],
    failure: Exception,
    error: type[DistributedError],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**options: Any) -> None:
        if options == {"cluster_detection_method": "deactivate"}:
            raise ValueError("coordinator_address should be defined.")
        raise failure

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(error) as caught:
        initialize(*arguments, cluster_detection_method="foo")
    assert type(caught.value) is error
    assert str(caught.value) == text


def test_settings_that_jax_does_not_take(
    passed_on: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: Any) -> None:
        raise ValueError("invalid literal for int() with base 10: 'a'")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(DistributedSettingsError, match="JAX does not take the settings: invalid"):
        initialize(address, 1, 0)


ARGUMENTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "address": (("host", 2, 0), "found the coordinator's address 'host', expected HOST:PORT"),
    "count": (
        (ADDRESS, "2", 0),
        "found num_processes='2', expected a whole number. Write num_processes=2.",
    ),
    "number": ((ADDRESS, 2, -1), "found process_id=-1, expected at least 0."),
}


@pytest.mark.parametrize("method", [None, "k8s"])
@pytest.mark.parametrize(("arguments", "text"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_are_checked_before_jax_sees_them(
    arguments: tuple[Any, ...], text: str, method: str | None, passed_on: list[Any]
) -> None:
    with pytest.raises(DistributedSettingsError, match=text):
        initialize(*arguments, cluster_detection_method=method)
    assert passed_on == []


@pytest.mark.parametrize("name", ["timeout", "heartbeat_timeout", "shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.5, float("nan"), float("inf"), "60"])
def test_times_that_make_no_sense(name: str, seconds: Any) -> None:
    options: dict[str, Any] = {name: seconds}
    with pytest.raises(DistributedSettingsError) as caught:
        initialize(**options)
    assert str(caught.value) == (
        f"initialize: found {name}={seconds!r}, expected seconds, more than 0."
    )


def test_a_setting_that_an_older_jax_lacks(passed_on: list[Any]) -> None:
    with pytest.raises(DistributedSettingsError) as caught:
        initialize(shutdown_timeout=3)  # the stand-in takes no such parameter by name
    assert str(caught.value) == (
        f"initialize: found shutdown_timeout=3, but JAX {jax.__version__} has no such setting. Leave "
        "it out, or install a newer JAX."
    )


def test_too_late() -> None:
    jax.devices()
    with pytest.raises(DistributedStateError) as caught:
        initialize(ADDRESS, 2, 0)
    assert str(caught.value) == (
        "initialize: JAX has used its devices already, so that it is too late to connect processes. "
        "Call initialize() before anything that computes or asks for devices, such as jax.devices(), "
        "jax.random.key or jax.numpy.zeros, also in modules that are imported earlier."
    )


def test_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(DistributedStateError) as caught:
        initialize(ADDRESS, 2, 0)
    assert str(caught.value) == (
        "initialize: JAX is set up for several processes already, which can be done once. Write "
        "`if not jax.distributed.is_initialized(): initialize(...)`."
    )


@pytest.mark.parametrize("given", ["arguments", "environment"])
def test_two_processes_find_each_other(given: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    running = []
    for index in range(2):
        arguments: list[Any] = [address, 2, index] if given == "arguments" else []
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        found = {} if arguments else dict(zip(names, (address, "2", str(index)), strict=True))
        environment = os.environ | found | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
        command = [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(arguments)]
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        )
    try:
        outputs = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    for index, output in enumerate(outputs):
        processes, process_index, devices = json.loads(output.splitlines()[-1])
        assert (processes["process_id"], process_index, devices) == (index, index, 4)
        assert (processes["num_processes"], processes["is_distributed"]) == (2, True)
        assert processes["coordinator_address"] == address
