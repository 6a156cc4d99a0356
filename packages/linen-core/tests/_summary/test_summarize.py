"""From a model to its rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import Module, compact
from linen_core.errors import ScopeCollectionNotFound, SummaryDepthError

from .models import KEY, MLP, Autoencoder, Dense, Loop, Tied, X, spec

UNTRACED = ("not in the trace of apply",)


def paths(rows: list[Any]) -> list[str]:
    return [row.path for row in rows]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"depth": 0}, [""]),
        ({"depth": 1}, ["", "encoder_in", "encoder_out", "blocks_0", "blocks_1"]),
        ({"depth": 9}, ["", "encoder_in", "encoder_out", "blocks_0", "blocks_0/Dense_0",
                        "blocks_1", "blocks_1/Dense_0"]),
        ({"depth": 1, "show_repeated": True}, ["", "", "encoder_in", "encoder_out", "blocks_0",
                                               "blocks_1", "blocks_0", "blocks_1"]),
    ],
)  # fmt: skip
def test_which_calls_have_rows(options: Any, expected: list[str]) -> None:
    rows = Autoencoder().summary_rows(KEY, X, **options)
    assert paths(rows) == expected
    assert sum(row.counts["params"] for row in rows) == 12 + 12 + 9 + 9


@pytest.mark.parametrize("depth", [-1, 1.5, "all"])
def test_a_depth_that_is_none(depth: Any) -> None:
    with pytest.raises(SummaryDepthError, match=r"0 or more, or None for all, but got .*depth=1\."):
        MLP().summary_rows(KEY, X, depth=depth)


def test_a_module_that_is_never_called_is_part_of_the_one_around_it() -> None:
    (row,) = Tied().summary_rows(KEY, X)
    assert row.variables == {"params": {"table": {"table": spec(3, 5)}}}


def test_a_shared_module_is_counted_once() -> None:
    class Shares(Module):
        inner: Dense

        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Wraps(self.inner)(self.inner(x))

    class Wraps(Module):
        inner: Dense

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.inner(x)

    rows = Shares(Dense(3)).summary_rows(KEY, X, show_repeated=True)
    assert paths(rows) == ["", "inner", "Wraps_0", "inner"]
    assert [row.counts["params"] for row in rows] == [0, 9, 0, 0]


@pytest.mark.parametrize(
    ("mutable", "collections"),
    [(True, ["params", "state"]), (["state", "params"], ["params", "state"])],
)
def test_collections_are_those_that_are_made(mutable: Any, collections: list[str]) -> None:
    rows = MLP().summary_rows(KEY, X, mutable=mutable, train=True)
    assert sorted(rows[0].counts) == collections


@pytest.mark.parametrize("mutable", [False, "params", []])
def test_collections_that_are_not_made(mutable: Any) -> None:
    class Double(Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            self.sow("features", "x", x)
            return 2 * x

    (row,) = Double().summary_rows(KEY, X, mutable=mutable, compute_flops=True)
    assert (row.variables, row.counts, row.flops) == ({}, {}, 24)


def test_values_of_every_kind_are_shown() -> None:
    class Takes(Module):
        @compact
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.variable("state", "n", lambda: 3)
            self.variable("state", "key", lambda: self.make_rng())
            self.variable("state", "old", lambda: np.zeros(2, np.float16))
            return args, None

    args = (KEY, np.ones(3), 1, 2.5, None, "text", [X], jnp.ones(2, bool))
    (row,) = Takes().summary_rows(KEY, *args, mask=None)
    assert row.inputs == (
        spec(dtype=KEY.dtype), spec(3, dtype="float64"), 1, 2.5, None, "text", [X],
        spec(2, dtype="bool"), {"mask": None},
    )  # fmt: skip
    assert row.outputs == (row.inputs[:-1], None)
    assert row.counts == {"state": 1 + 1 + 2}
    assert row.bytes == {"state": 4 + 8 + 4}


def test_nothing_is_computed() -> None:
    class Big(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            jax.debug.callback(lambda x: pytest.fail("computed"), x)
            return Dense(10**6)(x)

    (_, dense) = Big().summary_rows(KEY, spec(10**7, 10**6), compute_flops=True)
    assert dense.counts == {"params": 10**12}
    assert dense.flops == 2 * 10**19


PRODUCTS = 2 * 8 * (3 * 4 + 4 * 2)


def test_flops_of_a_call_include_those_of_the_calls_in_it() -> None:
    rows = MLP().summary_rows(KEY, X, compute_flops=True)
    # The biggest of two numbers, in each relu.
    assert [row.flops for row in rows] == [PRODUCTS + 8 * (4 + 2), 2 * 8 * 3 * 4, 2 * 8 * 4 * 2]
    assert all(row.vjp_flops is None and row.uncounted == () for row in rows)


def test_vjp_flops_are_forward_and_backward() -> None:
    rows = MLP().summary_rows(KEY, X, compute_vjp_flops=True)
    assert [row.vjp_flops for row in rows[1:]] == [3 * 2 * 8 * 3 * 4, 3 * 2 * 8 * 4 * 2]
    assert rows[0].vjp_flops is not None
    assert rows[0].vjp_flops > 3 * PRODUCTS
    assert [row.flops for row in rows] == [None] * 3


def test_flops_are_not_those_of_making_the_variables() -> None:
    class Makes(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            self.param("w", lambda key: jnp.exp(jax.random.normal(key, (1000,))))
            self.variable("state", "v", lambda: jnp.sin(jnp.ones(1000)))
            return 2 * x

    (row,) = Makes().summary_rows(KEY, X, compute_flops=True)
    assert row.flops == 24


def test_loops_around_a_call_count() -> None:
    rows = Loop().summary_rows(KEY, X, compute_flops=True, compute_vjp_flops=True)
    assert [row.flops for row in rows] == [7 * 2 * 8 * 9] * 2
    assert rows[1].vjp_flops == 3 * 7 * 2 * 8 * 9


def test_flops_of_repeated_calls_are_their_own() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            layer = Dense(3)
            return layer(layer(x)[:2])

    rows = Twice().summary_rows(KEY, X, show_repeated=True, compute_flops=True)
    assert [row.flops for row in rows[1:]] == [2 * 8 * 9, 2 * 2 * 9]


def test_what_only_init_calls_has_no_flops() -> None:
    class Warm(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Dense(3)(x) if self.is_initializing() else x

    whole, dense = Warm().summary_rows(KEY, X, compute_flops=True)
    assert (whole.flops, whole.uncounted) == (0, ())
    assert (dense.flops, dense.uncounted) == (None, UNTRACED)


def test_unknown_costs_are_none() -> None:
    class Calls(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return jax.pure_callback(lambda x: x, x, Dense(3)(x))

    whole, dense = Calls().summary_rows(KEY, X, compute_flops=True, compute_vjp_flops=True)
    assert (whole.flops, whole.vjp_flops) == (None, None)
    assert whole.uncounted == ("no derivative", "pure_callback")
    assert (dense.flops, dense.uncounted) == (144, ())


def test_what_apply_raises_is_raised() -> None:
    class Late(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return x if self.is_initializing() else Dense(3)(x)

    assert len(Late().summary_rows(KEY, X)) == 1
    with pytest.raises(ScopeCollectionNotFound):
        Late().summary_rows(KEY, X, compute_flops=True)


def test_state_that_changes_is_counted_in_training() -> None:
    rows = MLP().summary_rows(KEY, X, train=True, compute_flops=True)
    assert (rows[-1].class_name, rows[-1].flops) == ("Count", 0)
    assert rows[-1].counts == {"params": 0, "state": 2}


def test_two_summaries_are_equal() -> None:
    options: Any = {"compute_flops": True, "compute_vjp_flops": True}
    assert Autoencoder().summary_rows(KEY, X, **options) == Autoencoder().summary_rows(
        KEY, X, **options
    )
