"""The small helpers of training: metrics of devices, schedules, early stopping, prefetching, Orbax."""

import gc
import math
import threading
import time
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_train import lr_schedule
from linen_train.common_utils import get_metrics, onehot, shard, shard_prng_key, stack_forest
from linen_train.early_stopping import EarlyStopping
from linen_train.errors import (
    DataShapeError,
    EarlyStoppingMetricError,
    EarlyStoppingModeError,
    EarlyStoppingOptionError,
    PrefetchClosedError,
)
from linen_train.orbax_utils import (
    is_multi_device_array,
    maybe_construct_transformations,
    restore_args_from_target,
    save_args_from_target,
)
from linen_train.prefetch_iterator import PrefetchIterator
from linen_train.serialization import from_bytes, to_bytes

NAN, INF = math.nan, math.inf


def on_devices(array: Any) -> jax.Array:
    mesh = Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec("x")))


# common_utils


def test_batches_are_split_over_the_devices() -> None:
    sharded = shard({"a": np.arange(32).reshape(16, 2), "b": jnp.ones(8)})
    assert type(sharded["a"]) is np.ndarray
    np.testing.assert_array_equal(sharded["a"], np.arange(32).reshape(8, 2, 2))
    chex.assert_shape(sharded["b"], (8, 1))


@pytest.mark.parametrize("shape", [(7, 2), ()], ids=str)
def test_batches_that_cannot_be_split_are_told_of(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataShapeError) as caught:
        shard({"x": {"y": np.zeros(shape)}})
    assert f"shard: found shape {shape} at x/y, expected" in str(caught.value)


@pytest.mark.parametrize("key", [jax.random.key(1), jax.random.PRNGKey(1)], ids=["typed", "raw"])
def test_each_device_has_a_random_key_of_its_own(key: jax.Array) -> None:
    keys = shard_prng_key(key)
    chex.assert_trees_all_equal(keys, jax.random.split(key, 8))


def test_trees_are_stacked() -> None:
    forest = [{"a": i, "b": np.full(2, i)} for i in range(3)]
    chex.assert_trees_all_equal(
        stack_forest(forest), {"a": np.arange(3), "b": np.repeat(np.arange(3), 2).reshape(3, 2)}
    )
    with pytest.raises(DataShapeError, match="stack_forest: found no trees"):
        stack_forest([])


def test_metrics_are_those_of_the_first_device() -> None:
    steps = [
        {"loss": on_devices(np.full(8, step)), "m": np.full((8, 2), step)} for step in range(3)
    ]
    out = get_metrics(steps)
    np.testing.assert_array_equal(out["loss"], [0, 1, 2])
    chex.assert_shape(out["m"], (3, 2))
    with pytest.raises(DataShapeError, match="get_metrics: found a scalar at 0/loss"):
        get_metrics([{"loss": jnp.float32(1)}])


def test_onehot_has_values_on_and_off() -> None:
    out = onehot(np.array([2, -1, 3]), 3, on_value=2.0, off_value=-1.0)
    np.testing.assert_array_equal(out, [[-1, -1, 2], [-1, -1, -1], [-1, -1, -1]])
    assert out.dtype == jnp.float32
    assert onehot([[1]], 2).tolist() == [[[0.0, 1.0]]]


# lr_schedule


