"""Drawing from random streams: counters, fallbacks, warnings."""

import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import LazyRng, Scope, apply, bind
from linen_core._streams import Streams
from linen_core._tree import Tree
from linen_core.errors import InvalidRngError
from linen_core.extend import creating, inner_scope, rehearsal_in

KEY = jax.random.key(0)


def bits(key: jax.Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def derived(key: jax.Array, *path: str | int) -> tuple[int, ...]:
    return bits(LazyRng.create(key, *path).as_jax_rng())


@pytest.fixture
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def test_a_draw_folds_in_the_path_and_the_count() -> None:
    scope = bind({}, {"params": KEY, "noise": jax.random.key(1)})
    inner = scope.push("a").push("b")
    assert bits(scope.make_rng()) == derived(KEY, 1)
    assert bits(scope.make_rng()) == derived(KEY, 2)
    assert bits(inner.make_rng("noise")) == derived(jax.random.key(1), "a", "b", 1)
    assert bits(inner.make_rng("params")) == derived(KEY, "a", "b", 1)


def test_streams_count_apart() -> None:
    scope = bind({}, {"params": KEY, "noise": KEY})
    assert bits(scope.make_rng("params")) == bits(scope.make_rng("noise"))
    assert bits(scope.make_rng("params")) == bits(scope.make_rng("noise")) == derived(KEY, 2)


@pytest.mark.parametrize(("col", "draws"), [("params", 1), ("state", 2)])
def test_a_rehearsal_draws_once_for_what_it_creates(col: str, draws: int) -> None:
    outer = bind({}, KEY)
    rehearsal = rehearsal_in(outer, once="params")
    inner = inner_scope(outer, {}, outer.rngs, False, rehearsal)
    with creating(inner, col):
        inner.make_rng()
    rehearsal.end()
    with creating(outer, col):
        assert bits(outer.make_rng()) == derived(KEY, draws + 1)


def test_other_places_do_not_matter() -> None:
    scope = bind({}, KEY)
    first, second = scope.push("a"), scope.push("b")
    for _ in range(3):
        first.make_rng()
    assert bits(second.make_rng()) == derived(KEY, "b", 1)


def test_the_count_outlives_the_scope() -> None:
    scope = bind({}, KEY)
    assert bits(scope.push("a").make_rng()) == derived(KEY, "a", 1)
    assert bits(scope.push("a", reuse=True).make_rng()) == derived(KEY, "a", 2)
    assert bits(scope.rewound().push("a").make_rng()) == derived(KEY, "a", 3)


def test_rewinding_the_streams_starts_again() -> None:
    scope = bind({}, KEY)
    scope.make_rng()
    scope.push("a").make_rng()
    again = scope.rewound(rewind_rngs=True)
    assert bits(again.make_rng()) == derived(KEY, 1)
    assert bits(again.push("a").make_rng()) == derived(KEY, "a", 1)
    assert bits(scope.make_rng()) == derived(KEY, 2)


def test_a_child_scope_is_rewound_for_each_call() -> None:
    def draw(scope: Scope) -> Any:
        return bits(scope.make_rng())

    def twice(scope: Scope) -> Any:
        child = scope.child(draw, "a")
        return child(), child()

    assert apply(twice)({}, rngs=KEY) == (derived(KEY, "a", 1), derived(KEY, "a", 2))


def test_streams_below_are_lazy_and_go_on_counting() -> None:
    streams, tree = Streams({"params": KEY}), Tree(False, {})
    lazy = streams.below("a").keys["params"]
    assert isinstance(lazy, LazyRng)
    assert lazy.suffix == ("a",)
    draws = [bits(streams.below(name).draw("params", tree, (name,)).as_jax_rng()) for name in "aba"]
    assert draws == [derived(KEY, "a", 1), derived(KEY, "b", 1), derived(KEY, "a", 2)]
    assert bits(streams.rewound().below("a").draw("params", tree, ()).as_jax_rng()) == derived(
        KEY, "a", 1
    )


def test_raw_keys_draw_raw_keys() -> None:
    raw = jax.random.PRNGKey(0)
    drawn = bind({}, raw).make_rng()
    assert (drawn.dtype, drawn.shape) == (raw.dtype, raw.shape)
    assert tuple(np.asarray(drawn).tolist()) == derived(KEY, 1)


def test_a_missing_stream_falls_back_to_params(warned: list[warnings.WarningMessage]) -> None:
    scope = bind({}, {"params": KEY, "dropout": jax.random.key(1)})
    assert bits(scope.make_rng("noise")) == derived(KEY, 1)
    # The fallback counts with the stream that it falls back to.
    assert bits(scope.make_rng("params")) == derived(KEY, 2)
    assert warned == []


def test_a_misspelt_stream_warns_once_at_the_users_line(
    warned: list[warnings.WarningMessage],
) -> None:
    scope = bind({}, {"params": KEY, "dropout": jax.random.key(1)})
    for _ in range(3):
        scope.push("a", reuse=True).make_rng("droput")
    (warning,) = warned
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert str(warning.message) == (
        'There is no random stream "droput", so "params" is used instead. Did you mean "dropout"?'
    )


@pytest.mark.parametrize(
    ("rngs", "has"),
    [
        (None, "No streams were given"),
        ({"dropout": KEY, "cut": KEY}, "The streams given are ['cut', 'dropout']"),
    ],
    ids=["none", "others"],
)
def test_without_params_a_missing_stream_is_an_error(rngs: Any, has: str) -> None:
    scope = bind({}, rngs).push("encoder").push("Dropout_0")
    with pytest.raises(InvalidRngError) as caught:
        scope.make_rng("noise")
    assert str(caught.value) == (
        'The module "encoder/Dropout_0" draws from the random stream "noise", but it was not '
        f'given. {has}. Write rngs={{"noise": jax.random.key(0)}} in the call of apply.'
    )


def test_a_draw_in_a_later_transformation_warns_once(
    warned: list[warnings.WarningMessage],
) -> None:
    scope = bind({}, {"dropout": KEY}).push("noisy")

    def body(x: jax.Array) -> jax.Array:
        scope.make_rng("dropout")
        return x + jax.random.normal(scope.make_rng("dropout"), x.shape)

    jax.vmap(body)(jnp.zeros((2, 3)))
    (warning,) = warned
    assert warning.filename == __file__
    assert str(warning.message) == (
        'The module "noisy" draws from the random stream "dropout" inside a JAX transformation '
        "that began after the module was bound: every iteration gets the same key. Use the lifted "
        "transformation from linen_transforms, with split_rngs."
    )


def test_a_draw_in_its_own_transformation_does_not_warn(
    warned: list[warnings.WarningMessage],
) -> None:
    def fn(scope: Scope) -> Any:
        return scope.make_rng()

    jax.jit(apply(fn))({}, rngs=KEY)
    jax.vmap(lambda key: apply(fn)({}, rngs=key))(jax.random.split(KEY, 2))
    assert warned == []


def test_a_tree_of_its_own_is_all_that_a_draw_needs() -> None:
    assert bits(
        Streams({"params": KEY}).draw("params", Tree(False, {}), ()).as_jax_rng()
    ) == derived(KEY, 1)
