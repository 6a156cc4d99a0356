"""The steps of the training: how it starts, one update, one evaluation."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from digits import Array, Digits
from model import ConvNet

from linen_train import TrainState


def create_state(seed: int, learning_rate: float) -> TrainState:
    """Return the state before the first step."""
    params_key, dropout_key = jax.random.split(jax.random.key(seed))
    model = ConvNet()
    variables = dict(model.init(params_key, jnp.zeros((1, 8, 8, 1)), train=False))
    return TrainState.create(
        apply_fn=model.apply,
        params=variables.pop("params"),
        collections=variables,  # what is left: the running statistics, "batch_stats"
        rngs={"dropout": dropout_key},
        tx=optax.adamw(learning_rate, weight_decay=1e-3),
    )


@jax.jit
def train_step(state: TrainState, batch: Digits) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the state after one update on a batch, and the metrics of the batch."""

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = state.apply_fn(
            {**state.variables, "params": params},
            batch["image"],
            train=True,
            rngs=state.step_rngs(),
            mutable=["batch_stats"],
        )
        metrics = metrics_of(logits, batch["label"])
        return metrics["loss"], (metrics, updated)

    grads, (metrics, updated) = jax.grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, collections=updated), metrics


@jax.jit
def evaluate(state: TrainState, batch: Digits) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return the logits of a batch and its metrics."""
    logits = state.apply_fn(state.variables, batch["image"], train=False)
    return logits, metrics_of(logits, batch["label"])


def metrics_of(logits: jax.Array, labels: Array) -> dict[str, jax.Array]:
    """Return the mean cross entropy and the fraction of right answers."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return {"loss": losses.mean(), "accuracy": (logits.argmax(-1) == labels).mean()}
