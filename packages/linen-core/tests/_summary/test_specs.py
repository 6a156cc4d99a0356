"""Specs of values."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import FrozenDict, Module
from linen_core._summary.specs import array_spec, array_specs_of, size_of, specs_of, tracers_in


class Color(enum.Enum):
    RED = 1


class Layer(Module):
    features: int = 3


@dataclasses.dataclass
class Batch:
    x: Any
    name: str


@jax.tree_util.register_pytree_node_class
class Strict:
    def __init__(self, x: Any) -> None:
        if not isinstance(x, jax.Array):
            raise TypeError("arrays only")
        self.x = x

    def tree_flatten(self) -> Any:
        return (self.x,), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> Any:
        return cls(*children)

    def __repr__(self) -> str:
        return "Strict(...)"


def spec(*shape: int, dtype: Any = "float32", weak_type: bool = False) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, weak_type=weak_type)


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(jnp.ones((2, 3)), spec(2, 3), id="array"),
        pytest.param(np.zeros(3, np.int8), spec(3, dtype="int8"), id="numpy array"),
        pytest.param(np.float64(1), spec(dtype="float64"), id="numpy scalar"),
        pytest.param(jnp.asarray(2.0), spec(weak_type=True), id="weak type"),
        pytest.param(KEY, spec(dtype=KEY.dtype), id="typed key"),
        pytest.param(spec(4), spec(4), id="spec"),
        pytest.param(None, None, id="None"),
        pytest.param(3, 3, id="number"),
        pytest.param("text", "text", id="string"),
        pytest.param(Color.RED, Color.RED, id="enum"),
        pytest.param({"b": 1, "a": (jnp.ones(1), [])}, {"b": 1, "a": (spec(1), [])}, id="tree"),
        pytest.param({1: True, "a": None}, {1: True, "a": None}, id="keys of two types"),
        pytest.param(FrozenDict(a=jnp.ones(1)), FrozenDict(a=spec(1)), id="FrozenDict"),
        pytest.param(Batch(jnp.ones(2), "b"), {"x": spec(2), "name": "b"}, id="dataclass"),
        pytest.param(Layer(4), "Layer", id="module"),
        pytest.param(Layer, "Layer", id="class"),
        pytest.param(jnp.tanh, "tanh", id="function"),
        pytest.param({3}, "{3}", id="set"),
        pytest.param(Strict(jnp.ones(3)), "Strict(...)", id="pytree of arrays only"),
    ],
)
def test_specs(value: Any, expected: Any) -> None:
    assert specs_of(value) == expected


def test_specs_hold_no_tracers() -> None:
    found: list[Any] = []

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        found.append(specs_of((x, Batch(x, "b"), {"x": x})))
        return x

    with jax.check_tracer_leaks(True):
        run(jnp.ones(3))
    assert found == [(spec(3), {"x": spec(3), "name": "b"}, {"x": spec(3)})]


def test_array_specs_leave_everything_else() -> None:
    layer = Layer()
    assert array_specs_of({"a": jnp.ones(2), "b": 3, "c": layer}) == {
        "a": spec(2),
        "b": 3,
        "c": layer,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, spec(dtype=bool, weak_type=True)),
        (3, spec(dtype="int32", weak_type=True)),
        (1.5, spec(weak_type=True)),
        ("text", "text"),
        (spec(3), spec(3)),
    ],
)
def test_numbers_become_arrays(value: Any, expected: Any) -> None:
    assert array_spec(value) == expected


def test_tracers_are_found_in_any_tree() -> None:
    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        tree = [x, 1, {"b": x, 2: (x, None)}, FrozenDict(a={"x": x}), jnp.tanh]
        assert len(tracers_in(tree)) == 4
        return x

    run(jnp.ones(3))
    assert tracers_in([jnp.ones(3), {"a": 1}]) == []


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, (0, 0)),
        (spec(2, 3), (6, 24)),
        ({"a": spec(2, dtype="bfloat16"), "b": (spec(dtype=bool), None, "text")}, (3, 5)),
        (spec(0, 3), (0, 0)),
        (spec(2, dtype=KEY.dtype), (2, 16)),
    ],
)
def test_sizes(tree: Any, expected: Any) -> None:
    assert size_of(tree) == expected
