"""`jit`: equal modules share one trace, and what they do besides computing happens all the same."""

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chex
import cloudpickle
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import Module, compact, intercept_methods
from linen_transforms import jit, lift, scan, vmap
from linen_transforms.errors import SplitRngsError, UnsupportedArgumentError

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)
STREAMS = {"params": KEY, "noise": jax.random.key(1)}


class Dense(Module):
    """A layer that does nothing."""


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


def test_the_traces_of_a_class_go_with_it() -> None:
    def use() -> None:
        class Layer(Module):
            @compact
            def __call__(self, x: Any) -> Any:
                super().__init__  # noqa: B018 - a method that refers to its class
                return jit(lambda mdl, x: x * self.param("w", initializers.ones, ()))(self, x)

        jit(Layer)().init_with_output(KEY, X)
        gone.append(weakref.ref(Layer))

    gone: list[Any] = []
    use()
    gc.collect()
    assert gone[0]() is None


class Shown(Module):
    """Gives what a field is."""

    value: Any

    def __call__(self, x: Any) -> Any:
        RUNS.append("")
        return x + len(repr(self.value))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0.0, -0.0), ({"a": 1}, {"a": 1.0}), ({"a": [0.0]}, {"a": [-0.0]}), ({1}, {1.0})],
)
def test_fields_that_are_equal_but_not_the_same(one: Any, other: Any) -> None:
    for value in (one, other):
        found = jit(Shown)(value).apply({}, X)
        chex.assert_trees_all_equal(found, Shown(value).apply({}, X))


def test_variables_that_get_another_value() -> None:
    class Model(Module):
        def __call__(self, x: Any) -> Any:
            def body(mdl: Module, x: Any) -> Any:
                return x * i + 1

            for i in range(3):  # noqa: B007 - the body uses it
                x = jit(body)(self, x)
            return x

    chex.assert_trees_all_equal(Model().apply({}, X), jnp.full_like(X, ((0 + 1) * 1 + 1) * 2 + 1))


def test_a_module_from_outside_does_not_know_its_place_either() -> None:
    class Uses(Module):
        inner: Any

        def __call__(self, x: Any) -> Any:
            RUNS.append("")
            assert (self.inner.name, self.inner.path) == (None, ())
            return self.inner(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            blocks = [Block(name=name) for name in ("a", "b")]
            return [jit(Uses)(block)(x) for block in blocks]

    variables = Model().init(KEY, X)
    RUNS.clear()
    found = Model().apply(variables, X)
    assert RUNS == ["", "Block"]
    for name, y in zip("ab", found, strict=True):
        entry = {col: tree[name] for col, tree in variables.items()}
        chex.assert_trees_all_close(y, Block().apply(entry, X), rtol=1e-6)


def test_a_function_knows_the_places_of_its_modules() -> None:
    class Model(Module):
        def setup(self) -> None:
            self.a, self.b, self.long = Dense(), Dense(), Dense()

        def __call__(self, x: Any) -> Any:
            scaled = jit(lambda mdl, other, x: x * len(other.name) * len(other.path))
            return scaled(self.a, self.b, x), scaled(self.a, self.long, x)

    chex.assert_trees_all_equal(Model().apply({}, X), (X, 4 * X))


def test_a_stream_that_is_withheld_is_refused_after_a_trace_without_it() -> None:
    class Noisy(Module):
        def __call__(self, x: Any) -> Any:
            return x + jax.random.normal(self.make_rng("noise"), x.shape)

    class Outer(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return jit(Noisy)()(x)

    mapped = vmap(Outer, variable_axes={}, split_rngs={"params": True})()
    mapped.apply({}, X, rngs={"params": KEY})
    with pytest.raises(SplitRngsError):
        mapped.apply({}, X, rngs={"params": KEY, "noise": KEY})


def test_equal_blocks_share_a_trace_inside_of_a_scan() -> None:
    class Step(Module):
        @compact
        def __call__(self, x: Any, _: Any) -> Any:
            for i in range(3):
                x = jit(Block)(name=f"block_{i}")(x)
            return x, None

    axes: Any = {"variable_axes": {"params": 0, "state": 0}, "split_rngs": {"params": True}}
    looped = scan(Step, length=2, **axes)()
    variables = looped.init(KEY, X, None)
    RUNS.clear()
    looped.apply(variables, X, None)
    assert len(RUNS) <= 1


def test_what_is_sown_into_other_collections_gets_out() -> None:
    class Sows(Module):
        def __call__(self, x: Any) -> Any:
            self.sow("notes", "x", x)
            return x

    for _ in range(2):
        y, notes = jit(Sows, variables="params")().apply({}, X, mutable=["notes"])
        chex.assert_trees_all_equal(notes, {"notes": {"x": (y,)}})


def test_a_class_with_traces_pickles_by_value() -> None:
    class Layer(Block):
        pass

    jit(Layer)().init(KEY, X)
    assert cloudpickle.dumps(jit(Layer)())


def test_threads_share_a_trace() -> None:
    model = stacked(jit(Block), 4)
    variables = model.init(KEY, X)
    expected = model.apply(variables, X)
    jax.clear_caches()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: model.apply(variables, X), range(16)))
    chex.assert_trees_all_equal(found, [expected] * 16)


@pytest.mark.parametrize("argument", ["device", "backend"])
def test_arguments_that_jax_gave_up_are_refused(argument: str) -> None:
    with pytest.raises(UnsupportedArgumentError, match=f"'{argument}' is not supported"):
        lift.jit(lambda scope: None, **{argument: "cpu"})  # type: ignore[arg-type]
