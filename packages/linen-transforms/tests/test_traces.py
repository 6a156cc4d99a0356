"""Traces that `jit` keeps: found again by key, dropped with the class, limited in number."""

import gc
import pickle
import weakref
from typing import Any

import chex
import jax
import jax.numpy as jnp

from linen_transforms import _traces
from linen_transforms._traces import Traces, traces_of

NOTHING_DONATED = ((), ())


class Counted:
    """A body that counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, variables: Any, keys: Any, args: Any, kwargs: Any) -> jax.Array:
        self.runs += 1
        return variables + keys + sum(args) + sum(kwargs.values())


def test_equal_keys_share_a_trace() -> None:
    traces, first, second = Traces(), Counted(), Counted()
    for body in (first, second):
        call = traces.find(("key",), body, NOTHING_DONATED)
        chex.assert_trees_all_equal(call(1.0, 2.0, 3.0, y=4.0), jnp.asarray(10.0))
    assert (first.runs, second.runs) == (1, 0)


def test_other_keys_and_shapes_run_again() -> None:
    traces, body = Traces(), Counted()
    traces.find("a", body, NOTHING_DONATED)(1.0, 2.0)
    traces.find("b", body, NOTHING_DONATED)(1.0, 2.0)
    traces.find("b", body, NOTHING_DONATED)(jnp.ones(3), 2.0)
    assert body.runs == 3


def test_arguments_after_the_first_two_are_donated() -> None:
    given = {"args": jnp.ones(8), "kwargs": jnp.ones(8)}
    call = Traces().find(
        "key", lambda v, k, args, kwargs: (args[0] + 1, kwargs["y"] + 1), ((0,), ("y",))
    )
    call(None, None, given["args"], y=given["kwargs"])
    assert [array.is_deleted() for array in given.values()] == [True, True]


def test_a_call_lets_go_of_its_body() -> None:
    traces, body = Traces(), Counted()
    traces.find("key", body, NOTHING_DONATED)(1.0, 2.0)
    remembered = weakref.ref(body)
    del body
    gc.collect()
    assert remembered() is None


def test_traces_go_with_their_class() -> None:
    class Owner:
        pass

    assert traces_of(Owner) is traces_of(Owner)
    remembered = weakref.ref(traces_of(Owner))
    del Owner
    gc.collect()
    assert remembered() is None


def test_a_subclass_has_traces_of_its_own() -> None:
    class Parent:
        pass

    class Child(Parent):
        pass

    assert traces_of(Parent) is not traces_of(Child)


def test_functions_of_scopes_share_one_place() -> None:
    assert traces_of(None) is traces_of(None)


def test_the_least_used_go_first(monkeypatch: Any) -> None:
    monkeypatch.setattr(_traces, "_MOST_REMEMBERED", 2)
    traces, body = Traces(), Counted()
    for key in ("a", "b", "a", "c", "a", "b"):
        traces.find(key, body, NOTHING_DONATED)(1.0, 2.0)
    assert body.runs == 4  # "b" had made room for "c"


def test_pickled_traces_are_empty() -> None:
    traces, body = Traces(), Counted()
    traces.find("key", body, NOTHING_DONATED)(1.0, 2.0)
    copy = pickle.loads(pickle.dumps(traces))
    copy.find("key", body, NOTHING_DONATED)(1.0, 2.0)
    assert body.runs == 2
