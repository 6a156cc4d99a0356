"""`jit`: equal modules share one trace, and what they do besides computing happens all the same."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import Module, compact, intercept_methods
from linen_transforms import jit, lift, scan
from linen_transforms.errors import UnsupportedArgumentError

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)
STREAMS = {"params": KEY, "noise": jax.random.key(1)}


class Block(Module):
    """A layer with a parameter, a state, noise and a static choice."""

    scale: float = 1.0

    @compact
    def __call__(self, x: Any, negate: bool = False) -> Any:
        RUNS.append(type(self).__name__)
        kernel = self.param("kernel", initializers.normal(), (3, 3))
        calls = self.variable("state", "calls", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("state"):
            calls.value += 1
        y = jnp.sin(self.scale * x @ kernel)
        if self.has_rng("noise"):
            y += jax.random.normal(self.make_rng("noise"), y.shape)
        return -y if negate else y


RUNS: list[str] = []


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS.clear()


def stacked(block: Callable[..., Any], depth: int = 24) -> Module:
    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            for i in range(depth):
                x = block(name=f"block_{i}")(x)
            return x

    return Model()


def test_equal_blocks_are_traced_once_and_lowered_once() -> None:
    class Counted(Block):
        pass

    model = stacked(lambda **kwargs: jit(Counted)(**kwargs))
    variables = model.init(STREAMS, X)
    assert len(RUNS) == 1
    assert sorted(variables["params"]) == sorted(f"block_{i}" for i in range(24))
    RUNS.clear()
    frozen = {"params": variables["params"], "state": variables["state"]}
    for streams in ({}, {"noise": KEY}):
        apply = jax.jit(lambda v, x, s=streams: model.apply(v, x, rngs=s))
        text = apply.lower(frozen, X).as_text()
        assert len(RUNS) == 1
        assert text.count("func.func private @lifted_call") == 1
        RUNS.clear()


def test_blocks_are_those_without_jit_but_for_the_keys() -> None:
    lifted, plain = stacked(jit(Block), 3), stacked(Block, 3)
    variables = plain.init(KEY, X)
    chex.assert_trees_all_equal_shapes(lifted.init(KEY, X), variables)
    expected = plain.apply(variables, X, mutable="state")
    chex.assert_trees_all_close(lifted.apply(variables, X, mutable="state"), expected, rtol=1e-6)


def test_each_block_draws_its_own_numbers() -> None:
    params = stacked(jit(Block), 3).init(KEY, X)["params"]
    kernels = [params[f"block_{i}"]["kernel"] for i in range(3)]
    assert not any(jnp.allclose(kernels[i], kernels[i - 1]) for i in range(3))


def test_modules_that_are_built_anew_share_a_trace() -> None:
    class Fresh(Block):
        pass

    variables = jit(Fresh)().init(KEY, X)
    RUNS.clear()
    for _ in range(3):
        jit(Fresh)(scale=1.0).apply(variables, X)
    assert len(RUNS) == 1
    jit(Fresh)(scale=2.0).apply(variables, X)
    assert len(RUNS) == 2


def test_what_makes_a_trace_another_one() -> None:
    class Other(Block):
        pass

    lifted = jit(Other, static_argnums=1)()
    variables = lifted.init(KEY, X)
    RUNS.clear()
    calls: list[Callable[[], Any]] = [
        lambda: lifted.apply(variables, X, False),
        lambda: lifted.apply(variables, X, True),
        lambda: lifted.apply(variables, X, False, mutable=["state"]),
        lambda: lifted.apply(variables, X, False, rngs={"noise": KEY}),
        lambda: lifted.apply(variables, X[:1], False),
    ]
    results = [call() for call in calls]
    assert len(RUNS) == len(calls)
    again = [call() for call in calls]
    assert len(RUNS) == len(calls)
    chex.assert_trees_all_equal(results, again)
    chex.assert_trees_all_equal(results[0], -results[1])


def test_a_second_call_draws_other_numbers() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            block = jit(Block)(name="block")
            return block(x), block(x), self.make_rng("noise")

    variables = Twice().init(STREAMS, X)
    first, second, _ = Twice().apply(variables, X, rngs=STREAMS)
    assert not jnp.allclose(first, second)
    for _ in range(2):  # what the second time finds its traces gives the same numbers
        again = Twice().apply(variables, X, rngs=STREAMS)
        chex.assert_trees_all_equal((first, second), again[:2])


def test_names_that_a_body_takes_are_taken_when_its_trace_is_found() -> None:
    class Inner(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return x * self.param("w", initializers.normal(), ())

    class Outer(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return Inner()(jit(body)(self, x))

    def body(mdl: Module, x: Any) -> Any:
        return Inner()(Inner()(x))

    for _ in range(2):
        variables = Outer().init(KEY, X)
        assert sorted(variables["params"]) == ["Inner_0", "Inner_1", "Inner_2"]


def test_a_decorated_method_shares_its_trace() -> None:
    class Decorated(Module):
        scale: float = 1.0

        @jit
        @compact
        def __call__(self, x: Any) -> Any:
            RUNS.append("")
            return self.scale * x @ self.param("kernel", initializers.normal(), (3, 3))

    variables = Decorated().init(KEY, X)
    RUNS.clear()
    results = [Decorated(scale).apply(variables, X) for scale in (1.0, 1.0, 2.0)]
    assert len(RUNS) == 2
    chex.assert_trees_all_close(2 * results[0], results[2])


def test_interceptors_see_every_call() -> None:
    lifted = jit(Block)()
    variables = lifted.init(KEY, X)
    seen: list[str] = []

    def note(next_fun: Any, args: Any, kwargs: Any, called: Any) -> Any:
        seen.append(called.method_name)
        return next_fun(*args, **kwargs)

    for _ in range(2):
        with intercept_methods(note):
            lifted.apply(variables, X)
    assert seen.count("__call__") == 2


def test_intermediates_are_captured() -> None:
    lifted = jit(Block)()
    variables = lifted.init(KEY, X)
    for _ in range(2):
        y, captured = lifted.apply(variables, X, capture_intermediates=True)
        chex.assert_trees_all_equal(captured["intermediates"]["__call__"], (y,))


def test_captured_arrays_are_not_shared() -> None:
    class Shift(Module):
        @compact
        def __call__(self, x: Any, shift: Any) -> Any:
            return jit(lambda mdl, x: x + shift)(self, x)

    for shift in (jnp.ones(()), jnp.zeros(())):
        chex.assert_trees_all_equal(Shift().apply({}, X, shift), X + shift)
    traced = jax.jit(lambda x, shift: Shift().apply({}, x, shift))(X, jnp.ones(()))
    chex.assert_trees_all_equal(traced, X + 1)


def test_inside_of_a_scan() -> None:
    class Step(Module):
        @compact
        def __call__(self, x: Any, _: Any) -> Any:
            return jit(Block)(name="block")(x), None

    axes: Any = {"variable_axes": {"params": 0, "state": 0}, "split_rngs": {"params": True}}
    looped = scan(Step, length=3, **axes)()
    variables = looped.init(KEY, X, None)
    chex.assert_shape(variables["params"]["block"]["kernel"], (3, 3, 3))
    x = X
    for i in range(3):
        entry = jax.tree.map(lambda leaf, i=i: leaf[i], variables)
        x, _ = Step().apply(entry, x, None)
    chex.assert_trees_all_close(looped.apply(variables, X, None)[0], x, rtol=1e-6)


def test_arguments_can_be_donated() -> None:
    lifted = jit(lambda mdl, x: x + 1, donate_argnums=0)

    class Model(Module):
        def __call__(self, x: Any) -> Any:
            return lifted(self, x)

    x = jnp.arange(8.0)
    chex.assert_trees_all_equal(Model().apply({}, x), jnp.arange(8.0) + 1)
    assert x.is_deleted()


def test_the_cache_keeps_no_module_alive() -> None:
    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            alive.append(weakref.ref(self))
            return jit(Block)()(x)

    alive: list[Any] = []
    Model().init(KEY, X)
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)


@pytest.mark.parametrize("argument", ["device", "backend"])
def test_arguments_that_jax_gave_up_are_refused(argument: str) -> None:
    with pytest.raises(UnsupportedArgumentError, match=f"'{argument}' is not supported"):
        lift.jit(lambda scope: None, **{argument: "cpu"})  # type: ignore[arg-type]
