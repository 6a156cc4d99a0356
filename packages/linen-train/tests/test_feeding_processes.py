"""Two processes on one machine: shards of batches, prefetching onto all devices, reduced metrics."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import numpy as np

from linen_train.data import ArrayLoader

COUNT = 2
PROGRAM = """
import json, sys
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from linen_train.data import ArrayLoader, prefetch_to_device
from linen_train.metrics import Accuracy, Last, Mean, MetricCollection, Sum

jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("data"))


@jax.jit
def measured(batch):
    x, mask = batch["x"], batch["mask"]
    return MetricCollection(
        {
            "mean": Mean.from_batch(x, mask=mask),
            "sum": Sum.from_batch(mask),
            "accuracy": Accuracy.from_batch(x > 5, mask=mask),
        }
    )


def loader():
    arrays = {"x": np.arange(21.0, dtype=np.float32)}
    return ArrayLoader(
        arrays, 8, epochs=1, shuffle_seed=0, remainder="pad", shard_by_process=True
    )


values = lambda metric: jax.tree.map(float, metric.compute())
with prefetch_to_device(loader(), sharding=split) as batches:
    received = [(batch["x"].shape, values(measured(batch)), batch) for batch in batches]
everywhere = measured(received[-1][2])
local = MetricCollection.empty({"mean": Mean, "sum": Sum, "accuracy": Accuracy})
for batch in loader():
    local = local.merge(measured(batch))
place = Last.from_batch(jax.process_index()).reduce_processes()
print(
    json.dumps(
        {
            "shapes": [shape for shape, _, _ in received],
            "global": [value for _, value, _ in received],
            "global twice": values(everywhere.reduce_processes()),
            "local": values(local),
            "reduced": values(local.reduce_processes()),
            "last": float(place.compute()),
        }
    )
)
"""


def run_all() -> list[Any]:
    """Run the program in every process, and return what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, address, str(index)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index in range(COUNT)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * COUNT
    return [json.loads(output.splitlines()[-1]) for output in outputs]  # gloo prints lines before


def expected(rows: np.ndarray) -> dict[str, float]:
    return {"mean": rows.mean(), "sum": len(rows), "accuracy": (rows > 5).mean()}


def assert_close(found: dict[str, float], rows: np.ndarray) -> None:
    wanted = expected(rows)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


def test_two_processes_measure_what_one_would() -> None:
    order = ArrayLoader(np.arange(21), 8, epochs=1, shuffle_seed=0).order(0)
    whole = np.split(order, [8, 16])
    first, second = run_all()
    for found in (first, second):
        assert found["shapes"] == [[8]] * 3
        for measured, rows in zip(found["global"], whole, strict=True):
            assert_close(measured, rows)
        assert_close(found["global twice"], whole[-1])
        assert_close(found["reduced"], order)
        assert found["last"] == 1
    assert_close(first["local"], np.concatenate([whole[0][:4], whole[1][:4], whole[2][:4]]))
    assert_close(second["local"], np.concatenate([whole[0][4:], whole[1][4:], whole[2][4:]]))
