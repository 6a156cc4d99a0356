"""A model of two numbers to be trained, and what the tests of the loop share."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from linen_train import TrainState, fit
from linen_train.data import ArrayLoader

EXAMPLES = 24


BATCH = 4


IN_EPOCH = EXAMPLES // BATCH


def predict(variables: Any, x: jax.Array) -> jax.Array:
    return x @ variables["params"]["kernel"]


OPTIMIZER = optax.adam(0.05)


def make_state() -> TrainState:
    return TrainState.create(
        apply_fn=predict,
        params={"kernel": jnp.zeros(2)},
        tx=OPTIMIZER,
        rngs={"noise": jax.random.key(3)},
        ema_decay=0.9,
    )


@jax.jit
def train_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
    noise = 0.01 * jax.random.normal(state.step_rngs()["noise"], batch["y"].shape)

    def loss_of(params: Any) -> jax.Array:
        return ((state.apply_fn({"params": params}, batch["x"]) + noise - batch["y"]) ** 2).mean()

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=grads), {"loss": loss, "first": batch["y"][0]}


@jax.jit
def evaluate(state: TrainState) -> dict[str, jax.Array]:
    return {"distance": jnp.abs(state.params["kernel"] - jnp.array([1.0, -2.0])).sum()}


def make_loader(epochs: int | None = None) -> ArrayLoader:
    x = np.random.default_rng(0).normal(size=(EXAMPLES, 2)).astype(np.float32)
    y = x @ np.array([1.0, -2.0], np.float32)
    return ArrayLoader({"x": x, "y": y}, BATCH, epochs=epochs, shuffle_seed=1)


def make_batches() -> list[Any]:
    return list(make_loader(epochs=1))


def without_rates(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out what no two runs agree on."""
    return {name: value for name, value in values.items() if not name.endswith("_per_second")}


class Rows:
    """A writer that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.flushes = 0

    def write(self, step: int, values: dict[str, float]) -> None:
        self.rows.append((step, without_rates(values)))

    def flush(self) -> None:
        self.flushes += 1


def run(
    steps: int | None = None, data: Any = None, step_fn: Any = train_step, **options: Any
) -> Any:
    data = make_loader() if data is None else data
    return fit(make_state(), step_fn, data, num_steps=steps, **options)


def generated() -> Iterator[Any]:
    yield from make_batches()


class Patience:
    """Stops when a metric is above a limit."""

    def __init__(self, limit: float = 2.0, seen: tuple[float, ...] = ()) -> None:
        self.limit = limit
        self.seen = seen

    @property
    def should_stop(self) -> bool:
        return any(value > self.limit for value in self.seen)

    def update(self, metric: float) -> "Patience":
        return Patience(self.limit, (*self.seen, metric))
