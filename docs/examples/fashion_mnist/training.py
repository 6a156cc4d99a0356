"""The steps of the training: how it starts, one update, and the measurement on the test pictures."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clothes import Clothes
from model import ConvNet

from linen_train import TrainState
from linen_train.data import ArrayLoader
from linen_train.metrics import Accuracy, Mean, MetricCollection


def create_state(seed: int, learning_rate: float, steps: int) -> TrainState:
    """Return the state before the first of so many steps."""
    params_key, dropout_key = jax.random.split(jax.random.key(seed))
    model = ConvNet()
    variables = dict(model.init(params_key, jnp.zeros((1, 28, 28, 1)), train=False))
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps)
    return TrainState.create(
        apply_fn=model.apply,
        params=variables.pop("params"),
        collections=variables,  # what is left: the running statistics, "batch_stats"
        rngs={"dropout": dropout_key},
        tx=optax.adamw(schedule, weight_decay=1e-3),
    )


def _train_step(state: TrainState, batch: Clothes) -> tuple[TrainState, MetricCollection]:
    """Return the state after one update on a batch, and the metrics of the batch."""

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = state.apply_fn(
            {**state.variables, "params": params},
            batch["image"],
            train=True,
            rngs=state.step_rngs(),
            mutable=["batch_stats"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean(), (logits, losses, updated)

    grads, (logits, losses, updated) = jax.grad(loss_of, has_aux=True)(state.params)
    metrics = {
        "loss": Mean.from_batch(losses),
        "accuracy": Accuracy.from_logits(logits, batch["label"]),
    }
    state = state.apply_gradients(grads=grads, collections=updated)
    return state, MetricCollection(metrics)


train_step = jax.jit(_train_step, donate_argnums=0)


@jax.jit
def measured(state: TrainState, batch: Any) -> MetricCollection:
    """Return the metrics of a batch of test pictures; its mask leaves out the padding."""
    logits = state.apply_fn(state.variables, batch["image"], train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    metrics = {
        "test_loss": Mean.from_batch(losses, mask=batch["mask"]),
        "test_accuracy": Accuracy.from_logits(logits, batch["label"], mask=batch["mask"]),
    }
    return MetricCollection(metrics)


def make_evaluation(test: Clothes, batch_size: int) -> Callable[[TrainState], MetricCollection]:
    """Return a function that measures a state on all test pictures."""
    batch_size = min(batch_size, len(test["label"]))
    loader = ArrayLoader(test, batch_size, epochs=1, remainder="pad")

    def evaluate(state: TrainState) -> MetricCollection:
        first, *others = (measured(state, batch) for batch in loader)
        for metrics in others:
            first = first.merge(metrics)
        return first

    return evaluate


def digest(state: TrainState) -> str:
    """Return a short name for the exact values of all parameters."""
    content = hashlib.sha256()
    for leaf in jax.tree.leaves(state.params):
        content.update(np.asarray(leaf).tobytes())
    return content.hexdigest()[:16]
