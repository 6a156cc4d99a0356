import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from linen_core import struct
from linen_core.errors import StateDictMismatchError
from linen_core.state_dict import from_state_dict, to_state_dict
from linen_train import DynamicScale, TrainState
from linen_train.errors import TrainStateError


@dataclasses.dataclass(frozen=True)
class Line:
    """Stands for a model: compared by value, with an `apply` of its own."""

    slope: float

    def apply(self, variables: Mapping[str, Any], x: jax.Array) -> jax.Array:
        return self.slope * x + variables["params"]["bias"]


class UnhashableLine(Line):
    """Two of these cannot be compared before they are traced."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def make_state(model: Line | None = None, rate: float = 0.5, **fields: Any) -> TrainState:
    return TrainState.create(
        apply_fn=(model or Line(2.0)).apply,
        params={"bias": jnp.ones(3)},
        tx=optax.adam(rate),
        collections={"batch_stats": {"mean": jnp.zeros(3)}, "cache": {"index": jnp.array(0)}},
        rngs={"dropout": jax.random.key(1), "noise": jax.random.key(2)},
        **fields,
    )


def test_create() -> None:
    state = make_state()
    assert isinstance(state.step, jax.Array)
    assert state.step.dtype == jnp.int32
    assert not state.step.weak_type
    chex.assert_trees_all_equal(state.opt_state, optax.adam(0.5).init(state.params))
    assert list(state.variables) == ["params", "batch_stats", "cache"]
    chex.assert_trees_all_equal(state.apply_fn(state.variables, jnp.ones(3)), jnp.full(3, 3.0))


def test_everything_but_the_functions_is_a_leaf() -> None:
    paths = {
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(make_state())
    }
    assert ".step" in paths
    assert ".collections['batch_stats']['mean']" in paths
    assert ".rngs['dropout']" in paths
    assert not any("apply_fn" in path or "tx" in path for path in paths)


def test_apply_gradients_is_the_optimizer() -> None:
    state = make_state()
    grads = {"bias": jnp.array([1.0, -2.0, 0.0])}
    tx = optax.adam(0.5)
    updates, opt_state = tx.update(grads, tx.init(state.params), state.params)
    after = state.apply_gradients(grads=grads)
    assert int(after.step) == 1
    chex.assert_trees_all_equal(after.params, optax.apply_updates(state.params, updates))
    chex.assert_trees_all_equal(after.opt_state, opt_state)
    chex.assert_trees_all_equal(after.collections, state.collections)


def test_apply_gradients_replaces_the_collections_it_is_given() -> None:
    updated = {"batch_stats": {"mean": jnp.ones(3)}}
    after = make_state().apply_gradients(grads={"bias": jnp.zeros(3)}, collections=updated)
    chex.assert_trees_all_equal(after.collections["batch_stats"], updated["batch_stats"])
    assert set(after.collections) == {"batch_stats", "cache"}


def test_a_collection_the_state_does_not_carry() -> None:
    with pytest.raises(TrainStateError) as caught:
        make_state().apply_gradients(
            grads={"bias": jnp.zeros(3)}, collections={"intermediates": {}, "cache": {}}
        )
    assert str(caught.value) == (
        "TrainState.apply_gradients: found updates of the collections ['intermediates'], but the "
        "state carries ['batch_stats', 'cache']. Pass only those to carry on, "
        "collections={name: updated[name]}, or give the others to TrainState.create."
    )


def test_parameters_among_the_collections() -> None:
    with pytest.raises(TrainStateError, match=r"params=variables\.pop\('params'\)"):
        TrainState.create(
            apply_fn=Line(1.0).apply, params={}, tx=optax.sgd(1.0), collections={"params": {}}
        )


def test_fields_that_there_are_not() -> None:
    with pytest.raises(TrainStateError, match=r"\['batch_stats'\].* collections=\{'batch_stats': "):
        make_state(batch_stats={"mean": jnp.zeros(3)})


class MeasuredState(TrainState):
    best: Any


def test_the_state_dict_has_what_is_used() -> None:
    def keys(state: TrainState) -> set[str]:
        return set(to_state_dict(state))

    used = {"step", "params", "opt_state"}
    bare = {"apply_fn": Line(1.0).apply, "params": {"bias": jnp.ones(3)}, "tx": optax.sgd(1.0)}
    assert keys(TrainState.create(**bare)) == used
    assert keys(MeasuredState.create(**bare, best=None)) == {*used, "best"}
    full = make_state(ema_decay=0.5, dynamic_scale=DynamicScale())
    assert keys(full) == {*used, "collections", "rngs", "ema_params", "dynamic_scale"}
    restored = from_state_dict(
        make_state(ema_decay=0.5, dynamic_scale=DynamicScale()),
        {**to_state_dict(full), "step": jnp.array(7)},
    )
    chex.assert_trees_all_equal(restored, full.replace(step=jnp.array(7)))
    with pytest.raises(StateDictMismatchError, match="ema_params"):
        from_state_dict(make_state(dynamic_scale=DynamicScale()), to_state_dict(full))


def test_a_bare_key() -> None:
    key: Any = jax.random.key(0)
    with pytest.raises(TrainStateError, match=r"Write rngs=\{'dropout': key\}"):
        TrainState.create(apply_fn=Line(1.0).apply, params={}, tx=optax.sgd(1.0), rngs=key)


def test_step_rngs_depend_on_base_key_and_step_alone() -> None:
    state = make_state()
    later = state.apply_gradients(grads={"bias": jnp.zeros(3)})
    chex.assert_trees_all_equal(later.rngs, state.rngs)
    assert later.step_rngs()["dropout"] == jax.random.fold_in(jax.random.key(1), 1)
    assert later.step_rngs()["dropout"] != state.step_rngs()["dropout"]
    assert later.step_rngs()["dropout"] != later.step_rngs()["noise"]
    restarted = make_state().replace(step=jnp.array(1, jnp.int32))
    chex.assert_trees_all_equal(restarted.step_rngs(), later.step_rngs())


def test_subclasses_add_fields_with_and_without_defaults() -> None:
    class AveragingState(TrainState):
        average: Any
        decay: float = struct.field(pytree_node=False, default=0.9)

    state = AveragingState.create(
        apply_fn=Line(1.0).apply, params=jnp.ones(2), tx=optax.sgd(1.0), average=jnp.zeros(2)
    )
    after = state.apply_gradients(grads=jnp.ones(2), average=jnp.ones(2))
    assert isinstance(after, AveragingState)
    assert after.decay == 0.9
    chex.assert_trees_all_equal(after.average, jnp.ones(2))


class CountingStep:
    """A jitted training step that counts its traces."""

    def __init__(self) -> None:
        self.traces = 0
        self.run = jax.jit(self._step)

    def _step(self, state: TrainState, x: jax.Array) -> TrainState:
        self.traces += 1

        def loss(params: Any) -> jax.Array:
            return (state.apply_fn({**state.variables, "params": params}, x) ** 2).sum()

        return state.apply_gradients(grads=jax.grad(loss)(state.params))


def test_no_retrace_from_step_to_step() -> None:
    step, state = CountingStep(), make_state()
    for _ in range(3):
        state = step.run(state, jnp.ones(3))
    assert step.traces == 1


def test_no_retrace_for_a_rebuilt_model_and_optimizer() -> None:
    step = CountingStep()
    first = step.run(make_state(Line(2.0)), jnp.ones(3))
    second = step.run(make_state(Line(2.0)), jnp.ones(3))
    step.run(first, jnp.ones(3))
    step.run(second, jnp.ones(3))
    assert step.traces == 1
    assert jax.tree.structure(first) == jax.tree.structure(make_state(Line(2.0)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (make_state(Line(2.0)), make_state(Line(3.0))),
        (make_state(rate=0.5), make_state(rate=0.25)),
        (make_state(UnhashableLine(2.0)), make_state(UnhashableLine(2.0))),
    ],
    ids=["model", "optimizer", "model_that_cannot_be_compared"],
)
def test_a_retrace_where_something_may_differ(first: TrainState, second: TrainState) -> None:
    step = CountingStep()
    step.run(first, jnp.ones(3))
    step.run(second, jnp.ones(3))
    assert step.traces == 2


def test_the_new_model_is_used() -> None:
    step = CountingStep()
    outputs = [
        step.run(make_state(Line(slope), rate=0.5), jnp.ones(3)).opt_state[0].mu["bias"]
        for slope in (2.0, 3.0)
    ]
    assert not jnp.array_equal(*outputs)


def test_abstract_state() -> None:
    abstract = jax.eval_shape(make_state)
    assert jax.tree.structure(abstract) == jax.tree.structure(make_state())
    assert abstract.rngs["dropout"].dtype == jax.random.key(0).dtype


def test_positional_fields() -> None:
    tx = optax.identity()
    state = TrainState(3, Line(1.0).apply, {"bias": jnp.ones(3)}, tx, tx.init({}))
    assert state.step == 3
    assert state.apply_gradients(grads={"bias": jnp.ones(3)}).step == 4


def test_subclasses_add_positional_fields() -> None:
    class StateWithStatistics(TrainState):
        batch_stats: Any

    tx = optax.identity()
    state = StateWithStatistics(0, Line(1.0).apply, {}, tx, tx.init({}), {"mean": jnp.ones(1)})
    assert state.batch_stats == {"mean": jnp.ones(1)}


def test_a_subclass_may_redeclare_a_field() -> None:
    class ScaledState(TrainState):
        dynamic_scale: Any  # pyright: ignore[reportGeneralTypeIssues]

    state = ScaledState.create(
        apply_fn=Line(1.0).apply, params={}, tx=optax.sgd(1.0), dynamic_scale=None
    )
    assert state.apply_gradients(grads={}).dynamic_scale is None


MISFITS: dict[str, tuple[Any, str]] = {
    "missing": ({}, "bias is missing"),
    "unknown": ({"bias": jnp.ones(3), "kernel": jnp.ones(1)}, "kernel is no parameter"),
    "renamed": ({"bais": jnp.ones(3)}, "bias is missing; bais is no parameter"),
    "shape": ({"bias": jnp.ones((2, 2))}, "bias is [2, 2], its parameter [3]"),
    "stretching": ({"bias": jnp.ones((4, 1))}, "bias is [4, 1], its parameter [3]"),
    "stretched": ({"bias": jnp.ones(1)}, "bias is [1], its parameter [3]"),
    "container": ([jnp.ones(3)], "bias is missing; 0 is no parameter"),
}


@pytest.mark.parametrize(("grads", "text"), MISFITS.values(), ids=MISFITS)
def test_gradients_that_do_not_fit(grads: Any, text: str) -> None:
    with pytest.raises(TrainStateError) as caught:
        make_state().apply_gradients(grads=grads)
    assert str(caught.value) == (
        f"TrainState.apply_gradients: found gradients that do not fit the parameters: {text}. "
        "Differentiate with respect to state.params, all of it."
    )


def test_errors_of_optimizers_are_their_own() -> None:
    def fail(updates: Any, state: Any, params: Any = None) -> Any:
        raise KeyError("rate")

    state = make_state().replace(tx=optax.GradientTransformation(lambda params: (), fail))
    with pytest.raises(KeyError, match="rate"):
        state.apply_gradients(grads={"bias": jnp.ones(3)})


def test_arguments_of_the_optimizer() -> None:
    tx = optax.chain(optax.sgd(1.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=2))
    state = TrainState.create(apply_fn=Line(1.0).apply, params=jnp.array(0.0), tx=tx)
    for _ in range(4):
        state = state.apply_gradients(grads=jnp.array(0.0), optimizer_args={"value": 1.0})
    assert float(state.opt_state[1].scale) == 0.5
    plain = make_state().apply_gradients(grads={"bias": jnp.ones(3)}, optimizer_args={"value": 1.0})
    assert int(plain.step) == 1


def accumulating(**options: Any) -> TrainState:
    return TrainState.create(
        apply_fn=Line(1.0).apply,
        params={"bias": jnp.zeros(3)},
        tx=optax.MultiSteps(optax.adam(optax.linear_schedule(1.0, 0.0, 4)), 2, **options),
        rngs={"dropout": jax.random.key(0)},
    )


def test_accumulated_gradients() -> None:
    state = accumulating()
    plain = TrainState.create(
        apply_fn=state.apply_fn,
        params=state.params,
        tx=optax.adam(optax.linear_schedule(1.0, 0.0, 4)),
    )
    keys = []
    for update in range(3):
        before = state.params
        for part in (0.0, 2.0):
            assert int(state.step) == 2 * update + int(part > 0)
            assert int(state.opt_state.gradient_step) == update
            keys.append(jax.random.key_data(state.step_rngs()["dropout"]).tolist())
            chex.assert_trees_all_equal(state.params, before)
            state = state.apply_gradients(grads={"bias": jnp.full(3, update + part)})
        plain = plain.apply_gradients(grads={"bias": jnp.full(3, update + 1.0)})
        chex.assert_trees_all_close(state.params, plain.params, rtol=1e-6)
    assert len({tuple(key) for key in keys}) == 6  # each batch has random keys of its own


def test_no_retrace_for_a_rebuilt_accumulating_optimizer() -> None:
    step = CountingStep()
    step.run(accumulating(), jnp.ones(3))
    step.run(step.run(accumulating(), jnp.ones(3)), jnp.ones(3))
    assert step.traces == 1
    step.run(accumulating(use_grad_mean=False), jnp.ones(3))
    assert step.traces == 2
