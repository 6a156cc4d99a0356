import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train.errors import MetricShapeError
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
    with pytest.raises(MetricShapeError, match=r"found an array of shape \(2,\), expected a sca"):
        Last.from_batch(np.zeros(2))
