"""Prints what the training loop costs per step, next to a bare `for` with the same compiled step.

python tests/benchmarks/loop.py

The step is as small as a step can be, so that nothing hides what is around it. Each turn runs the bare
loop and the others one after another on the same batches; a number is the median of the differences
within the turns. To reach: at most 20 microseconds and 1 % of a step more than the bare loop.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from linen_train import Checkpointer, Every, Hook, TrainState, fit
from linen_train.metrics import Mean
from timing import interleave

MICROSECONDS_TO_REACH = 20
Step = Callable[[Any, Any], tuple[Any, Any]]


def make_step(metrics_of: Callable[[jax.Array], dict[str, Any]]) -> Step:
    """Returns a compiled step whose metrics are made from the loss."""

    @jax.jit
    def train_step(state: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
        def loss_of(params: Any) -> jax.Array:
            predicted = batch["x"] @ params["kernel"]
            return jnp.mean((predicted - batch["y"]) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(state.params)
        return state.apply_gradients(grads=grads), metrics_of(loss)

    return train_step


STEPS = {
    "loss": make_step(lambda loss: {"loss": loss}),
    "four scalars": make_step(
        lambda loss: {"loss": loss, "double": 2 * loss, "half": loss / 2, "root": jnp.sqrt(loss)}
    ),
    "two metrics that merge": make_step(
        lambda loss: {"loss": Mean.from_batch(loss), "root": Mean.from_batch(jnp.sqrt(loss))}
    ),
}


def make_state(features: int) -> TrainState:
    """Returns the state to begin with."""
    return TrainState.create(
        apply_fn=lambda variables, x: x @ variables["params"]["kernel"],
        params={"kernel": jnp.zeros((features, features))},
        tx=optax.sgd(1e-4),
    )


def make_batches(features: int, count: int) -> list[dict[str, Any]]:
    """Returns batches that are on the device already."""
    x = np.random.default_rng(0).normal(size=(count, 32, features)).astype(np.float32)
    return [{"x": jnp.asarray(one), "y": jnp.asarray(-one)} for one in x]


def bare(step: Step, state: Any, batches: list[Any]) -> None:
    """Runs the loop that everything is compared with."""
    for batch in batches:
        state, _ = step(state, batch)
    jax.block_until_ready(state)


def looped(step: Step, state: Any, batches: list[Any], **options: Any) -> None:
    """Runs the same in `fit`."""
    result = fit(state, step, batches, epochs=1, progress=False, **options)
    jax.block_until_ready(result.state)


def contestants(features: int, steps: int, directory: str) -> dict[str, tuple[str, str]]:
    """Returns the bare loops and the loops to compare with each, by name."""
    state, batches = make_state(features), make_batches(features, steps)
    calls: dict[str, Callable[[], Any]] = {}
    pairs: dict[str, tuple[str, str]] = {}
    for name, step in STEPS.items():
        calls[f"bare, {name}"] = lambda step=step: bare(step, state, batches)
        options = {name: {}}
        if name == "loss":
            rare = Checkpointer(directory, every_steps=10**9)
            rare.save(0, state)
            options["loss, a hook every 50 steps"] = {"hooks": [Hook(50, lambda event: None)]}
            options["loss, a hook every second"] = {
                "hooks": [Hook(Every(seconds=1), lambda event: None)]
            }
            options["loss, a checkpointer that is not due"] = {"checkpointer": Idle(rare)}
        for title, given in options.items():
            calls[title] = lambda step=step, given=given: looped(step, state, batches, **given)
            pairs[title] = (title, f"bare, {name}")
    CALLS.update(calls)
    return pairs


CALLS: dict[str, Callable[[], Any]] = {}


class Idle:
    """Asks a checkpointer at each step and never saves, so that no turn measures the disk."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.should_save = checkpointer.should_save

    def latest_step(self) -> None:
        """There is no step."""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save nothing."""

    def wait(self) -> None:
        """Wait for nothing."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        pairs = contestants(options.features, options.steps, directory)
        prepared = {name: (lambda call=call: call) for name, call in CALLS.items()}
        timings = interleave(prepared, repeats=options.repeats)
    table = Table("", "bare", "fit", "more", "to reach", title="Microseconds per step")
    for title, (name, reference) in pairs.items():
        scale = 1e6 / options.steps
        one, other = timings.seconds[name], timings.seconds[reference]
        more = scale * median(a - b for a, b in zip(one, other, strict=True))
        base = scale * median(other)
        limit = MICROSECONDS_TO_REACH + base / 100
        table.add_row(
            title, f"{base:.1f}", f"{scale * median(one):.1f}", f"{more:.1f}", f"{limit:.1f}"
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    main()
