"""`fold_rngs`: one key from each stream at entry."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import LazyRng, Module, apply, compact
from linen_core.errors import InvalidRngError
from linen_transforms import fold_rngs, jit, lift, scan

from .layers import Dense

KEY = jax.random.key(0)
RNGS = {"noise": KEY, "other": jax.random.key(1)}


def drawn(key: Any, *path: Any) -> Any:
    return LazyRng.create(key, *path).as_jax_rng()


def same(found: Any, expected: Any) -> None:
    chex.assert_trees_all_equal(jax.random.key_data(found), jax.random.key_data(expected))


class Inner(Module):
    def __call__(self) -> Any:
        return self.make_rng("noise")


class Draws(Module):
    """Draws here and in a submodule."""

    @compact
    def __call__(self) -> Any:
        return self.make_rng("noise"), Inner(name="inner")(), self.make_rng("other")


def test_draws_start_from_one_key_for_each_stream() -> None:
    here, below, other = fold_rngs(Draws)().apply({}, rngs=RNGS)
    start = drawn(KEY, 1)
    same(here, drawn(start, 2))
    same(below, drawn(start, "inner", 1))
    same(other, drawn(drawn(RNGS["other"], 1), 2))


def test_draws_go_on_counting() -> None:
    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            draws = fold_rngs(Draws)(name="draws")
            return draws()[0], draws()[0], self.make_rng("noise")

    first, second, after = Outer().apply({}, rngs=RNGS)
    same(first, drawn(drawn(KEY, "draws", 1), 2))
    same(second, drawn(drawn(KEY, "draws", 3), 4))
    same(after, drawn(KEY, 1))


def test_modules_that_a_function_captures_are_folded_too() -> None:
    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            inner = Inner()
            return fold_rngs(lambda mdl: inner())(self)

    same(Outer().apply({}, rngs=RNGS), drawn(drawn(KEY, 1), "Inner_0", 1))


def test_streams_and_collections_can_be_withheld() -> None:
    class Look(Module):
        def __call__(self) -> Any:
            return self.has_rng("noise"), self.has_rng("other"), self.has_variable("a", "x")

    def look(**options: Any) -> Any:
        return fold_rngs(Look, **options)().apply({"a": {"x": 1}}, rngs=RNGS)

    assert look() == (True, True, True)
    assert look(rngs="noise") == (True, False, True)
    assert look(variables=False) == (True, True, False)
    with pytest.raises(InvalidRngError):
        fold_rngs(Draws, rngs="other")().apply({}, rngs=RNGS)


def test_iterations_of_a_loop_draw_different_keys() -> None:
    class Step(Module):
        @compact
        def __call__(self, carry: Any, _: Any) -> Any:
            return carry, jax.random.uniform(fold_rngs(Inner)()())

    steps = scan(Step, split_rngs={"noise": True}, length=3)()
    _, ys = steps.apply({}, 0, None, rngs={"noise": KEY})
    assert len({*ys.tolist()}) == 3


@pytest.mark.parametrize("lift_layer", [fold_rngs, jit])
def test_a_loop_that_shares_parameters_creates_them_from_the_first_key(lift_layer: Any) -> None:
    class Step(Module):
        @compact
        def __call__(self, x: Any, _: Any) -> Any:
            return lift_layer(Dense)(name="layer")(x), None

    options: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
    args = KEY, jnp.ones(3), None
    chex.assert_trees_all_equal(scan(Step, length=3, **options)().init(*args), Step().init(*args))


def test_variables_and_keyword_arguments_pass() -> None:
    def body(scope: Any, *, value: Any) -> None:
        scope.put_variable("state", "x", value)

    _, state = apply(lift.fold_rngs(body), mutable="state")({}, value=3)
    assert state == {"state": {"x": 3}}
