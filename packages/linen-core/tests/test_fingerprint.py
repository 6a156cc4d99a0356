"""Fingerprints: equal where values are determined alike, different where anything seen differs."""

import dataclasses
import functools
import gc
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import FrozenDict, Module
from linen_core.extend import fingerprint


def scaled(factor: Any) -> Callable[[Any], Any]:
    return lambda x: factor * x


def shift(x: Any, by: Any = 0) -> Any:
    return x + by


class Layer(Module):
    sizes: Any = ()

    def __call__(self, x: Any) -> Any:
        return x


@dataclasses.dataclass
class Mutable:
    value: int = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any = 1
    note: str = dataclasses.field(default="", compare=False)


ALIKE: dict[str, Callable[[], Any]] = {
    "closure": lambda: scaled(2.5),
    "closure over nan": lambda: scaled(float("nan")),
    "closure over closure": lambda: scaled(scaled(2)),
    "partial": lambda: functools.partial(shift, by=2),
    "method": lambda: Layer([1, 2]).__call__,
    "module with a list": lambda: Layer([1, {"a": 2}]),
    "frozen dataclass": lambda: Frozen([1, 2]),
    "fields that are not compared": lambda: Frozen(1, note=str(object())),
    "containers": lambda: [1, (2, {"a": {3}}), slice(4, None)],
}


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_values_made_alike_have_equal_fingerprints(make: Callable[[], Any]) -> None:
    assert fingerprint(make()) == fingerprint(make())
    assert hash(fingerprint(make())) == hash(fingerprint(make()))


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "captured value": (scaled(1.0), scaled(2.0)),
    "captured type": (scaled(1), scaled(True)),
    "captured sign": (scaled(0.0), scaled(-0.0)),
    "captured array": (scaled(jnp.ones(2)), scaled(jnp.ones(2))),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "default": (lambda x, by=1: x + by, lambda x, by=2: x + by),
    "receiver": (Layer([1]).__call__, Layer([2]).__call__),
    "mutable dataclass": (Mutable(), Mutable()),
    "container type": ((1, 2), [1, 2]),
    "type in a FrozenDict": (FrozenDict(a=1), FrozenDict(a=1.0)),
    "sign in a FrozenDict": (FrozenDict(a=0.0), FrozenDict(a=-0.0)),
    "order of a FrozenDict": (FrozenDict(a=1, b=2), FrozenDict(b=2, a=1)),
    "type in a set": ({1}, {True}),
    "sign in a frozenset": (frozenset({0.0}), frozenset({-0.0})),
    "range": (range(1), range(0, 1, 5)),
    "numpy scalar type": (np.float32(1), np.float64(1)),
}


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=DIFFERENT)
def test_values_that_differ_have_different_fingerprints(first: Any, second: Any) -> None:
    assert fingerprint(first) != fingerprint(second)


def test_globals_that_a_function_names_count() -> None:
    source = "def read():\n    return [setting for _ in range(1)]"
    prints = []
    for setting in (0.5, 0.5, -0.5):
        namespace: dict[str, Any] = {"setting": setting * 1.0}
        exec(compile(source, "<cell>", "exec"), namespace)
        prints.append(fingerprint(namespace["read"]))
    assert prints[0] == prints[1] != prints[2]


def test_a_function_may_capture_itself_or_a_name_without_a_value() -> None:
    def make() -> Callable[[int], Any]:
        def count(n: int) -> Any:
            return 0 if n == 0 else 1 + count(n - 1) if n > 0 else later

        result = count
        assert fingerprint(result) == fingerprint(result)
        later = 1
        return result

    assert fingerprint(make()) != fingerprint(make())


def test_the_caller_decides_what_stands_for_an_atom() -> None:
    def atom(value: Any) -> Hashable:
        return "array" if isinstance(value, np.ndarray) else (type(value), value)

    first, second = scaled(np.ones(2)), scaled(np.zeros(3))
    assert fingerprint(first, atom) == fingerprint(second, atom)
    assert fingerprint(first) != fingerprint(second)


def test_a_variable_that_others_give_another_value_counts() -> None:
    def double(x: Any) -> Any:
        return factor * x

    prints = []
    for factor in (2, 2, 3):  # noqa: B007 - the function uses it
        prints.append(fingerprint(double))
        prints.append(fingerprint(functools.partial(double)))
    assert prints[0] == prints[2] != prints[4]
    assert prints[1] == prints[3] != prints[5]


def test_a_global_that_gets_another_value_counts() -> None:
    namespace: dict[str, Any] = {"factor": 2}
    exec("def read():\n    return factor", namespace)
    before = fingerprint(namespace["read"])
    namespace["factor"] = 2.0
    assert fingerprint(namespace["read"]) != before


def test_what_a_function_changes_itself_is_what_it_was_at_first() -> None:
    calls, total = [], 0

    def count() -> None:
        nonlocal total
        total += 1
        calls.append(total)

    before = fingerprint(count)
    count()
    assert fingerprint(count) == before


def test_functions_that_refer_to_themselves_are_not_kept_alive() -> None:
    def make() -> Callable[[int], Any]:
        def count(n: int) -> Any:
            return n and count(n - 1)

        return count

    namespace: dict[str, Any] = {}
    exec("def again(n):\n    return n and again(n - 1)", namespace)
    freed = []
    for fn in (make(), namespace.pop("again")):
        fingerprint(fn)
        freed.append(weakref.ref(fn))
    del fn
    gc.collect()
    assert [ref() for ref in freed] == [None, None]


def test_functions_are_not_kept_alive() -> None:
    fn = scaled(2)
    fingerprint(fn)
    freed = weakref.ref(fn)
    del fn
    gc.collect()
    assert freed() is None


def test_bound_modules_differ_by_their_variables() -> None:
    first, second = (Layer().bind({"params": {"w": value}}) for value in (1, 2))
    assert fingerprint(first.__call__) == fingerprint(first.__call__)
    assert fingerprint(first.__call__) != fingerprint(second.__call__)