SCHEDULES = {
    "constant": lr_schedule.create_constant_learning_rate_schedule(0.5, 10, 2.0),
    "stepped": lr_schedule.create_stepped_learning_rate_schedule(0.5, 10, [[3, 0.5]], 2.0),
    "cosine": lr_schedule.create_cosine_learning_rate_schedule(0.5, 10, 8, 2.0),
}
RATES = {
    "constant": {0: 0.0, 10: 0.25, 20: 0.5, 100: 0.5},
    "stepped": {0: 0.0, 10: 0.25, 30: 0.5, 31: 0.25, 100: 0.25},
    "cosine": {0: 0.0, 10: 0.25 * (0.5 + 0.5 * math.cos(math.pi / 8)), 40: 0.25, 80: 0.0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_have_their_rates(name: str) -> None:
    for step, rate in RATES[name].items():
        assert float(SCHEDULES[name](step)) == pytest.approx(rate, abs=1e-7)
        assert jax.jit(SCHEDULES[name])(jnp.int32(step)) == pytest.approx(rate, abs=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_optax_takes_the_schedules(name: str) -> None:
    tx = optax.sgd(SCHEDULES[name])
    state = tx.init(jnp.ones(2))
    updates: Any = None
    for _ in range(11):
        updates, state = tx.update(jnp.ones(2), state)
    np.testing.assert_allclose(updates, np.full(2, -RATES[name][10]), rtol=1e-6)


# early_stopping


RUNS: dict[str, tuple[dict[str, Any], list[float], list[bool], bool, float]] = {
    # settings, metrics, whether each improves, whether it stops, the best
    "less is better": ({"patience": 1}, [3.0, 2.0, 2.5, 1.0], [True, True, False, True], False, 1.0),
    "more is better": ({"patience": 1, "mode": "max"}, [3.0, 2.0, 4.0], [True, False, True], False, 4.0),
    "negative, more is better": ({"mode": "max"}, [-3.0, -2.0], [True, True], False, -2.0),
    "patience": ({"patience": 2}, [1.0, 1.0, 1.0, 1.0], [True, False, False, False], True, 1.0),
    "not yet": ({"patience": 2}, [1.0, 1.0, 1.0], [True, False, False], False, 1.0),
    "no patience": ({}, [1.0, 2.0], [True, False], True, 1.0),
    "too small": ({"min_delta": 0.5}, [2.0, 1.5], [True, False], True, 2.0),
    "large enough": ({"min_delta": 0.5}, [2.0, 1.4], [True, True], False, 1.4),
    "large enough, max": ({"min_delta": 0.5, "mode": "max"}, [2.0, 2.6], [True, True], False, 2.6),
    "NaN first": ({"patience": 1}, [NAN, 2.0], [False, True], False, 2.0),
    "NaN first, max": ({"patience": 1, "mode": "max"}, [NAN, -2.0], [False, True], False, -2.0),
    "NaN later": ({"patience": 1}, [2.0, NAN, NAN], [True, False, False], True, 2.0),
    "NaN alone": ({"patience": 1}, [NAN, NAN], [False, False], True, NAN),
    "NaN after infinity": ({"patience": 1, "mode": "max"}, [INF, NAN, 1.0], [True, False, False], True, INF),
    "infinity first": ({"patience": 1}, [INF, INF, 1.0], [True, False, True], False, 1.0),
    "infinity first, max": ({"patience": 2, "mode": "max"}, [INF, 1.0, 1.0], [True, False, False], False, INF),
    "least first": ({"patience": 2}, [-INF, 1.0, 1.0], [True, False, False], False, -INF),
    "least first, max": ({"patience": 2, "mode": "max"}, [-INF, -INF, 1.0], [True, False, True], False, 1.0),
    "infinity after NaN, max": ({"patience": 2, "mode": "max"}, [NAN, INF, 1.0], [False, True, False], False, INF),
    "NaN as the best": ({"patience": 1, "best_metric": NAN}, [2.0], [True], False, 2.0),
    "stopped for good": ({}, [1.0, 2.0, 0.5], [True, False, True], True, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_early_stopping(name: str) -> None:
    settings, metrics, improvements, stops, best = RUNS[name]
    stop = EarlyStopping(**settings)
    found = []
    for metric in metrics:
        stop = stop.update(metric)
        found.append(stop.has_improved)
    assert (found, stop.should_stop) == (improvements, stops)
    np.testing.assert_equal(stop.best_metric, best)
    assert stop.reset() == EarlyStopping(**{**settings, "best_metric": math.inf})


def test_metrics_may_be_arrays() -> None:
    stop = EarlyStopping(mode="max").update(jnp.float32(1)).update(np.float32(2))
    assert stop.best_metric == 2


def test_early_stopping_is_saved_with_its_counts() -> None:
    stop = EarlyStopping(patience=3, mode="max").update(0.5).update(0.25)
    restored = from_bytes(EarlyStopping(patience=0, mode="max"), to_bytes(stop))
    assert restored == stop


def test_another_mode_is_refused() -> None:
    with pytest.raises(EarlyStoppingModeError, match="found mode='least', expected 'min'"):
        EarlyStopping(mode="least")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"patience": -1}, {"min_delta": -0.5}, {"min_delta": NAN}, {"patience": np.int64(-1)}],
    ids=str,
)
def test_settings_below_zero_are_refused(settings: Any) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(EarlyStoppingOptionError) as caught:
        EarlyStopping(**settings)
    assert str(caught.value) == (
        f"EarlyStopping: found {name}={value}, expected a number from 0. Write {name}=0 for the "
        "strictest."
    )


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        (None, "None"),
        ("0.5", "'0.5'"),
        (np.zeros(2), "array([0., 0.])"),
        (jnp.zeros(2), "Array([0., 0.], dtype=float32)"),
        (1j, "1j"),
        (10**400, "1" + 79 * "0"),
    ],
    ids=["none", "text", "numpy", "jax", "complex", "huge"],
)
def test_a_metric_that_is_no_number_is_refused(metric: Any, found: str) -> None:
    with pytest.raises(EarlyStoppingMetricError) as caught:
        EarlyStopping().update(metric)
    assert str(caught.value) == (
        f"EarlyStopping.update: found {found}, expected a real number. Write "
        "update(float(losses.mean()))."
    )


