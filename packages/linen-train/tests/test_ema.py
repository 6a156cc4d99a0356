from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linen_train import TrainState
from linen_train.errors import TrainStateError


def make_state(
    params: Any, decay: float | None = 0.75, tx: Any = None, **options: Any
) -> TrainState:
    return TrainState.create(
        apply_fn=lambda variables: variables,
        params=params,
        tx=tx or optax.sgd(1.0),
        ema_decay=decay,
        **options,
    )


def test_the_average_starts_at_the_parameters_and_follows_them() -> None:
    state = make_state({"w": jnp.array([4.0, 8.0])})
    expected = np.array([4.0, 8.0])
    for grads in ([1.0, -1.0], [2.0, 0.0], [-4.0, 1.0]):
        state = state.apply_gradients(grads={"w": jnp.array(grads)})
        expected = 0.75 * expected + 0.25 * np.asarray(state.params["w"])
        chex.assert_trees_all_close(state.ema_params["w"], expected, rtol=1e-6)
    assert not np.allclose(state.ema_params["w"], state.params["w"])


def test_few_bits_are_averaged_in_float32() -> None:
    state = make_state({"w": jnp.ones(2, jnp.bfloat16)}, decay=0.999)
    assert state.ema_params["w"].dtype == jnp.float32
    state = state.apply_gradients(grads={"w": jnp.full(2, -1.0, jnp.bfloat16)})
    chex.assert_trees_all_close(state.ema_params["w"], jnp.full(2, 1.001), rtol=1e-6)
    assert state.ema_variables["params"]["w"].dtype == jnp.bfloat16


def test_integers_take_the_newest_value() -> None:
    state = make_state({"w": jnp.ones(2), "count": jnp.array(1)}, tx=optax.identity())
    after = state.apply_gradients(grads={"w": jnp.ones(2), "count": jnp.array(2)})
    assert after.ema_params["count"] == 3
    assert after.ema_params["count"].dtype == jnp.int32


def test_variables_with_the_average() -> None:
    stats = {"batch_stats": {"mean": jnp.zeros(2)}}
    state = make_state({"w": jnp.ones(2)}, collections=stats)
    state = state.apply_gradients(grads={"w": jnp.ones(2)})
    chex.assert_trees_all_equal(
        state.ema_variables, {"params": {"w": jnp.full(2, 0.75)}, **state.collections}
    )


def test_a_donated_state_holds_no_buffer_twice() -> None:
    step = jax.jit(lambda state: state.apply_gradients(grads={"w": jnp.ones(2)}), donate_argnums=0)
    state = step(make_state({"w": jnp.ones(2)}))
    chex.assert_trees_all_equal(step(state).params["w"], jnp.full(2, -1.0))


def test_accumulated_gradients_move_the_average_with_the_parameters() -> None:
    state = make_state({"w": jnp.array(4.0)}, tx=optax.MultiSteps(optax.sgd(1.0), 2))
    averages = []
    for _ in range(4):
        state = state.apply_gradients(grads={"w": jnp.array(1.0)})
        averages.append(float(state.ema_params["w"]))
    assert averages == [4.0, 3.75, 3.75, 0.75 * 3.75 + 0.25 * 2.0]


def test_no_average() -> None:
    state = make_state({"w": jnp.ones(2)}, decay=None)
    assert state.apply_gradients(grads={"w": jnp.ones(2)}).ema_params is None
    with pytest.raises(TrainStateError) as caught:
        _ = state.ema_variables
    assert str(caught.value) == (
        "TrainState.ema_variables: found no moving average, expected one. Write "
        "TrainState.create(..., ema_decay=0.999)."
    )


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    with pytest.raises(TrainStateError, match="expected at least 0 and less than 1"):
        make_state({}, decay=decay)
