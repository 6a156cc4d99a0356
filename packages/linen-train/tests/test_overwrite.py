"""Variables whose gradients are their new values."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from linen_core import FrozenDict
from linen_train import OVERWRITE_WITH_GRADIENT, TrainState
from linen_train.errors import TrainStateError

PARAMS = {"kernel": jnp.array(2.0)}
SCALES = {"scale": jnp.array(1.0)}
GRADS = {"params": {"kernel": jnp.array(0.5)}, OVERWRITE_WITH_GRADIENT: {"scale": jnp.array(7.0)}}


def inside(params: Any = None) -> TrainState:
    """Return a state that keeps the collection in `params`."""
    params = params or {"params": PARAMS, OVERWRITE_WITH_GRADIENT: SCALES}
    return TrainState.create(
        apply_fn=lambda variables: variables, params=params, tx=optax.adam(1.0), ema_decay=0.5
    )


def beside() -> TrainState:
    """Return a state that keeps it among the other collections."""
    return TrainState.create(
        apply_fn=lambda variables: variables,
        params=PARAMS,
        collections={OVERWRITE_WITH_GRADIENT: SCALES, "batch_stats": {}},
        tx=optax.adam(1.0),
        ema_decay=0.5,
    )


@pytest.mark.parametrize("make", [inside, beside])
def test_gradients_overwrite(make: Any) -> None:
    state = make()
    chex.assert_trees_all_equal(state.variables["params"], PARAMS)
    after = jax.jit(lambda state: state.apply_gradients(grads=GRADS))(state)
    assert after.variables[OVERWRITE_WITH_GRADIENT]["scale"] == 7.0
    assert jnp.allclose(after.variables["params"]["kernel"], 1.0)  # Adam moves by its rate
    assert jnp.allclose(after.ema_variables["params"]["kernel"], 1.5)
    assert after.ema_variables[OVERWRITE_WITH_GRADIENT]["scale"] == 7.0
    assert len(jax.tree.leaves(after.opt_state)) == 3  # count, mu and nu of one parameter
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_nothing_else_in_params_is_lost() -> None:
    state = inside({"params": PARAMS, OVERWRITE_WITH_GRADIENT: SCALES, "fixed": jnp.array(3.0)})
    assert state.apply_gradients(grads=GRADS).params["fixed"] == 3.0


def test_frozen_parameters_stay_frozen() -> None:
    state = inside(FrozenDict({"params": PARAMS, OVERWRITE_WITH_GRADIENT: SCALES}))
    after = state.apply_gradients(grads=FrozenDict(GRADS))
    assert isinstance(after.params, FrozenDict)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_values_stay_where_gradients_are_not_finite() -> None:
    for state in (inside(), beside()):
        after = state.apply_gradients(grads=GRADS, finite=jnp.array(False))
        chex.assert_trees_all_equal(after.replace(step=state.step), state)


MISFITS: dict[str, tuple[Any, Any, str]] = {
    "parameters_alone": (inside, GRADS["params"], "Differentiate with respect to state.params."),
    "overwritten_alone": (
        inside,
        {OVERWRITE_WITH_GRADIENT: SCALES},
        "expected those of 'params' beside '_overwrite_with_gradient'",
    ),
    "part_of_the_collection": (
        beside,
        {"params": PARAMS, OVERWRITE_WITH_GRADIENT: {}},
        "Differentiate with respect to all of the collection.",
    ),
}


@pytest.mark.parametrize(("make", "grads", "text"), MISFITS.values(), ids=MISFITS)
def test_gradients_that_do_not_fit(make: Any, grads: Any, text: str) -> None:
    with pytest.raises(TrainStateError) as caught:
        make().apply_gradients(grads=grads)
    assert text in str(caught.value)


def test_a_state_without_the_collection() -> None:
    state = TrainState.create(apply_fn=lambda: None, params=PARAMS, tx=optax.sgd(1.0))
    with pytest.raises(TrainStateError) as caught:
        state.apply_gradients(grads=GRADS)
    assert str(caught.value) == (
        "TrainState.apply_gradients: found gradients of '_overwrite_with_gradient', but the state "
        "does not carry that collection. Give it to TrainState.create, in collections=."
    )
