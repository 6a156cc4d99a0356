import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_train.errors import LoopMetricsError
from linen_train.loop._window import BadValue, Window, numbers
from linen_train.metrics import Last, Mean, MetricCollection


def filled(steps: list[Any], examples: list[int] | None = None) -> Window:
    window = Window()
    for step, metrics in enumerate(steps, start=1):
        window.add(step, examples[step - 1] if examples else 1, metrics)
    window.fold()
    return window


@settings(max_examples=25)
@given(
    count=st.integers(1, 100),
    on_device=st.booleans(),
    data=st.data(),
)
def test_means_are_weighted_by_examples(count: int, on_device: bool, data: st.DataObject) -> None:
    examples = [1 + data.draw(st.integers(0, 3)) if count < 40 else 1 + i % 4 for i in range(count)]
    values = np.arange(count, dtype=np.float32)
    steps = [{"loss": jnp.asarray(value) if on_device else float(value)} for value in values]
    window = filled(steps, examples)
    expected = np.average(values.astype(np.float64), weights=examples)
    assert window.log.means() == pytest.approx({"loss": expected}, rel=1e-12)
    assert window.bad is None


def test_log_and_row_are_emptied_on_their_own() -> None:
    window = filled([{"loss": 1.0}, {"loss": 3.0}])
    window.log.clear()
    window.add(3, 1, {"loss": 5.0})
    window.fold()
    assert window.log.means() == {"loss": 5.0}
    assert window.row.means() == {"loss": 3.0}


def test_sums_go_on_from_those_of_an_earlier_run() -> None:
    first = filled([{"loss": 0.1}, {"loss": 0.2}], [1, 2])
    second = Window()
    second.log.restore(first.log.sums(), {})
    second.add(3, 1, {"loss": 0.7})
    second.fold()
    whole = filled([{"loss": 0.1}, {"loss": 0.2}, {"loss": 0.7}], [1, 2, 1])
    assert second.log.means() == whole.log.means()


def merging(step: int) -> dict[str, Any]:
    value = np.float32(step)
    return {
        "mean": Mean.from_batch(value),
        "all": MetricCollection({"last": Last.from_batch(value)}),
    }


def test_metrics_that_merge_go_on_from_an_earlier_run() -> None:
    first = filled([merging(1), merging(2)])
    kept = json.loads(json.dumps(first.log.merged()))
    second = Window()
    second.log.restore({}, kept)
    assert second.log.means() == first.log.means() == {"mean": 1.5, "all/last": 2.0}
    assert second.log.merged() == kept
    second.add(3, 1, merging(9))
    second.fold()
    assert second.log.means() == {"mean": 4.0, "all/last": 9.0}
    other = Window()
    other.log.restore({}, kept)
    other.add(3, 1, {"mean": Last.from_batch(7.0), "all": merging(8)["all"]})
    other.fold()
    assert other.log.means() == {
        "mean": 7.0,
        "all/last": 8.0,
    }  # a metric of another kind begins anew


@pytest.mark.parametrize("count", [1, 3, 31, 32, 33, 100])
def test_metrics_that_merge(count: int) -> None:
    def metrics_of(step: int) -> dict[str, Any]:
        value = np.float32(step)
        mean = Mean.from_batch(value, weights=value)
        return {"mean": mean, "rate": Last.from_batch(value), "loss": jnp.asarray(value)}

    means = filled([metrics_of(step) for step in range(1, count + 1)]).log.means()
    steps = np.arange(1, count + 1)
    expected = {"mean": (steps**2).sum() / steps.sum(), "rate": count, "loss": steps.mean()}
    assert means == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [2, 40])
def test_collections_and_groups(count: int) -> None:
    collection = MetricCollection({"loss": Mean.from_batch(jnp.ones(2))})
    assert filled([collection] * count).log.means() == {"loss": 1.0}
    grouped = {"train": collection, "norms": {"grad": jnp.float32(2.0), "update": 0.5}}
    assert filled([grouped] * count).log.means() == {
        "train/loss": 1.0,
        "norms/grad": 2.0,
        "norms/update": 0.5,
    }


def test_metrics_may_come_and_go() -> None:
    steps = [{"loss": jnp.float32(1.0)}] * 20 + [
        {"loss": jnp.float32(3.0), "norm": jnp.float32(7.0)}
    ] * 20
    assert filled(steps).log.means() == {"loss": 2.0, "norm": 7.0}


@pytest.mark.parametrize("bad", [1, 20, 32, 33, 70, 600])
@pytest.mark.parametrize("kind", ["device", "host", "merging"])
def test_the_first_step_that_is_not_finite(kind: str, bad: int) -> None:
    make = {"device": jnp.float32, "host": float, "merging": Mean.from_batch}[kind]
    good, not_good = make(1.0), make(np.nan)

    def value(step: int) -> Any:
        return not_good if step in (bad, bad + 5) else good

    fine = make(1.0)
    steps = [{"fine": fine, "loss": value(step)} for step in range(1, max(bad + 8, 40))]
    window = filled(steps)
    assert isinstance(window.bad, BadValue)
    assert (window.bad.step, window.bad.name) == (bad, "loss")
    assert np.isnan(window.bad.value)


def test_infinity_is_not_finite() -> None:
    window = filled([{"loss": 1.0}, {"loss": -np.inf}])
    assert window.bad == BadValue(2, "loss", -np.inf)


def test_nothing_is_fetched_before_it_is_asked_for() -> None:
    class Untouchable:
        shape = ()

        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("fetched")

    window = Window()
    for step in range(31):
        window.add(step, 1, {"loss": Untouchable()})


def test_long_windows_hold_few_arrays() -> None:
    window, loss = Window(), jnp.float32(1.0)
    for step in range(5_000):
        window.add(step, 1, {"loss": loss})
    assert len(window._blocks) <= 17
    assert len(window._pending) < 32
    window.fold()
    assert window.log.means() == {"loss": 1.0}


MISUSE = {
    "vector": ({"loss": jnp.ones(3)}, "found a metric 'loss' of shape (3,), expected a scalar"),
    "text": ({"loss": "low"}, "found a metric 'loss' of str, expected a scalar"),
    "none": ({"loss": None}, "found a metric 'loss' of NoneType, expected a scalar"),
    "a number": (1.0, "found metrics of type float, expected a dict from name to scalar"),
}


@pytest.mark.parametrize("count", [1, 32])
@pytest.mark.parametrize(("metrics", "text"), MISUSE.values(), ids=MISUSE)
def test_misuse(metrics: Any, text: str, count: int) -> None:
    with pytest.raises(LoopMetricsError) as caught:
        filled([metrics] * count)
    assert text in str(caught.value)


def test_numbers() -> None:
    metrics = {
        "a": jnp.float32(1.0),
        "b": 2,
        "c": Mean.from_batch(jnp.array([1.0, 2.0])),
        "d": {"e": np.int32(3)},
    }
    assert numbers(metrics) == {"a": 1.0, "b": 2.0, "c": 1.5, "d/e": 3.0}
    with pytest.raises(LoopMetricsError, match="shape"):
        numbers({"a": jax.numpy.ones(2)})
