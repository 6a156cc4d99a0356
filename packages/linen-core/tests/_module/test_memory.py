"""Modules are freed by reference counts alone: there are no cycles, whatever was done with them."""

import contextlib
import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, intercept_methods
from linen_core.config import config

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Dense(Module):
    features: int = 3

    @compact
    def __call__(self, x: jax.Array, fail: bool = False) -> jax.Array:
        init = jax.nn.initializers.lecun_normal()
        y = x @ self.param("kernel", init, (x.shape[-1], self.features))
        if fail:
            raise KeyError("in the call")
        return y


class Net(Module):
    held: Any = None
    fails_in_setup: bool = False

    def setup(self) -> None:
        self.layers = [Dense(), Dense()]
        self.shared = self.layers[0]
        self.lookup = {"a": Dense()}
        self.count = self.variable("state", "count", lambda: 0)
        if self.fails_in_setup:
            raise KeyError("in setup")

    @compact
    def __call__(self, x: jax.Array, fail: bool = False) -> jax.Array:
        SEEN.append(weakref.ref(self))
        for layer in (*self.layers, self.shared, self.lookup["a"], Dense(), Dense(name="last")):
            SEEN.append(weakref.ref(layer))
            x = layer(x, fail)
        return x


SEEN: list[weakref.ref[Any]] = []
MODEL = Net(Dense())
VARIABLES = MODEL.init(KEY, X)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Let reference counts do it all, and have nothing left for the collector in the end."""
    SEEN.clear()
    gc.collect()
    gc.disable()
    try:
        yield
        assert [ref for ref in SEEN if ref() is not None] == []
    finally:
        gc.enable()


def bound() -> Any:
    return MODEL.bind(VARIABLES)


def shown() -> Any:
    model = bound()
    texts = repr(model), dir(model)
    assert all(texts)
    assert model.variables.keys() == {"params", "state"}
    return model


def raised_in() -> Any:
    model = bound()
    with contextlib.suppress(KeyError):
        model(X, fail=True)
    return model


def raised_in_setup() -> Any:
    model = MODEL.clone(fails_in_setup=True).bind(VARIABLES)
    for _ in range(2):
        with contextlib.suppress(KeyError):
            model(X)
        with contextlib.suppress(KeyError):
            _ = model.layers
    return model


def used() -> Any:
    model = bound()
    model(X)
    model.last(X)
    return model


def intercepted() -> Any:
    model = bound()
    with intercept_methods(lambda next_fun, args, kwargs, context: next_fun(*args, **kwargs)):
        model(X)
    return model


MODULES: dict[str, Callable[[], Any]] = {
    "bound": bound,
    "set up": lambda: bound().layers and bound(),
    "used": used,
    "shown": shown,
    "raised in": raised_in,
    "raised in setup": raised_in_setup,
    "intercepted": intercepted,
    "submodule": lambda: bound().layers[0],
    "unbound": lambda: used().unbind()[0],
    "copied": lambda: copy.deepcopy(used()),
    "abstract": lambda: MODEL.abstract(X),
    "used abstractly": lambda: (m := MODEL.abstract(X), m.last(X))[0],
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_modules_are_freed(make: Callable[[], Any]) -> None:
    make()  # what JAX and the class remember is there now
    with without_collector():
        module = make()
        refs = [weakref.ref(module)]
        if module.scope is not None:
            refs += [weakref.ref(module.scope), *map(weakref.ref, module._state.children.values())]
        del module
        assert [ref for ref in refs if ref() is not None] == []


def fails(call: Callable[..., Any], first: Any) -> None:
    with contextlib.suppress(KeyError):
        call(first, X, fail=True)


CALLS: dict[str, Callable[[], Any]] = {
    "init": lambda: MODEL.init(KEY, X),
    "init_with_output": lambda: MODEL.init_with_output(KEY, X),
    "apply": lambda: MODEL.apply(VARIABLES, X),
    "mutable": lambda: MODEL.apply(VARIABLES, X, mutable=["state"]),
    "capture": lambda: MODEL.apply(VARIABLES, X, capture_intermediates=True),
    "jit": lambda: jax.jit(MODEL.apply)(VARIABLES, X),
    "grad": lambda: jax.grad(lambda p: MODEL.apply({**VARIABLES, "params": p}, X).sum())(
        VARIABLES["params"]
    ),
    "error": lambda: fails(MODEL.apply, VARIABLES),
    "error in init": lambda: fails(MODEL.init, KEY),
}


@pytest.mark.parametrize("filter_frames", [False, True], ids=["all frames", "filtered"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_modules_of_a_call_are_freed_when_it_ends(
    call: Callable[[], Any], filter_frames: bool
) -> None:
    with config.temporary(filter_frames=filter_frames):
        call()
        with without_collector():
            call()


def test_a_child_does_not_keep_its_parent() -> None:
    with without_collector():
        layer = bound().layers[0]
        assert layer.parent is None
        assert layer(X).shape == (2, 3)


def test_a_parent_keeps_its_children() -> None:
    with without_collector():
        model = bound()
        child = weakref.ref(model.layers[1])
        assert child() is not None
        assert child().parent is model  # type: ignore[union-attr]
