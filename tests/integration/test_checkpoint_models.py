"""Train states of real models: no retrace when rebuilt, and checkpoints that change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import linen_modules as nn
from linen_train import Checkpointer, TrainState


class Convolutional(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(self.features, (3, 3))(x.reshape(-1, 4, 4, 1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(3)(x)


class Embedding(nn.Module):
    sizes: tuple[int, ...] = (5, 3)

    def setup(self) -> None:
        self.embed = nn.Embed(16, 8)
        self.norms = [nn.LayerNorm() for _ in self.sizes]
        self.layers = [nn.Dense(size, param_dtype=jnp.bfloat16) for size in self.sizes]
        self.dropout = nn.Dropout(0.25)

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = self.embed(x.astype(jnp.int32)).mean(axis=1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = self.dropout(layer(norm(x)), deterministic=not train)
        return x


MODELS: dict[str, Callable[[], nn.Module]] = {"compact": Convolutional, "setup": Embedding}
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adamw": lambda: optax.adamw(optax.cosine_decay_schedule(0.01, 100)),
    "clipped_momentum": lambda: optax.chain(
        optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)
    ),
}


class Training:
    """A jitted step that counts its traces, and states to run it on."""

    def __init__(self, model: str, optimizer: str) -> None:
        self.model, self.optimizer = MODELS[model], OPTIMIZERS[optimizer]
        self.x = jnp.arange(6 * 16.0).reshape(6, 16) % 16
        self.traces = 0
        self.step = jax.jit(self._step)

    def begin(self) -> TrainState:
        model = self.model()
        variables = dict(model.init(jax.random.key(0), self.x, train=False))
        return TrainState.create(
            apply_fn=model.apply,
            params=variables.pop("params"),
            collections=variables,
            rngs={"dropout": jax.random.key(1)},
            tx=self.optimizer(),
        )

    def run(self, state: TrainState, steps: int) -> TrainState:
        for _ in range(steps):
            state = self.step(state, self.x)
        return state

    def _step(self, state: TrainState, x: jax.Array) -> TrainState:
        self.traces += 1

        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, updated = state.apply_fn(
                {**state.variables, "params": params},
                x,
                train=True,
                rngs=state.step_rngs(),
                mutable=list(state.collections),
            )
            labels = jnp.arange(6) % 3
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updated

        grads, updated = jax.grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads, collections=updated)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_resuming_is_exact_and_traces_nothing(tmp_path: Path, model: str, optimizer: str) -> None:
    training = Training(model, optimizer)
    uninterrupted = training.run(training.begin(), 5)
    with Checkpointer(tmp_path) as checkpointer:
        halfway = training.run(training.begin(), 2)
        checkpointer.save(halfway.step, halfway)
    with Checkpointer(tmp_path) as checkpointer:
        resumed = training.run(checkpointer.restore(training.begin()), 3)
    assert int(resumed.step) == 5
    chex.assert_trees_all_equal(resumed.params, uninterrupted.params)
    chex.assert_trees_all_equal(resumed.collections, uninterrupted.collections)
    chex.assert_trees_all_equal(resumed.opt_state, uninterrupted.opt_state)
    assert training.traces == 1


def test_a_model_configured_otherwise_is_traced_anew() -> None:
    training = Training("compact", "adamw")
    training.run(training.begin(), 1)
    training.model = lambda: Convolutional(features=8)
    training.run(training.begin(), 1)
    assert training.traces == 2


def test_a_checkpoint_of_another_model_says_what_differs(tmp_path: Path) -> None:
    training = Training("compact", "adamw")
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, training.begin())
        training.model = lambda: Convolutional(features=8)
        with pytest.raises(ValueError, match="does not fit the target") as caught:
            checkpointer.restore(training.begin())
    assert "params/Conv_0/kernel: found float32[3,3,1,4], expected float32[3,3,1,8]" in str(
        caught.value
    )
    assert "collections/batch_stats/BatchNorm_0/mean: found float32[4]" in str(caught.value)
