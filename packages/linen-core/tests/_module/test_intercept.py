"""Interceptors and captured intermediates."""

from typing import Any

import jax
import pytest

from linen_core import MethodContext, Module, compact, intercept_methods
from linen_core._context import context

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


def test_the_context_has_the_method_of_the_class_body_bound() -> None:
    found = []

    def watch(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
        found.append(called.orig_method)
        return called.orig_method(*args, **kwargs)

    with intercept_methods(watch):
        assert Leaf().apply({}, 1.0) == 2.0
    assert [method.__func__ for method in found] == [Leaf.__call__.__wrapped__]  # type: ignore[attr-defined]


def test_interceptors_nest_as_with_blocks_do() -> None:
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
    assert order == ["first in", "second in", "second out", "first out"]


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


def double(next_fun: Any, args: Any, kwargs: Any, called: MethodContext) -> Any:
    return 2 * next_fun(*args, **kwargs)


def test_what_the_caller_gets_is_captured() -> None:
    class Doubles(Module):
        @compact
        def __call__(self, x: float) -> float:
            with intercept_methods(double):
                return Leaf(name="leaf")(x)

    leaf, captured = (4.0,), {"leaf": {"__call__": (4.0,)}, "__call__": (4.0,)}
    assert Doubles().apply({}, 1.0, capture_intermediates=True)[1] == {"intermediates": captured}
    with intercept_methods(double):
        _, updates = Leaf().apply({}, 1.0, capture_intermediates=True)
    assert updates == {"intermediates": {"__call__": leaf}}


@pytest.mark.parametrize("captures", [False, True])
def test_capturing_ends_at_an_apply_inside(captures: bool) -> None:
    class Applies(Module):
        @compact
        def __call__(self, x: float) -> Any:
            inner = Leaf(parent=None)
            return inner.apply({}, x, capture_intermediates=captures, mutable=["intermediates"])  # type: ignore[call-overload]

    (_, inside), outside = Applies().apply({}, 1.0, capture_intermediates=True)
    assert inside == ({"intermediates": {"__call__": (2.0,)}} if captures else {})
    assert list(outside["intermediates"]) == ["__call__"]
    assert context.interceptors == ()
