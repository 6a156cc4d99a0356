"""Random trees of modules survive copies, pickles, binding and unbinding."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import chex
import cloudpickle
import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_core import Module

from .random_modules import X, modules

KEYS = {"params": jax.random.key(0), "noise": jax.random.key(1)}
NOISE = {"noise": jax.random.key(2)}

ROUND_TRIPS: dict[str, Callable[[Any], Any]] = {
    "clone": lambda model: model.clone(),
    "Module.copy": lambda model: Module.copy(model),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "cloudpickle": lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
}
few = settings(max_examples=20)


def initialized(model: Any) -> Any:
    return model.init_with_output(KEYS, X)


@pytest.mark.parametrize("trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@given(model=modules())
@few
def test_copies_do_the_same(trip: Any, model: Any) -> None:
    copied = trip(model)
    assert copied == model
    assert repr(copied) == repr(model)
    assert type(copied.children) is type(model.children)
    chex.assert_trees_all_equal(initialized(copied), initialized(model))


@given(model=modules(), used=st.booleans())
@few
def test_bound_modules_do_the_same_and_unbind(model: Any, used: bool) -> None:
    variables = model.init(KEYS, X)
    expected = model.apply(variables, X, rngs=NOISE)
    bound = model.bind(variables, rngs=NOISE)
    text = repr(bound)
    assert bound._state.needs_setup is model.bind(variables)._state.needs_setup
    if used:
        chex.assert_trees_all_equal(bound(X), expected)
        assert len(repr(bound)) >= len(text)
    again, found = bound.unbind()
    assert again == model
    assert repr(again) == repr(model)
    chex.assert_trees_all_equal(found, variables)
    chex.assert_trees_all_equal(again.apply(found, X, rngs=NOISE), expected)


@pytest.mark.parametrize("name", ["copy", "deepcopy", "pickle", "cloudpickle"])
@given(model=modules(), used=st.booleans())
@few
def test_bound_modules_stay_bound(name: str, model: Any, used: bool) -> None:
    variables = model.init(KEYS, X)
    bound = model.bind(variables, rngs=NOISE, mutable=["state"])
    expected, updates = model.apply(variables, X, rngs=NOISE, mutable=["state"])
    copied = ROUND_TRIPS[name](bound)
    if used:
        bound(X)
    chex.assert_trees_all_equal(copied(X), expected)
    chex.assert_trees_all_equal(copied.variables, {**variables, **updates})
    assert copied.unbind()[0] == model


@given(model=modules())
@few
def test_abstract_modules_have_the_same_tree(model: Any) -> None:
    abstract = model.abstract(X, rngs=KEYS)
    y, variables = jax.eval_shape(lambda x: initialized(model), X)
    assert (abstract.output_specs, abstract.variables) == (y, variables)
    assert abstract(X) == y
    assert abstract.unbind()[0] == model
    bound = model.bind(model.init(KEYS, X), rngs=NOISE)
    bound(X)
    assert tree_of(abstract) == tree_of(bound)


def tree_of(module: Any) -> Any:
    children = {name: tree_of(child) for name, child in module._state.children.items()}
    return type(module), module.path, children
