import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_train.errors import MetricMergeError, MetricValueError
from linen_train.metrics import Accuracy, Last, Mean, Metric, MetricCollection, Sum

CLASSES: dict[str, type[Metric]] = {
    "loss": Mean,
    "accuracy": Accuracy,
    "examples": Sum,
    "rate": Last,
}


@jax.jit
def measured(values: jax.Array) -> MetricCollection:
    return MetricCollection(
        {
            "loss": Mean.from_batch(values),
            "accuracy": Accuracy.from_batch(values > 1),
            "examples": Sum.from_batch(jnp.ones_like(values, jnp.bool_)),
            "rate": Last.from_batch(values[-1]),
        }
    )


def test_merged_by_name() -> None:
    merged = measured(jnp.array([1.0, 2.0, 3.0])).merge(measured(jnp.array([10.0])))
    assert jax.tree.map(float, merged.compute()) == {
        "loss": 4.0,
        "accuracy": 0.75,
        "examples": 4.0,
        "rate": 10.0,
    }
    assert isinstance(merged["accuracy"], Accuracy)


def test_a_scan_begins_with_an_empty_collection() -> None:
    def step(total: MetricCollection, values: jax.Array) -> tuple[MetricCollection, None]:
        return total.merge(measured(values)), None

    values = jnp.arange(6.0).reshape(3, 2)
    total, _ = jax.lax.scan(step, MetricCollection.empty(CLASSES), values)
    chex.assert_trees_all_close(total, measured(values.reshape(-1)))


def test_empty() -> None:
    computed = jax.tree.map(float, MetricCollection.empty(CLASSES).compute())
    assert computed.pop("examples") == 0.0
    assert all(map(math.isnan, computed.values()))
    assert MetricCollection.empty().compute() == {}


def test_reduced_by_name() -> None:
    def step(values: jax.Array) -> dict[str, jax.Array]:
        return measured(values).reduce("data").compute()

    reduced = jax.vmap(step, axis_name="data")(jnp.arange(4.0).reshape(2, 2))
    assert jax.tree.map(lambda value: value.tolist(), reduced) == {
        "loss": [1.5, 1.5],
        "accuracy": [0.5, 0.5],
        "examples": [4.0, 4.0],
        "rate": [3.0, 3.0],
    }


def test_merging_compiles_once() -> None:
    total = MetricCollection.empty(CLASSES)
    batch = measured(jnp.array([1.0, 2.0]))
    total = total.merge(batch)
    with jax.no_tracing():
        for _ in range(3):
            total = total.merge(batch)
    assert float(total.compute()["examples"]) == 8.0


@pytest.mark.parametrize(
    ("mine", "theirs", "text"),
    [
        (
            Mean.empty(),
            Sum.empty(),
            "Mean.merge: found Sum, expected Mean. Merge metrics of one class; several of them, "
            "by name, go into a MetricCollection.",
        ),
        (
            Mean.empty(),
            Accuracy.empty(),
            "Mean.merge: found Accuracy, expected Mean. Merge metrics of one class; several of "
            "them, by name, go into a MetricCollection.",
        ),
        (
            MetricCollection.empty({"a": Mean, "b": Mean}),
            MetricCollection.empty({"a": Mean, "b": Sum, "c": Last}),
            "MetricCollection.merge: found b: Sum, c: Last, expected b: Mean. Merge collections that "
            "were made alike.",
        ),
        (
            MetricCollection.empty({"a": Mean}),
            Mean.empty(),
            "MetricCollection.merge: found Mean, expected MetricCollection. Merge metrics of one "
            "class; several of them, by name, go into a MetricCollection.",
        ),
    ],
    ids=["classes", "subclass", "names", "no_collection"],
)
def test_what_cannot_be_merged(mine: Metric, theirs: Metric, text: str) -> None:
    with pytest.raises(MetricMergeError) as caught:
        mine.merge(theirs)
    assert str(caught.value) == text


WRONG: Any = MetricCollection({"mean": Mean.empty(), "l": 1.0})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("use", "method"),
    [
        (lambda: WRONG.compute(), "compute"),
        (lambda: WRONG.merge(WRONG), "merge"),
        (lambda: WRONG.reduce("data"), "reduce"),
    ],
    ids=["compute", "merge", "reduce"],
)
def test_what_is_no_metric(use: Callable[[], Any], method: str) -> None:
    with pytest.raises(MetricValueError) as caught:
        use()
    before, _, after = str(caught.value).partition(" at 'l', ")
    assert before.startswith(f"MetricCollection.{method}: found ")
    assert before.endswith("1.0") or method == "merge"  # which is compiled: it sees a tracer
    assert after == "expected a metric. Write MetricCollection({'l': Mean.from_batch(values)})."


def test_what_is_no_class_of_metrics() -> None:
    with pytest.raises(MetricValueError) as caught:
        MetricCollection.empty({"l": 1.0})  # type: ignore[dict-item]
    assert str(caught.value) == (
        "MetricCollection.empty: found 1.0 at 'l', expected a class of metrics. Write "
        "MetricCollection.empty({'l': Mean})."
    )


def test_computing_in_place() -> None:
    collection = measured(jnp.array([1.0, 3.0]))
    computed = jax.tree.map(
        lambda metric: float(metric.compute()),
        collection,
        is_leaf=lambda node: isinstance(node, Metric) and node is not collection,
    )
    assert computed.metrics["loss"] == 2.0
