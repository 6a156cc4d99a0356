import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train.errors import MetricShapeError, MetricValueError
from linen_train.metrics import Last


def test_the_later_value_stays() -> None:
    first, second = Last.from_batch(1.0), Last.from_batch(2.0)
    assert float(first.merge(second).compute()) == 2.0
    assert float(second.merge(first).compute()) == 1.0
    assert float(Last.empty().merge(first).merge(Last.empty()).compute()) == 1.0
    assert math.isnan(float(Last.empty().merge(Last.empty()).compute()))


@pytest.mark.parametrize(
    ("present", "expected"),
    [([True, True, True], 3.0), ([True, True, False], 2.0), ([False, False, False], math.nan)],
)
def test_the_last_device_that_has_a_value(present: list[bool], expected: float) -> None:
    def step(value: jax.Array, there: jax.Array) -> Last:
        return Last(jnp.where(there, value, jnp.nan), there).reduce("data")

    values = jnp.array([1.0, 2.0, 3.0])
    reduced = jax.vmap(step, axis_name="data")(values, jnp.array(present))
    np.testing.assert_equal(np.asarray(reduced.value), np.full(3, expected, np.float32))
    assert reduced.present.tolist() == [any(present)] * 3


def test_arrays() -> None:
    with pytest.raises(MetricShapeError) as caught:
        Last.from_batch(np.zeros(2))
    assert str(caught.value) == (
        "Last.from_batch: found an array of shape (2,), expected a scalar. Write "
        "Last.from_batch(values[-1])."
    )


@pytest.mark.parametrize(("value", "found"), [("a", "<U1"), (None, "object"), (1j, "complex128")])
def test_what_is_no_number(value: Any, found: str) -> None:
    with pytest.raises(MetricValueError) as caught:
        Last.from_batch(value)
    assert str(caught.value) == (
        f"Last.from_batch: found value of {found}, expected real numbers or booleans."
    )


@pytest.mark.parametrize("value", [3_000_000_000, np.int64(3_000_000_000), 2**70, True, 0.1])
def test_numbers(value: Any) -> None:
    assert Last.from_batch(value).value == np.float32(value)
