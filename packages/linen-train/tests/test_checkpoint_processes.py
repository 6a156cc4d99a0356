"""Several processes save together what any number of processes restores.

Two processes with two devices each run once; what they left is restored here, on eight devices.
"""

import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from linen_train import Checkpointer
from linen_train.errors import CheckpointDataStateError

X = np.arange(64.0, dtype=np.float32).reshape(8, 8)

SAVE = """
    import os, resource, sys, warnings
    warnings.simplefilter("error")
    process, port, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
    from linen_train import Checkpointer
    from linen_train.errors import CheckpointSaveError

    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
    x = np.arange(64.0, dtype=np.float32).reshape(8, 8)
    keys = jax.random.split(jax.random.key(3), 8)

    def put(array, *spec):
        sharding = NamedSharding(mesh, P(*spec))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def make(x):
        return {
            "rows": put(x, "x"),
            "columns": put(x.astype(jnp.bfloat16), None, "x"),
            "everywhere": put(x),
            "keys": jax.jit(lambda k: k, out_shardings=NamedSharding(mesh, P("x")))(keys),
            "local": jnp.arange(3),
            "step": 7,
        }

    def limit_files(size):
        if process == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def check(restored, expected):
        for name in ("rows", "columns", "everywhere", "keys"):
            assert restored[name].sharding == expected[name].sharding, name
            pairs = zip(restored[name].addressable_shards, expected[name].addressable_shards)
            assert all((one.data == other.data).all() for one, other in pairs), name
        np.testing.assert_array_equal(restored["local"], expected["local"])
        assert restored["step"] == 7

    with Checkpointer(directory, every_seconds=1e6) as checkpointer:
        assert not checkpointer.should_save(1)
        checkpointer.save(1, make(x), data={"process": process})
        checkpointer.wait()
        limit_files(200)
        try:
            checkpointer.save(2, make(x * 2))
            checkpointer.wait()
        except CheckpointSaveError as error:
            print(error)
        limit_files(resource.RLIM_INFINITY)
        assert checkpointer.steps() == [1]
        checkpointer.save(3, make(x * 3), data={"process": process})
        checkpointer.wait()
        assert checkpointer.steps() == [1, 3]
        assert checkpointer.data_state() == {"process": process}
        check(checkpointer.restore(make(x * 0), fallback=True), make(x * 3))
        check(checkpointer.restore(make(x * 0), step=1), make(x))
"""


def run_two_processes(code: str, directory: Path) -> list[str]:
    """Run code in two processes that form one JAX program, and return what they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [
        subprocess.Popen(
            [*command, str(process), str(port), str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [output for output, _ in outputs]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    directory = tmp_path_factory.mktemp("processes")
    return directory, run_two_processes(SAVE, directory)


def test_each_process_writes_its_part_once(saved: tuple[Path, list[str]]) -> None:
    directory, _ = saved
    assert sorted(entry.name for entry in directory.iterdir()) == ["1", "3"]
    names = sorted(path.name for path in (directory / "3").iterdir())
    assert names == ["arrays-0.safetensors", "arrays-1.safetensors", "manifest.json"]
    manifest = (directory / "3" / "manifest.json").read_text()
    pieces = {"rows": 4, "columns": 4, "everywhere": 1, "keys": 4, "local": 1, "step": 1}
    assert {name: manifest.count(f'["{name}",') for name in pieces} == pieces


def test_a_process_that_fails_is_named(saved: tuple[Path, list[str]]) -> None:
    directory, (first, second) = saved
    place = f"{directory}: step 2 could not be saved:"
    assert f"{place} process 1 failed: File too large." in first
    assert f"{place} File too large." in second


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_what_two_processes_saved_on_one(saved: tuple[Path, list[str]], devices: int) -> None:
    mesh = jax.make_mesh(
        (devices,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    split = NamedSharding(mesh, PartitionSpec("x"))

    def abstract(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=split)

    keys = jax.random.split(jax.random.key(3), 8)
    target = {
        "rows": abstract((8, 8), jnp.float32),
        "columns": abstract((8, 8), jnp.bfloat16),
        "everywhere": abstract((8, 8), jnp.float32),
        "keys": abstract((8,), keys.dtype),
        "local": jnp.zeros(3, jnp.int32),
        "step": 0,
    }
    with Checkpointer(saved[0]) as checkpointer:
        checkpointer.verify()
        for restored in (checkpointer.restore(target), checkpointer.restore()):
            for name in ("rows", "columns", "everywhere"):
                np.testing.assert_array_equal(np.asarray(restored[name], np.float32), X * 3)
            assert (restored["keys"] == keys).all()
            np.testing.assert_array_equal(restored["local"], np.arange(3))
            assert restored["step"] == 7


def test_the_data_of_another_number_of_processes(saved: tuple[Path, list[str]]) -> None:
    with (
        Checkpointer(saved[0]) as checkpointer,
        pytest.raises(CheckpointDataStateError, match="of 2 processes, expected those of 1"),
    ):
        checkpointer.data_state()
