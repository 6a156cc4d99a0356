from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from linen_train import DynamicScale, DynamicScaleResult, TrainState


def cube(x: Any) -> Any:
    return x * x * x


def test_loss_and_gradients_are_not_scaled() -> None:
    scale, finite, loss, grad = DynamicScale(scale=8.0).value_and_grad(cube)(jnp.array(2.0))
    assert (bool(finite), float(loss), float(grad)) == (True, 8.0, 12.0)
    assert (int(scale.fin_steps), float(scale.scale)) == (1, 8.0)


def test_auxiliary_output_is_left_alone() -> None:
    result = DynamicScale().value_and_grad(lambda x, y: (x * y, "label"), 1, has_aux=True)(3.0, 2.0)
    assert isinstance(result, DynamicScaleResult)
    assert (float(result.aux[0]), result.aux[1]) == (6.0, "label")
    assert float(result.grad) == 3.0


def test_several_arguments() -> None:
    result = DynamicScale().value_and_grad(lambda x, y: x * y, (0, 1))(3.0, {"y": 2.0}["y"])
    assert [float(leaf) for leaf in result.grad] == [2.0, 3.0]


def test_gradients_are_in_float32() -> None:
    grad = DynamicScale(scale=2.0).value_and_grad(cube)(jnp.array(1.0, jnp.float16)).grad
    assert grad.dtype == jnp.float32


def test_no_gradients_are_finite() -> None:
    assert bool(DynamicScale().value_and_grad(lambda x: jnp.array(1.0))({}).finite)


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_it_shrinks_at_once_and_grows_after_a_while(bad: float) -> None:
    scale = DynamicScale(growth_factor=4.0, growth_interval=2, scale=16.0)
    seen = []
    for factor in (1.0, 1.0, 1.0, 1.0, bad, 1.0):
        scale, finite, *_ = scale.value_and_grad(lambda x, f=factor: f * x)(jnp.array(1.0))
        seen.append((bool(finite), int(scale.fin_steps), float(scale.scale)))
    assert seen == [
        (True, 1, 16.0),
        (True, 2, 16.0),
        (True, 0, 64.0),
        (True, 1, 64.0),
        (False, 0, 32.0),
        (True, 1, 32.0),
    ]


@pytest.mark.parametrize(("minimum", "expected"), [(4.0, 4.0), (None, 2.5)])
def test_the_smallest_scale(minimum: float | None, expected: float) -> None:
    scale = DynamicScale(scale=5.0, minimum_scale=minimum)
    assert scale.value_and_grad(lambda x: jnp.inf * x)(1.0).dynamic_scale.scale == expected


@pytest.mark.parametrize("largest", [3e38, jnp.array(3e38, jnp.float32)], ids=["number", "array"])
def test_the_largest_scale(largest: float | jax.Array) -> None:
    scale = DynamicScale(scale=largest, growth_interval=0)
    assert scale.value_and_grad(lambda x: 1e-30 * x)(1.0).dynamic_scale.scale == (
        jnp.finfo(jnp.float32).max
    )


def test_gradients_are_averaged_over_an_axis_before_they_are_judged() -> None:
    def gradient(x: jax.Array) -> Any:
        result = DynamicScale().value_and_grad(cube, axis_name="replica")(x)
        return result.grad, result.finite, result.dynamic_scale.scale

    grads, finite, scales = jax.vmap(gradient, axis_name="replica")(jnp.array([1.0, 3.0]))
    assert grads.tolist() == [15.0, 15.0]
    assert finite.all()
    _, finite, scales = jax.vmap(gradient, axis_name="replica")(jnp.array([1.0, jnp.inf]))
    assert not finite.any()
    assert scales.tolist() == [32768.0, 32768.0]


def test_a_state_carries_it_and_skips_what_is_not_finite() -> None:
    state = TrainState.create(
        apply_fn=lambda variables, x: x * variables["params"],
        params=jnp.float32(2.0),
        tx=optax.adam(0.5),
        collections={"batch_stats": jnp.float32(0.0)},
        rngs={"dropout": jax.random.key(0)},
        ema_decay=0.5,
        dynamic_scale=DynamicScale(),
    )
    traces = []

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, x: jax.Array) -> TrainState:
        traces.append(1)

        def loss_of(params: jax.Array) -> jax.Array:
            return state.apply_fn({"params": params}, x)

        assert state.dynamic_scale is not None
        scale, finite, _, grads = state.dynamic_scale.value_and_grad(loss_of)(state.params)
        return state.apply_gradients(
            grads=grads,
            finite=finite,
            collections={"batch_stats": x},
            dynamic_scale=scale,
        )

    before = jax.device_get((state.params, state.opt_state, state.collections, state.ema_params))
    state = step(state, jnp.float32(jnp.inf))
    chex.assert_trees_all_equal(
        (state.params, state.opt_state, state.collections, state.ema_params), before
    )
    assert state.dynamic_scale is not None
    assert (int(state.step), float(state.dynamic_scale.scale)) == (1, 32768.0)
    state = step(state, jnp.float32(1.0))
    assert int(state.opt_state[0].count) == 1
    assert float(state.collections["batch_stats"]) == 1.0
    assert len(traces) == 1