def test_early_stopping_goes_through_transformations() -> None:
    stop = EarlyStopping(patience=3)
    assert jax.tree.map(str, stop).patience == "3"
    assert jax.jit(lambda held: held)(stop).patience == 3
    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.jit(lambda loss: stop.update(loss).best_metric)(1.0)


# prefetch_iterator


@pytest.mark.parametrize("size", [1, 3])
def test_items_arrive_in_order(size: int) -> None:
    items = PrefetchIterator(range(20), buffer_size=size)
    assert list(items) == list(range(20))
    assert list(items) == []


def test_at_most_the_buffer_is_drawn_ahead() -> None:
    drawn: list[int] = []
    items = PrefetchIterator((drawn.append(i) or i for i in range(9)), buffer_size=2)
    assert next(items) == 0
    wait_until(lambda: len(drawn) == 3)
    time.sleep(0.02)
    assert drawn == [0, 1, 2]
    items.close()


def test_errors_of_the_iterator_arrive_in_their_place_again_and_again() -> None:
    def items() -> Any:
        yield 1
        raise KeyError("here")

    prefetched = PrefetchIterator(items(), buffer_size=5)
    assert next(prefetched) == 1
    for _ in range(2):
        with pytest.raises(KeyError, match="here"):
            next(prefetched)


def test_a_closed_iterator_says_so_and_its_thread_ends() -> None:
    before = threading.active_count()
    items = PrefetchIterator(iter(range(9)))
    next(items)
    items.close()
    items.close()
    with pytest.raises(PrefetchClosedError, match="PrefetchIterator: it was closed"):
        next(items)
    wait_until(lambda: threading.active_count() == before)


def test_a_forgotten_iterator_ends_its_thread() -> None:
    before = threading.active_count()
    items = PrefetchIterator(iter(range(9)))
    next(items)
    del items
    gc.collect()
    wait_until(lambda: threading.active_count() == before)


def test_a_buffer_has_room() -> None:
    with pytest.raises(DataShapeError, match="found buffer_size=0, expected at least 1 item"):
        PrefetchIterator(iter(()), buffer_size=0)


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# orbax_utils


def test_split_arrays_are_told_from_copies() -> None:
    mesh = Mesh(np.array(jax.devices()), ("x",))
    copies = jax.device_put(np.ones(8), NamedSharding(mesh, PartitionSpec()))
    assert is_multi_device_array(on_devices(np.ones(8)))
    assert not any(map(is_multi_device_array, [copies, jnp.ones(2), np.ones(2), 3, None]))


def test_arguments_of_orbax_save_and_restore(tmp_path: Any) -> None:
    target = {"a": on_devices(np.arange(8.0)), "b": np.ones(3, "int8"), "c": 2}
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "1", target, save_args=save_args_from_target(target))
        arguments = restore_args_from_target(target)
        restored = checkpointer.restore(tmp_path / "1", restore_args=arguments)
    chex.assert_trees_all_equal(restored, target)
    assert restored["a"].sharding == target["a"].sharding
    assert type(restored["b"]) is np.ndarray


def test_a_mesh_takes_the_place_of_the_one_in_the_target() -> None:
    mesh = Mesh(np.array(jax.devices()[:2]), ("x",))
    target = {"a": on_devices(np.arange(8.0)), "b": jnp.ones(2), "c": 1}
    arguments = restore_args_from_target(target, mesh)
    assert arguments["a"].sharding == NamedSharding(mesh, PartitionSpec("x"))
    assert arguments["b"].sharding == NamedSharding(mesh, PartitionSpec())
    assert not hasattr(arguments["c"], "sharding")


def test_none_is_kept_unless_the_caller_has_transformations() -> None:
    target = {"a": {"b": None}, "c": [1, None]}
    assert maybe_construct_transformations(target, {"d": 1}) == {"d": 1}
    found = maybe_construct_transformations(target, None)
    assert found.keys() == {"a/b", "c/1"}
    assert all(transform.use_fallback for transform in found.values())
    assert maybe_construct_transformations(None, None).keys() == {""}
    assert maybe_construct_transformations(3, None) == {}
