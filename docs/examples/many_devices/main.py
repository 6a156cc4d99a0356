"""Trains one model on one device, on many, or in many processes: the program stays the same.

What changes is the mesh, the devices with named axes. How each array is split over it is said once, by
the names of its axes (in `model.py`) and the rules that map them to axes of the mesh (here).
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from model import Classifier

from data import FEATURES, examples
from linen_train import Checkpointer, FitResult, TrainState, fit
from linen_train.data import ArrayLoader
from linen_train.distributed import (
    abstract_sharded,
    batch_shard,
    init_sharded,
    initialize,
    make_mesh,
    shard_batch,
)
from linen_train.metrics import Accuracy, Mean, MetricCollection

# Parameters are split twice: their inputs over the devices that also split the examples (FSDP), their
# outputs over those of "model" (tensor parallel). On a mesh where an axis has size 1, nothing is split.
RULES = [("embed", "data"), ("mlp", "model"), ("classes", None)]
FEATURES_OF_ONE = jax.ShapeDtypeStruct((1, FEATURES), jnp.float32)


def main() -> int:
    """Run the command line and return the exit status."""
    arguments = parse()
    processes = initialize(
        arguments.coordinator,
        arguments.num_processes,
        arguments.process_id,
        timeout=arguments.timeout,
        heartbeat_timeout=arguments.heartbeat_timeout,
    )
    mesh = make_mesh(data=-1, model=arguments.model)
    if processes.is_main:
        print(f"{processes.num_processes} processes, mesh {dict(mesh.shape)}", flush=True)

    with Checkpointer(arguments.output, every_steps=arguments.save_every) as checkpointer:
        if arguments.show:
            target = abstract_sharded(
                Classifier(),
                jax.random.key(0),
                FEATURES_OF_ONE,
                mesh=mesh,
                rules=RULES,
                create=create,
            )
            result = FitResult(checkpointer.restore(target), checkpointer.steps()[-1], "show")
        else:
            result = train(arguments, mesh, checkpointer, is_main=processes.is_main)
    accuracy = evaluate(result.state, examples(1_000, seed=1), mesh)
    digest = fingerprint(result.state, mesh)
    if processes.is_main:
        print(f"step {result.step}, {result.stopped_by}, accuracy {accuracy:.4f}, state {digest}")
    return result.exit_code


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/many_devices"))
    parser.add_argument("--steps", type=int, default=400, help="the step to end at")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--batch-size", type=int, default=128, help="examples, over all devices")
    parser.add_argument("--model", type=int, default=1, help="devices that split each layer")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--show", action="store_true", help="only restore the newest checkpoint")
    group = parser.add_argument_group("several processes", "not needed under srun and mpirun")
    group.add_argument("--coordinator", help="host and port of process 0")
    group.add_argument("--num-processes", type=int)
    group.add_argument("--process-id", type=int)
    group.add_argument("--timeout", type=float, default=60, help="seconds to wait for the others")
    group.add_argument(
        "--heartbeat-timeout",
        type=float,
        default=30,
        help="seconds until a silent one counts as dead",
    )
    return parser.parse_args()


def train(
    arguments: argparse.Namespace,
    mesh: jax.sharding.Mesh,
    checkpointer: Checkpointer,
    is_main: bool,
) -> FitResult[TrainState]:
    """Train from the start, or from the newest checkpoint, whatever mesh it was saved on."""
    # Made in parts: no device ever holds what it does not keep, optimizer included.
    state = init_sharded(
        Classifier(), jax.random.key(0), FEATURES_OF_ONE, mesh=mesh, rules=RULES, create=create
    )
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    index, count = batch_shard(mesh)
    loader = ArrayLoader(
        examples(5_120, seed=0),
        arguments.batch_size,
        shuffle_seed=0,
        epochs=None,
        shard_index=index,
        shard_count=count,
    )
    return fit(
        state,
        jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, None)),
        loader,
        num_steps=arguments.steps,
        log_every=None,
        checkpointer=checkpointer,
        resume=arguments.resume,
        progress=is_main,
        prefetch=2,
        sharding=NamedSharding(mesh, PartitionSpec("data")),
    )


def create(variables: Any) -> TrainState:
    """Make the state before the first step; `init_sharded` traces this."""
    return TrainState.create(
        apply_fn=Classifier().apply, params=variables["params"], tx=optax.adam(3e-3)
    )


def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, Any]]:
    """Make one update. Nothing here knows of devices: the compiler follows the arrays."""

    def loss_of(params: Any) -> jax.Array:
        logits = state.apply_fn({"params": params}, batch["x"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=grads), {"loss": loss}


@jax.jit
def measure(state: TrainState, batch: dict[str, jax.Array], mask: jax.Array) -> MetricCollection:
    """Count what the model gets right, of the examples that the mask keeps."""
    logits = state.apply_fn(state.variables, batch["x"])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
    return MetricCollection(
        {
            "accuracy": Accuracy.from_logits(logits, batch["y"], mask=mask),
            "loss": Mean.from_batch(losses, mask=mask),
        }
    )


def evaluate(state: TrainState, arrays: dict[str, np.ndarray], mesh: jax.sharding.Mesh) -> float:
    """Return the accuracy on all examples; the last batch is padded, and the padding left out."""
    index, count = batch_shard(mesh)
    loader = ArrayLoader(
        arrays, 256, epochs=1, remainder="pad", shard_index=index, shard_count=count
    )
    total = MetricCollection.empty({"accuracy": Accuracy, "loss": Mean})
    for part in loader:
        batch = shard_batch(part, mesh)
        total = total.merge(measure(state, batch, batch["mask"]))
    return float(total.compute()["accuracy"])


def fingerprint(state: TrainState, mesh: jax.sharding.Mesh) -> str:
    """Return a digest of every bit of the state, the same however it is split."""
    digest = hashlib.sha256()
    gathered = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gathered):
        whole = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {whole.dtype} {whole.shape}".encode())
        digest.update(whole.tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
