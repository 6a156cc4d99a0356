"""`capture`: what modules return and sow, through lifted transformations."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_transforms as lt
from linen_core import Module, compact
from linen_core.errors import NameInUseError, ScopeCollectionNotFound
from linen_transforms import capture
from linen_transforms.errors import CaptureTargetError

from .layers import Dense

KEY = jax.random.key(0)
X = jnp.arange(12.0).reshape(4, 3) / 12
SPLIT = {"params": True}


def sow(mdl: Module, x: Any) -> Any:
    """Sows in three ways."""
    y = jnp.sin(Dense(3)(x))
    mdl.sow("intermediates", "y", y)
    mdl.sow("intermediates", "y", 2 * y)
    mdl.sow("losses", "sum", y.sum(), lambda a, b: a + b, lambda: jnp.zeros(()))
    return y


class Sows(Module):
    """A layer that sows."""

    @compact
    def __call__(self, x: Any) -> Any:
        return sow(self, x)


class Step(Module):
    """The same as the body of a loop."""

    @compact
    def __call__(self, x: Any, _: Any) -> Any:
        return sow(self, x), None


def lifted(cls: Any) -> Callable[[Any, Any], Any]:
    return lambda _, x: cls(name="inner")(x)


def looped(cls: Any) -> Callable[[Any, Any], Any]:
    return lambda _, x: cls(name="inner")(x, None)[0]


def vmap(target: Any, in_axes: Any = 0) -> Any:
    return lt.vmap(target, variable_axes={"params": 0}, split_rngs=SPLIT, in_axes=in_axes)


def shared(target: Any) -> Any:
    return lt.vmap(target, variable_axes={"params": None}, split_rngs={"params": False})


def scan(target: Any, **kwargs: Any) -> Any:
    axes: Any = {"params": 0}
    return lt.scan(target, variable_axes=axes, split_rngs=SPLIT, length=5, **kwargs)


def function(mdl: Any, x: Any) -> Any:
    return Sows(name="inner")(x)


# How to call, and the shape of what is sown.
LIFTED: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "plain": (lifted(Sows), (4, 3)),
    "vmap": (lifted(vmap(Sows)), (4, 3)),
    "shared": (lifted(shared(Sows)), (4, 3)),
    "scan": (looped(scan(Step)), (5, 4, 3)),
    "scan_reverse": (looped(scan(Step, reverse=True)), (5, 4, 3)),
    "remat": (lifted(lt.remat(Sows)), (4, 3)),
    "jit": (lifted(lt.jit(Sows)), (4, 3)),
    "scan_of_remat": (looped(scan(lt.remat(Step))), (5, 4, 3)),
    "remat_of_scan": (looped(lt.remat(scan(Step))), (5, 4, 3)),
    "jit_of_scan": (looped(lt.jit(scan(Step))), (5, 4, 3)),
    "scan_of_jit": (looped(scan(lt.jit(Step))), (5, 4, 3)),
    "vmap_of_scan": (looped(vmap(scan(Step), in_axes=(0, None))), (4, 5, 3)),
    "scan_of_vmap": (looped(scan(vmap(Step, in_axes=(0, None)))), (5, 4, 3)),
    "vmap_of_map_variables": (
        lifted(vmap(lt.map_variables(Sows, "params", init=True))),
        (4, 3),
    ),
    "function": (lambda mdl, x: shared(function)(mdl, x), (4, 3)),
    "cond": (lambda mdl, x: lt.cond(True, function, function, mdl, x), (4, 3)),
    "stack": (lifted(lt.Stack(Sows, 5)), (5, 4, 3)),
}
every_lift = pytest.mark.parametrize(("call", "shape"), LIFTED.values(), ids=LIFTED)


class Outer(Module):
    """Calls something lifted."""

    call: Any

    @compact
    def __call__(self, x: Any) -> Any:
        return self.call(self, x)


@every_lift
def test_captured_and_sown(call: Any, shape: tuple[int, ...]) -> None:
    model = Outer(call)
    variables = model.init(KEY, X)
    assert set(variables) - {"losses"} == {"params"}
    variables = {"params": variables["params"]}
    run = capture(model)
    (y, changed), found = jax.jit(lambda v, x: run(v, x, mutable=["losses"]))(variables, X)
    chex.assert_trees_all_close(y, model.apply(variables, X), rtol=1e-6)
    inner = found["inner"]
    shapes = {"y": (shape, shape), "Dense_0": {"__call__": (shape,)}}
    called = inner.pop("__call__")
    assert jax.tree.map(jnp.shape, inner) == shapes
    assert len(called) == 1
    chex.assert_trees_all_close(inner["y"][1], 2 * inner["y"][0])
    total = changed["losses"]["inner"]["sum"]
    assert total.shape == shape[: total.ndim]
    chex.assert_trees_all_close(total.sum(), inner["y"][0].sum(), rtol=1e-5)


@every_lift
def test_not_asked_for(call: Any, shape: tuple[int, ...]) -> None:
    model = Outer(call)
    variables = {"params": model.init(KEY, X)["params"]}
    assert model.apply(variables, X, mutable=["other"])[1] == {}


def test_init_creates_what_the_filters_say() -> None:
    for call in (LIFTED["vmap"][0], LIFTED["scan"][0]):
        assert set(Outer(call).init(KEY, X)) == {"params"}


def test_values_are_those_of_a_loop() -> None:
    model = Outer(LIFTED["scan"][0])
    variables = model.init(KEY, X)
    _, found = capture(model)(variables, X)
    x, kernels = X, variables["params"]["inner"]["Dense_0"]["kernel"]
    for kernel, y in zip(kernels, found["inner"]["y"][0], strict=True):
        x = jnp.sin(x @ kernel)
        chex.assert_trees_all_close(y, x, rtol=1e-6)


def test_calls_add_up() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            inner = shared(Sows)()
            return inner(inner(x))

    model = Twice()
    variables = model.init(KEY, X)
    _, changed = model.apply(variables, X, mutable=["intermediates", "losses"])
    inner = changed["intermediates"]["VmapSows_0"]
    assert [y.shape for y in inner["y"]] == [(4, 3)] * 4
    total = sum(y.sum(-1) for y in inner["y"][::2])
    chex.assert_trees_all_close(changed["losses"]["VmapSows_0"]["sum"], total, rtol=1e-5)


def test_named_collections_go_where_they_are_told() -> None:
    axes: Any = {"params": None, "intermediates": 1}
    model = lt.vmap(Sows, variable_axes=axes, split_rngs={"params": False})()
    variables = model.init(KEY, X)
    assert capture(model)(variables, X)[1]["y"][0].shape == (3, 4)
    assert capture(shared(Sows)())(variables, X)[1]["y"][0].shape == (4, 3)


def test_variables_of_other_collections_are_still_not_there() -> None:
    class Counts(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            self.sow("state", "x", x)
            assert not self.has_variable("state", "x")
            assert not self.is_mutable_collection("state")
            with pytest.raises(NameInUseError):
                self.variable("state", "x", lambda: 0)
            with pytest.raises(ScopeCollectionNotFound, match="state"):
                self.variable("state", "y", lambda: 0)
            return x

    model = shared(Counts)()
    _, changed = model.apply({}, X, mutable=["state"])
    assert changed["state"]["x"][0].shape == X.shape


FILTERS: dict[str, tuple[Any, set[str]]] = {
    "all": (True, {"__call__", "Dense_0", "VmapDense_0"}),
    "none": (False, set()),
    "class": (Dense, {"Dense_0", "VmapDense_0"}),
    "classes": ((Dense, Outer), {"Dense_0", "VmapDense_0"}),
    "function": (lambda module, name: module.name == "Dense_0", {"Dense_0"}),
}


class Two(Module):
    """A layer, and a lifted one."""

    @compact
    def __call__(self, x: Any) -> Any:
        return shared(Dense)(3)(Dense(3)(x))

    @compact
    def once(self, x: Any) -> Any:
        return Dense(3)(x)


@pytest.mark.parametrize(("filter", "expected"), FILTERS.values(), ids=FILTERS)
def test_filter(filter: Any, expected: set[str]) -> None:
    variables = Two().init(KEY, X)
    y, found = capture(Two(), filter)(variables, X)
    chex.assert_trees_all_equal(y, Two().apply(variables, X))
    assert set(found) == expected


def test_methods() -> None:
    variables = Two().init(KEY, X)
    run = capture(Two().once, Dense)
    assert run.__name__ == "once"
    y, found = run(variables, X)
    chex.assert_trees_all_equal(found, {"Dense_0": {"__call__": (y,)}})


def test_mutable_and_streams() -> None:
    class Noise(Module):
        def __call__(self, x: Any) -> Any:
            self.put_variable("state", "calls", 1)
            return x + jax.random.normal(self.make_rng("noise"), x.shape)

    rngs = {"noise": KEY}
    (y, changed), found = capture(Noise())({}, X, rngs=rngs, mutable=["state"])
    assert changed == {"state": {"calls": 1}}
    chex.assert_trees_all_equal(found, {"__call__": (y,)})


def test_earlier_intermediates_are_left_out() -> None:
    old = {"intermediates": {"__call__": (1, 2)}}
    variables = Two().init(KEY, X)
    assert len(capture(Two())(variables | old, X)[1]["__call__"]) == 1


TARGETS: dict[str, Any] = {
    "bound": Dense(3).bind({}),
    "bound_method": Two().bind({}).once,
    "class": Dense,
    "apply": Dense(3).apply,
    "function": lambda x: x,
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_cannot_be_captured_from(target: Any) -> None:
    with pytest.raises(
        CaptureTargetError, match="capture takes a module, or a method of one, that"
    ):
        capture(target)


@pytest.mark.parametrize("filter", [3, "Dense", (Module, 3)])
def test_a_filter_that_is_none(filter: Any) -> None:
    with pytest.raises(
        CaptureTargetError, match="`filter` must be True, False, a Module class or a"
    ):
        capture(Module(), filter)
