"""Where the settings of a process are found: arguments, environment, launchers."""

import re
from typing import Any

import numpy as np
import pytest

from linen_train.distributed import _settings
from linen_train.errors import DistributedSettingsError

SLURM = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_NODELIST": "node[007-012,014],gpu1",
    "SLURM_STEP_NUM_TASKS": "14",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x7)",
}
SLURM_PORT = 61440 + 1234567 % 4096
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}
OPEN_MPI_PORT = 61440 + 1531576320 // 4096 % 4096
NAMED = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "2",
}


def find(environment: dict[str, str], *arguments: Any) -> _settings.Settings:
    address, count, number = (*arguments, None, None, None)[:3]
    return _settings.find(address, count, number, environment)


FOUND: dict[str, tuple[dict[str, str], tuple[Any, ...], _settings.Settings]] = {
    "nothing": ({}, (), _settings.ALONE),
    "arguments": (
        {},
        ("10.0.0.1:99", 2, 1),
        _settings.Settings("10.0.0.1:99", 2, 1, "the argument"),
    ),
    "one_process_with_an_address": (
        {},
        ("[fe80::1]:99", 1, 0),
        _settings.Settings("[fe80::1]:99", 1, 0, "the argument"),
    ),
    "one_process": ({}, (None, 1), _settings.ALONE),
    "numbers_of_numpy": (
        {},
        ("h:5", np.int64(2), np.int32(1)),
        _settings.Settings("h:5", 2, 1, "the argument"),
    ),
    "environment": (
        NAMED,
        (),
        _settings.Settings(
            "host:1234", 4, 2, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID"
        ),
    ),
    "arguments_count_more": (
        NAMED,
        (None, 8, 7),
        _settings.Settings("host:1234", 8, 7, "JAX_COORDINATOR_ADDRESS, the argument"),
    ),
    "slurm": (SLURM, (), _settings.Settings(f"node007:{SLURM_PORT}", 14, 3, "SLURM", (1,))),
    "slurm_without_a_count_for_the_step": (
        {key: value for key, value in SLURM.items() if key != "SLURM_STEP_NUM_TASKS"},
        (),
        _settings.Settings(f"node007:{SLURM_PORT}", 16, 3, "SLURM", (1,)),
    ),
    "slurm_one_task_per_node": (
        {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1(x14)", "SLURM_STEP_NODELIST": "gpu1,gpu2"},
        (),
        _settings.Settings(f"gpu1:{SLURM_PORT}", 14, 3, "SLURM"),
    ),
    "slurm_with_a_port": (
        {**SLURM, "JAX_COORDINATOR_PORT": "77", "SLURM_STEP_NODELIST": "n01"},
        (),
        _settings.Settings("n01:77", 14, 3, "SLURM", (1,)),
    ),
    "slurm_with_one_task": ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, (), _settings.ALONE),
    "slurm_without_srun": ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, (), _settings.ALONE),
    "slurm_and_arguments": (SLURM, ("h:5", 2, 0), _settings.Settings("h:5", 2, 0, "the argument")),
    "open_mpi": (OPEN_MPI, (), _settings.Settings(f"10.96.0.1:{OPEN_MPI_PORT}", 4, 2, "Open MPI")),
    "open_mpi_over_ipv6": (
        {
            **OPEN_MPI,
            "OMPI_MCA_orte_hnp_uri": "4096.0;tcp6://[fe80::b9b,2620::2]:43370",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
        },
        (),
        _settings.Settings("[fe80::b9b]:61441", 4, 2, "Open MPI", (0,)),
    ),
    "open_mpi_5": (
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"},
        ("h:5",),
        _settings.Settings("h:5", 4, 2, "the argument, Open MPI"),
    ),
    "open_mpi_with_one_process": ({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"}, (), _settings.ALONE),
}


@pytest.mark.parametrize(("environment", "arguments", "settings"), FOUND.values(), ids=FOUND)
def test_what_is_found(
    environment: dict[str, str], arguments: tuple[Any, ...], settings: _settings.Settings
) -> None:
    found = find(environment, *arguments)
    assert found == settings
    assert {type(found.num_processes), type(found.process_id)} == {int}  # they travel as JSON


WRONG: dict[str, tuple[dict[str, str], tuple[Any, ...], str]] = {
    "no_number": (
        {},
        ("h:1", 2),
        "initialize: found coordinator_address='h:1', num_processes=2, but no process_id. Write "
        "initialize('HOST_OF_PROCESS_0:PORT', num_processes=N, process_id=I), or set JAX_PROCESS_ID in",
    ),
    "address_alone": (
        {"JAX_COORDINATOR_ADDRESS": "h:1"},
        (),
        "but no num_processes and no process_id. Write",
    ),
    "no_address": (
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"},
        (),
        "found num_processes=4, process_id=2, but no coordinator_address. Write",
    ),
    "no_port": ({}, ("host", 2, 1), "found the coordinator's address 'host', expected HOST:PORT"),
    "port_of_letters": ({}, ("host:http", 2, 1), "found the coordinator's address 'host:http'"),
    "port_too_large": ({}, ("host:65536", 2, 1), "with a port from 1 to 65535"),
    "port_zero": ({}, ("host:0", 2, 1), "found the coordinator's address 'host:0'"),
    "bare_ipv6": ({}, ("fe80::1:99", 2, 1), "such as '10.0.0.1:1234' or '[fe80::1]:1234'"),
    "number_too_large": (
        {},
        ("h:1", 2, 2),
        "found process_id=2 of num_processes=2, expected a number from 0 to 1. Give every process",
    ),
    "negative_number": (
        {},
        ("h:1", 2, -1),
        "initialize: found process_id=-1, expected at least 0.",
    ),
    "no_processes": (
        {},
        ("h:1", 0, 0),
        "initialize: found num_processes=0, expected at least 1. Write num_processes=N for N processes, "
        "and process_id=I, from 0 to N - 1, in each of them.",
    ),
    "no_processes_alone": ({}, (None, 0), "found num_processes=0, expected at least 1."),
    "no_processes_in_the_environment": (
        {**NAMED, "JAX_NUM_PROCESSES": "0"},
        (),
        "found num_processes=0, expected at least 1.",
    ),
    "text_for_numbers": (
        {},
        ("h:1", "2", "0"),
        "initialize: found num_processes='2', expected a whole number. Write num_processes=2.",
    ),
    "text_for_a_number": ({}, ("h:1", 2, " 1"), "expected a whole number. Write process_id=1."),
    "words_for_a_number": (
        {},
        ("h:1", 2, "one"),
        "found process_id='one', expected a whole number.",
    ),
    "fraction": ({}, ("h:1", 2.0, 0), "found num_processes=2.0, expected a whole number."),
    "truth": ({}, ("h:1", 2, True), "found process_id=True, expected a whole number."),
    "words": (
        {**NAMED, "JAX_PROCESS_ID": "two"},
        (),
        "found JAX_PROCESS_ID='two' in the environment, expected a whole number.",
    ),
}


@pytest.mark.parametrize(("environment", "arguments", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong(environment: dict[str, str], arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(DistributedSettingsError, match=re.escape(text)):
        find(environment, *arguments)
