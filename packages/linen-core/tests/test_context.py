"""Thread-local state: what is pushed is popped, and threads do not see each other's."""

import threading

import pytest

from linen_core import Module, compact, intercept_methods
from linen_core._context import context, intercepting


def test_a_thread_starts_with_nothing() -> None:
    found = []

    def look() -> None:
        found.append((context.modules, context.interceptors, context.state_dict_path))

    with intercepting(lambda *args: None):
        context.modules.append("here")
        try:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        finally:
            context.modules.pop()
    assert found == [([None], (), [])]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_entered_is_left(fails: bool) -> None:
    before = (list(context.modules), context.interceptors)
    try:
        with intercepting(len), intercepting(repr):
            assert context.interceptors[-2:] == (len, repr)
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert (list(context.modules), context.interceptors) == before


class Leaf(Module):
    @compact
    def __call__(self, fail: bool = False) -> int:
        if fail:
            raise KeyError
        return 1


class Outer(Module):
    @compact
    def __call__(self, fail: bool = False) -> int:
        return Leaf()(fail)


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_leaves_nothing_behind(fails: bool) -> None:
    try:
        Outer().apply({}, fails)
    except KeyError:
        assert fails
    assert context.modules == [None]


def test_interceptors_are_those_of_the_thread() -> None:
    results = []

    def run() -> None:
        results.append(Leaf().apply({}))

    with intercept_methods(lambda next_fun, args, kwargs, called: 2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert Leaf().apply({}) == 2
    assert results == [1]
    assert Leaf().apply({}) == 1
