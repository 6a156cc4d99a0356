"""Interceptors and captured intermediates."""

from typing import Any

import jax
import pytest

from linen_core import MethodContext, Module, compact, intercept_methods

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self, x: float) -> float:
        return x + self.value

    def helper(self, x: float) -> float:
        return x * 10


class Net(Module):
    def setup(self) -> None:
        self.leaf = Leaf(2.0)

    def __call__(self, x: float) -> float:
        return self.leaf.helper(self.leaf(x))


def test_an_interceptor_sees_every_call() -> None:
    seen: list[Any] = []

    def watch(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        y = next_fun(*args, **kwargs)
        seen.append((called.module.name, type(called.module), called.method_name, args, kwargs, y))
        return y

    with intercept_methods(watch):
        assert Net().apply({}, x=1.0) == 30.0
    assert seen == [
        (None, Net, "setup", (), {}, None),
        ("leaf", Leaf, "__call__", (1.0,), {}, 3.0),
        ("leaf", Leaf, "helper", (3.0,), {}, 30.0),
        (None, Net, "__call__", (), {"x": 1.0}, 30.0),
    ]
    assert Net().apply({}, 1.0) == 30.0
    assert len(seen) == 4


def test_the_context_has_the_method_of_the_class_body() -> None:
    found = []

    def watch(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        found.append(called.orig_method)
        return next_fun(*args, **kwargs)

    with intercept_methods(watch):
        Leaf().apply({}, 1.0)
    assert found == [Leaf.__call__.__wrapped__]  # type: ignore[attr-defined]


def test_interceptors_nest_the_last_entered_outermost() -> None:
    order = []

    def named(name: str) -> Any:
        def interceptor(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
            order.append(f"{name} in")
            y = next_fun(*args, **kwargs)
            order.append(f"{name} out")
            return y

        return interceptor

    with intercept_methods(named("first")), intercept_methods(named("second")):
        Leaf().apply({}, 1.0)
    assert order == ["second in", "first in", "first out", "second out"]


def test_an_interceptor_may_change_arguments_and_result() -> None:
    def change(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        if called.method_name == "helper":
            return "instead"
        return next_fun(*(100.0 for _ in args), **kwargs)

    with intercept_methods(change):
        assert Leaf().apply({}, 1.0) == 101.0
        assert Net().apply({}, 1.0) == "instead"


def test_an_interceptor_may_go_on_twice() -> None:
    def twice(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        return next_fun(*args, **kwargs), next_fun(*args, **kwargs)

    with intercept_methods(twice):
        assert Leaf().apply({}, 1.0) == (2.0, 2.0)


def test_errors_leave_no_interceptor_behind() -> None:
    def fail(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), intercept_methods(fail):
        Leaf().apply({}, 1.0)
    assert Leaf().apply({}, 1.0) == 2.0


@pytest.mark.parametrize("name", ["index", "name", "module", "fun", "next_fun", "interceptor"])
def test_intercepted_arguments_may_have_any_name(name: str) -> None:
    class Open(Module):
        def __call__(self, **options: Any) -> Any:
            return options

    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            return Open()(**{name: 1})

    with intercept_methods(lambda next_fun, args, kwargs, called: next_fun(*args, **kwargs)):
        assert Outer().apply({}) == {name: 1}


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        (False, {}),
        (True, {"leaf": {"__call__": (3.0,)}, "__call__": (30.0,)}),
        (lambda module, name: name == "helper", {"leaf": {"helper": (30.0,)}}),
        (lambda module, name: module.name is None, {"setup": (None,), "__call__": (30.0,)}),
    ],
    ids=["nothing", "calls", "by method", "by module"],
)
def test_captured_intermediates(capture: Any, expected: Any) -> None:
    y, updates = Net().apply({}, 1.0, capture_intermediates=capture, mutable=["intermediates"])
    assert (y, updates.get("intermediates", {})) == (30.0, expected)


def test_capturing_makes_the_collection_mutable() -> None:
    captured = {"intermediates": {"leaf": {"__call__": (3.0,)}, "__call__": (30.0,)}}
    assert Net().apply({}, 1.0, capture_intermediates=True) == (30.0, captured)
    assert Net().apply({}, 1.0, capture_intermediates=True, mutable="x") == (30.0, captured)
    assert Net().init(KEY, 1.0, capture_intermediates=True) == captured


def test_init_captures_on_request() -> None:
    variables = Net().init(KEY, 1.0, capture_intermediates=True, mutable=True)
    assert variables == {"intermediates": {"leaf": {"__call__": (3.0,)}, "__call__": (30.0,)}}
    with_output = Net().init_with_output(KEY, 1.0, capture_intermediates=True, mutable=True)
    assert with_output == (30.0, variables)


def test_every_call_of_a_shared_module_is_captured() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: float) -> float:
            leaf = Leaf(name="leaf")
            return leaf(leaf(x))

    _, updates = Twice().apply({}, 1.0, capture_intermediates=True, mutable=["intermediates"])
    assert updates["intermediates"]["leaf"] == {"__call__": (2.0, 3.0)}


def test_setup_is_intercepted_too() -> None:
    class WithSetup(Module):
        def setup(self) -> None:
            self.leaf = Leaf()

        def __call__(self, x: float) -> float:
            return self.leaf(x)

    seen = []

    def note(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        seen.append((type(called.module).__name__, called.method_name))
        return next_fun(*args, **kwargs)

    with intercept_methods(note):
        WithSetup().apply({}, 1.0)
    assert seen == [("WithSetup", "setup"), ("WithSetup", "__call__"), ("Leaf", "__call__")]
