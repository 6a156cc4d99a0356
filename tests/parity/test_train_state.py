"""The train state and the loss scale do as those of flax.training do, to the last bit."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

PEER_STATE = import_module("flax.training.train_state")
PEER_SCALE = import_module("flax.training.dynamic_scale")
SUBJECT = import_module("linen_train")
STATES = {"peer": PEER_STATE.TrainState, "subject": SUBJECT.TrainState}
SCALES = {"peer": PEER_SCALE.DynamicScale, "subject": SUBJECT.DynamicScale}
SERIALIZATION = {
    "peer": import_module("flax.serialization"),
    "subject": import_module("linen_train.serialization"),
}
CHECKPOINTS = {
    "peer": import_module("flax.training.checkpoints"),
    "subject": import_module("linen_train.checkpoints"),
}
KEY = "_overwrite_with_gradient"

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "adamw": lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 5)),
    "accumulating": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "accumulating_transformation": lambda: optax.MultiSteps(
        optax.adam(0.1), 3
    ).gradient_transformation(),
}


def assert_same(one: Any, other: Any) -> None:
    """Fail unless two trees hold the same leaves at the same paths, bit for bit."""
    first, second = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (one, other))
    assert first.keys() == second.keys()
    for path, leaf in first.items():
        assert jnp.asarray(leaf).dtype == jnp.asarray(second[path]).dtype, path
        np.testing.assert_array_equal(leaf, second[path], err_msg=str(path))


def predict(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["kernel"]) + params["bias"][None]


def make_params() -> dict[str, jax.Array]:
    kernel = jax.random.normal(jax.random.key(0), (3, 2))
    return {"kernel": kernel, "bias": jnp.zeros(2)}


def from_bytes(reader: str, target: Any, saved: Any, _: Path) -> Any:
    """Write with the library that is not the reader; read."""
    writer = next(name for name in STATES if name != reader)
    return SERIALIZATION[reader].from_bytes(target, SERIALIZATION[writer].to_bytes(saved))


def from_file(reader: str, target: Any, saved: Any, directory: Path) -> Any:
    """The same through files."""
    writer = next(name for name in STATES if name != reader)
    CHECKPOINTS[writer].save_checkpoint_multiprocess(str(directory), saved, 3)
    return CHECKPOINTS[reader].restore_checkpoint(str(directory), target)


@jax.jit
def train_step(state: Any, x: jax.Array) -> Any:
    def loss_of(params: Any) -> jax.Array:
        return (state.apply_fn(params, x) ** 2).mean()

    return state.apply_gradients(grads=jax.grad(loss_of)(state.params))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps(make: Callable[[], Any]) -> None:
    states = {
        name: kind.create(apply_fn=predict, params=make_params(), tx=make())
        for name, kind in STATES.items()
    }
    for step in range(6):
        x = jax.random.normal(jax.random.key(step), (4, 3))
        states = {name: train_step(state, x) for name, state in states.items()}
        for field in ("step", "params", "opt_state"):
            assert_same(getattr(states["peer"], field), getattr(states["subject"], field))


def test_positional_fields() -> None:
    tx = optax.sgd(0.1)
    arguments = (7, predict, make_params(), tx, tx.init(make_params()))
    peer, subject = (kind(*arguments) for kind in STATES.values())
    for field in ("step", "apply_fn", "params", "tx", "opt_state"):
        assert getattr(peer, field) is getattr(subject, field)
    grads = make_params()
    assert_same(
        peer.apply_gradients(grads=grads).params, subject.apply_gradients(grads=grads).params
    )


@pytest.mark.parametrize("name", STATES)
def test_subclasses_written_for_the_peer(name: str) -> None:
    class State(STATES[name]):
        batch_stats: Any
        dynamic_scale: Any

    state = State.create(
        apply_fn=predict,
        params=make_params(),
        tx=optax.sgd(0.1),
        batch_stats={"mean": jnp.zeros(2)},
        dynamic_scale=SCALES[name](),
    )
    state = state.apply_gradients(grads=make_params(), batch_stats={"mean": jnp.ones(2)})
    assert state.batch_stats["mean"].tolist() == [1.0, 1.0]
    assert state.replace(step=5).step == 5
    assert state.dynamic_scale.scale == 65536.0


@pytest.mark.parametrize("read", [from_bytes, from_file], ids=["bytes", "file"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("writer", STATES)
def test_states_are_exchanged(
    writer: str, make: Callable[[], Any], read: Callable[..., Any], tmp_path: Path
) -> None:
    class Peer(STATES["peer"]):
        batch_stats: Any

    class Subject(STATES["subject"]):
        batch_stats: Any

    def state(kind: Any, mean: jax.Array) -> Any:
        fields = {"apply_fn": predict, "params": make_params(), "tx": make()}
        return kind.create(**fields, batch_stats={"mean": mean})

    kinds = {"peer": Peer, "subject": Subject}
    saved = state(kinds.pop(writer), jnp.ones(2)).apply_gradients(grads=make_params())
    ((reader, kind),) = kinds.items()
    restored = read(reader, state(kind, jnp.zeros(2)), saved, tmp_path)
    assert isinstance(restored, kind)
    assert_same(saved, restored)


@pytest.mark.parametrize("make", [OPTIMIZERS["adamw"], OPTIMIZERS["sgd"]], ids=["adamw", "sgd"])
def test_variables_overwritten_with_their_gradients(make: Callable[[], Any]) -> None:
    params = {"params": make_params(), KEY: {"scale": jnp.ones(2), "history": jnp.zeros(4)}}
    states = [kind.create(apply_fn=predict, params=params, tx=make()) for kind in STATES.values()]
    for step in range(3):
        grads = jax.tree.map(lambda leaf, by=step: leaf + by, params)
        peer, subject = states = [state.apply_gradients(grads=grads) for state in states]
        assert_same(peer.params, subject.params)
        assert_same(peer.opt_state, subject.opt_state)
        assert_same(subject.params[KEY], grads[KEY])


def loss(x: jax.Array, y: jax.Array) -> jax.Array:
    return (x * y).sum()


SCALED: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {"scale": 1.0, "growth_interval": 1},
    "fast": {"growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 0},
    # A Python number of twice this size would make the peer warn of an overflow.
    "largest": {"scale": jnp.asarray(3e38), "growth_interval": 0},
    "smallest": {"scale": 2e-38},
    "no_minimum": {"scale": 3.0, "minimum_scale": None},
}
FACTORS = [1.0, 2.0, 1.0, jnp.inf, 1e-3, jnp.nan, 1.0, 1.0, 30000.0, 1.0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
@pytest.mark.parametrize("has_aux", [False, True])
@pytest.mark.parametrize("fields", SCALED.values(), ids=SCALED)
def test_scales(fields: dict[str, Any], has_aux: bool, dtype: Any) -> None:
    def fun(x: jax.Array, y: jax.Array) -> Any:
        return (loss(x, y), {"y": y}) if has_aux else loss(x, y)

    x = jnp.array([1.0, 0.5], dtype)
    peer, subject = (kind(**fields) for kind in SCALES.values())
    for factor in FACTORS:
        y = jnp.full(2, factor, dtype)
        results = [scale.value_and_grad(fun, (0, 1), has_aux)(x, y) for scale in (peer, subject)]
        peer, subject = (result.dynamic_scale for result in results)
        for index in (1, 2, 3):
            assert_same(results[0][index], results[1][index])
        assert results[0]._fields == results[1]._fields
        assert_same(peer.scale, subject.scale)
        assert_same(peer.fin_steps, subject.fin_steps)


def test_scales_over_an_axis() -> None:
    y = jnp.array([[1.0, 2.0], [jnp.inf, 1.0]])
    for rows in (y[:1], y):

        def grads(kind: Any, rows: jax.Array = rows) -> Any:
            def one(row: jax.Array) -> Any:
                result = kind().value_and_grad(loss, axis_name="batch")(jnp.ones(2), row)
                return result.grad, result.finite, result.dynamic_scale.scale

            return jax.vmap(one, axis_name="batch")(rows)

        assert_same(grads(SCALES["peer"]), grads(SCALES["subject"]))
