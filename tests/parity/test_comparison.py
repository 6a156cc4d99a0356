"""The comparison sees what it must see."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from .comparison import differences

ONES = jnp.ones(3)
DIFFERENT: dict[str, tuple[Any, Any, str]] = {
    "value": ({"a": ONES.at[0].add(0.5)}, {"a": ONES}, "/a: 4.19e+06 ulps apart"),
    "one ulp": (jnp.nextafter(ONES, ONES + 1), ONES, "(the whole): 1 ulps apart"),
    "shape": (
        [ONES],
        [jnp.ones(2)],
        "/0: found jax.Array float32[3], expected jax.Array float32[2]",
    ),
    "dtype": (ONES.astype(jnp.bfloat16), ONES, "found jax.Array bfloat16[3]"),
    "kind": (np.ones(3, np.float32), ONES, "found numpy.ndarray float32[3]"),
    "weak type": (
        jnp.asarray(1.0),
        jnp.asarray(1.0, jnp.float32),
        "found jax.Array float32[] weak",
    ),
    "missing": ({}, {"a": {"b": ONES}}, "/a: missing {'b': 'jax.Array float32[3]'}"),
    "unexpected": ({"a": 1}, {}, "/a: unexpected int"),
    "container": ([1], (1,), "found list, expected tuple"),
    "empty containers": ({"a": {}}, {"a": ()}, "/a: found dict, expected tuple"),
    "container and leaf": ({"a": {}}, {"a": 1}, "/a: found dict, expected int"),
    "number and None": (None, 1, "found NoneType, expected int"),
    "integers": (jnp.arange(2), jnp.arange(2) + 1, "inf ulps apart"),
    "not a number": (ONES * jnp.nan, ONES, "inf ulps apart"),
    "infinities": (ONES * jnp.inf, -ONES * jnp.inf, "inf ulps apart"),
    "text": ("a", "b", "found 'a', expected 'b'"),
}
SAME: dict[str, tuple[Any, Any]] = {
    "arrays": ({"a": [ONES, (None, "b")]}, {"a": [ONES, (None, "b")]}),
    "not a number": (ONES * jnp.nan, ONES * jnp.nan),
    "signs of zero": (jnp.zeros(2), -jnp.zeros(2)),
    "empty": ({"a": {}, "b": jnp.zeros(0)}, {"b": jnp.zeros(0), "a": {}}),
}


@pytest.mark.parametrize(("found", "expected", "line"), DIFFERENT.values(), ids=DIFFERENT)
def test_differences_are_seen(found: Any, expected: Any, line: str) -> None:
    lines = list(differences(found, expected))
    assert len(lines) == 1
    assert line in lines[0]


@pytest.mark.parametrize(("found", "expected"), SAME.values(), ids=SAME)
def test_equal_trees_are_equal(found: Any, expected: Any) -> None:
    assert not list(differences(found, expected))


def test_tolerance_is_in_ulps_of_the_largest_magnitude() -> None:
    expected = jnp.asarray([1000.0, 1e-3], jnp.float32)
    found = expected.at[1].add(2**-14)
    assert not list(differences(found, expected, ulps=1))
    assert list(differences(found, expected, ulps=0))
