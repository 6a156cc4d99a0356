import re
from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linen_train import DynamicScale, DynamicScaleResult, TrainState
from linen_train.errors import DynamicScaleError


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


FACTOR = (
    "expected a finite number, more than 1. Write growth_factor=2.0, or growth_interval=2**30 for a "
    "scale that does not grow."
)
SHRINKING = "expected a number between 0 and 1. Write backoff_factor=0.5."
INTERVAL = "expected a whole number of steps, at least 0. Write growth_interval=2000."
MINIMUM = (
    "expected a finite number, at least 0, or None. Write minimum_scale=1.0, or None for no limit."
)
STATIC: dict[str, tuple[Any, str]] = {
    "growth_factor": ([1.0, 0.5, -2, float("inf"), float("nan"), True, "2", None], FACTOR),
    "backoff_factor": ([2, 1.0, 0, -0.5, float("nan"), "0.5", None], SHRINKING),
    "growth_interval": ([-1, 2.5, float("inf"), float("nan"), "2", None], INTERVAL),
    "minimum_scale": ([-1.0, float("inf"), float("nan"), "1"], MINIMUM),
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [(name, value, expected) for name, (values, expected) in STATIC.items() for value in values],
)
def test_static_fields_out_of_range(name: str, value: Any, expected: str) -> None:
    for make in (DynamicScale, DynamicScale().replace):
        fields: dict[str, Any] = {name: value}
        with pytest.raises(DynamicScaleError) as caught:
            make(**fields)
        assert str(caught.value) == f"DynamicScale: found {name}={value!r}, {expected}"


@pytest.mark.parametrize(
    "fields",
    [
        {"growth_interval": 0},
        {"growth_interval": 1e3},
        {"growth_interval": np.int64(5)},
        {"growth_factor": 2},
        {"growth_factor": np.float32(1.5)},
        {"minimum_scale": 0},
        {"minimum_scale": 65536.0},
        {"minimum_scale": None, "scale": 1e-30},
        {"scale": 1},
    ],
)
def test_fields_in_range(fields: dict[str, Any]) -> None:
    result = DynamicScale(**fields).value_and_grad(cube)(jnp.array(2.0))
    assert bool(result.finite)


BAD_SCALES: dict[str, tuple[dict[str, Any], str]] = {
    "negative": (
        {"scale": -1.0},
        "DynamicScale: found scale=-1.0, expected a finite number, more than 0. Write scale=65536.0.",
    ),
    "zero": ({"scale": 0}, "found scale=0, expected a finite number, more than 0."),
    "nan": ({"scale": float("nan")}, "found scale=nan, expected a finite number, more than 0."),
    "infinite": ({"scale": np.float32("inf")}, "found scale=inf, expected a finite number"),
    "below_the_minimum": (
        {"scale": 2.0, "minimum_scale": 4.0},
        "DynamicScale: found minimum_scale=4.0, expected at most the scale, which is 2.0. Write "
        "scale=4.0, or a smaller minimum.",
    ),
}


@pytest.mark.parametrize(("fields", "text"), BAD_SCALES.values(), ids=BAD_SCALES)
def test_scales_that_make_no_sense(fields: dict[str, Any], text: str) -> None:
    scale = DynamicScale(**fields)
    uses: list[Callable[[], Any]] = [
        lambda: scale.value_and_grad(cube),
        lambda: scale.replace(scale=jnp.asarray(scale.scale)),
        lambda: TrainState.create(
            apply_fn=cube, params=jnp.float32(1.0), tx=optax.sgd(0.1), dynamic_scale=scale
        ),
    ]
    for use in uses:
        with pytest.raises(DynamicScaleError, match=re.escape(text)):
            use()


def test_jax_may_rebuild_it_with_anything() -> None:
    scale = DynamicScale()
    zeros = jax.tree.map(lambda _: 0, scale)
    assert (zeros.fin_steps, zeros.scale) == (0, 0)
    assert jax.tree.map(lambda a, b: float(a - b), scale, scale).scale == 0.0
    many = jax.vmap(lambda by: jax.tree.map(lambda x: x * by, scale))(jnp.array([-1.0, 1.0]))
    axes = DynamicScale(fin_steps=0, scale=0)
    assert jax.vmap(lambda one: one.scale, (axes,))(many).tolist() == [-65536.0, 65536.0]
    assert jax.tree.map(lambda _: None, scale).scale is None
    assert jax.eval_shape(lambda: scale).scale.shape == ()


def test_arrays_are_not_looked_at() -> None:
    scale = DynamicScale(scale=jnp.float32(0.0), minimum_scale=None)
    with jax.transfer_guard("disallow"):
        scale.value_and_grad(cube)
        scale.replace(growth_interval=1)
