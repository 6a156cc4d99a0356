"""The example of many devices as users run it: one process, eight devices, several processes.

By default one run of 2 processes x 2 devices, and its checkpoint on other layouts. `LINEN_DISTRIBUTED=all`
adds what takes longer: going on, SIGTERM, a killed process, processes that do not find each other.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

MAIN = Path(__file__).resolve().parents[2] / "docs" / "examples" / "many_devices" / "main.py"
SECONDS = 240
PORT_TAKEN = "cannot listen at port"
# The library that connects CPUs says so, from several threads at once.
GLOO = re.compile(
    r"^(?:\[Gloo\] Rank |\d+| is connected to | peer ranks\. "
    r"|Expected number of connected peer ranks is : )*\n",
    re.MULTILINE,
)
HEARTBEAT = 10

everything = pytest.mark.skipif(
    os.environ.get("LINEN_DISTRIBUTED") != "all", reason="LINEN_DISTRIBUTED=all runs it"
)


class Outcome(NamedTuple):
    """How a process ended: its exit status and what it printed."""

    status: int
    output: str
    errors: str


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def started(count: int, devices: int, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the example in some processes; none outlives the block."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONUNBUFFERED": "1",
    }
    address = f"127.0.0.1:{free_port()}"
    processes: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            command = [sys.executable, "-W", "error", str(MAIN), *map(str, arguments)]
            if count > 1:
                command += ["--coordinator", address, "--num-processes", str(count)]
                command += ["--process-id", str(number)]
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            with process:  # closes its pipes
                process.wait(10)


def outcome(process: subprocess.Popen[str]) -> Outcome:
    output, errors = process.communicate(timeout=SECONDS)
    return Outcome(process.returncode, GLOO.sub("", output), GLOO.sub("", errors))


def run(count: int, devices: int, *arguments: object) -> list[Outcome]:
    """Run the example to its end; on another port where somebody took the first one meanwhile."""
    outcomes: list[Outcome] = []
    for _ in range(3):
        with started(count, devices, *arguments) as processes:
            outcomes = [outcome(process) for process in processes]
        if not any(PORT_TAKEN in one.errors for one in outcomes):
            break
    return outcomes


def result_of(outcomes: list[Outcome]) -> tuple[str, str]:
    """Return accuracy and digest that process 0 prints; nothing else is printed by any."""
    for number, one in enumerate(outcomes):
        assert (one.status, one.errors) == (0, ""), (number, one)
    mesh, last = outcomes[0].output.splitlines()
    assert mesh.startswith(f"{len(outcomes)} processes, mesh ")
    assert all(one.output == "" for one in outcomes[1:])
    found = re.fullmatch(r"step \d+, \w+, accuracy ([\d.]+), state (\w{16})", last)
    assert found is not None, last
    return found[1], found[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str]]:
    """A run of 2 processes x 2 devices, which saved steps 20 and 40."""
    output = tmp_path_factory.mktemp("two_by_two")
    arguments = ("--output", output, "--steps", 40, "--save-every", 20, "--model", 2)
    return output, result_of(run(2, 2, *arguments))


def test_two_processes_learn(trained: tuple[Path, tuple[str, str]]) -> None:
    output, (accuracy, _) = trained
    assert float(accuracy) > 0.9
    assert {path.name for path in output.iterdir() if path.name.isdigit()} == {"20", "40"}


LAYOUTS: dict[str, tuple[int, int, int]] = {
    "1x1": (1, 1, 1),
    "2x1": (2, 1, 1),
    "1x8": (1, 8, 4),
    "4x1": (4, 1, 2),
}


@pytest.mark.parametrize(("count", "devices", "model"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_checkpoint_of_two_by_two_is_restored_bit_for_bit(
    trained: tuple[Path, tuple[str, str]], count: int, devices: int, model: int
) -> None:
    output, expected = trained
    assert (
        result_of(run(count, devices, "--output", output, "--show", "--model", model)) == expected
    )


@everything
def test_two_processes_that_resume_end_bit_for_bit_the_same(
    trained: tuple[Path, tuple[str, str]], tmp_path: Path
) -> None:
    arguments = ("--output", tmp_path, "--model", 2)
    result_of(run(2, 2, *arguments, "--steps", 25))
    resumed = result_of(run(2, 2, *arguments, "--steps", 40, "--resume"))
    assert resumed == trained[1]


@everything
@pytest.mark.parametrize(("count", "devices"), [(1, 1), (1, 8), (4, 1)], ids=str)
def test_training_goes_on_on_another_layout(
    trained: tuple[Path, tuple[str, str]], tmp_path: Path, count: int, devices: int
) -> None:
    arguments = ("--output", tmp_path, "--model", 1)
    result_of(run(2, 2, *arguments, "--steps", 20))
    accuracy, _ = result_of(run(count, devices, *arguments, "--steps", 40, "--resume"))
    assert abs(float(accuracy) - float(trained[1][0])) <= 0.002


def wait_for_step(output: Path, step: int) -> None:
    deadline = time.monotonic() + SECONDS
    while not (output / str(step)).is_dir():
        assert time.monotonic() < deadline, f"step {step} was not saved"
        time.sleep(0.05)


ENDLESS = ("--steps", 1_000_000, "--save-every", 20, "--heartbeat-timeout", HEARTBEAT)


SIGNALS: dict[str, tuple[signal.Signals, list[int], list[int]]] = {
    "SIGTERM to the first": (signal.SIGTERM, [0], [143, 143]),
    "SIGTERM to the second": (signal.SIGTERM, [1], [143, 143]),
    "Ctrl-C to both": (signal.SIGINT, [0, 1], [130, 130]),
    "Ctrl-C to the second": (signal.SIGINT, [1], [143, 130]),
}


@everything
@pytest.mark.parametrize(("number", "receivers", "statuses"), SIGNALS.values(), ids=SIGNALS)
def test_after_a_signal_all_save_the_same_step(
    tmp_path: Path, number: signal.Signals, receivers: list[int], statuses: list[int]
) -> None:
    with started(2, 2, "--output", tmp_path, *ENDLESS) as processes:
        wait_for_step(tmp_path, 20)
        for receiver in receivers:
            processes[receiver].send_signal(number)
        outcomes = [outcome(process) for process in processes]
    assert [one.status for one in outcomes] == statuses, outcomes
    step, digest = re.findall(r"step (\d+), SIG\w+, .* state (\w+)", outcomes[0].output)[0]
    shown = run(1, 1, "--output", tmp_path, "--show")
    assert f"step {step}, show" in shown[0].output
    assert result_of(shown)[1] == digest


@everything
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_other_ends_and_says_so(tmp_path: Path, victim: int) -> None:
    with started(2, 2, "--output", tmp_path, *ENDLESS) as processes:
        wait_for_step(tmp_path, 20)
        processes[victim].kill()
        killed = time.monotonic()
        survivor = outcome(processes[1 - victim])
        assert time.monotonic() - killed < 3 * HEARTBEAT
    assert survivor.status not in (0, 143)
    assert re.search(r"stopped sending heartbeats|leader task was preempted/died", survivor.errors)
    accuracy, _ = result_of(run(2, 2, "--output", tmp_path, "--show"))
    assert float(accuracy) > 0.9


@everything
def test_processes_that_do_not_find_each_other(tmp_path: Path) -> None:
    arguments = (sys.executable, str(MAIN), "--output", str(tmp_path), "--timeout", "2")
    processes = [
        subprocess.Popen(
            [*arguments, "--num-processes", "2", "--process-id", str(number)],
            env={**os.environ, "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    host, guest = (outcome(process) for process in processes)
    assert host.status == guest.status == 1
    assert re.search(
        r"DistributedTimeoutError: .*process 0 waited 2 s at .* for process 1 of 2", host.errors
    )
    assert re.search(
        r"DistributedTimeoutError: .*process 1 waited 2 s for process 0 at ", guest.errors
    )
