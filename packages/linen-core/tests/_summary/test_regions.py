"""Regions of calls in a jaxpr."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import pytest
from jax import lax

from linen_core._summary.costs import Cost
from linen_core._summary.flops import call_costs
from linen_core._summary.regions import mark_begin, mark_end, regions

X = jax.ShapeDtypeStruct((4, 4), "float32")
PRODUCT = 2 * 4**3


def marked(x: jax.Array, index: int = 0) -> jax.Array:
    mark_begin(index)
    y = x @ x
    mark_end(index, y)
    return y


def nested(x: jax.Array) -> jax.Array:
    mark_begin(0)
    y = marked(2 * x, 1) + marked(x, 2)
    mark_end(0, {"y": y, "text": "not traced"})
    return y


PLACES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "alone": (marked, 1, 1),
    "jit": (jax.jit(marked), 1, 1),
    "jit, run twice": (lambda x: (lambda f: f(f(x)))(jax.jit(marked)), 2, 2),
    "vmap": (lambda x: jax.vmap(marked)(jnp.stack([x, x, x])), 1, 3),
    "vmap of jit": (lambda x: jax.vmap(jax.jit(marked))(jnp.stack([x, x, x])), 1, 3),
    "checkpoint": (jax.checkpoint(marked), 1, 1),
    "scan": (lambda x: lax.scan(lambda x, _: (marked(x), None), x, length=7)[0], 1, 7),
    "scan of scan": (
        lambda x: lax.scan(
            lambda x, _: (lax.scan(lambda x, _: (marked(x), None), x, length=3)[0], None),
            x,
            length=5,
        )[0],
        1,
        15,
    ),
    "branch": (lambda x: lax.cond(x[0, 0] > 0, marked, lambda x: x, x), 1, 1),
    "gradient": (lambda x: jax.grad(lambda x: marked(x).sum())(x), 1, 1),
    "jvp": (lambda x: jax.jvp(marked, (x,), (x,))[0], 1, 1),
}


@pytest.mark.parametrize("name", PLACES)
def test_regions_are_found_wherever_they_are(name: str) -> None:
    fn, count, runs = PLACES[name]
    closed = jax.make_jaxpr(fn)(X)
    found = list(regions(closed.jaxpr))
    assert [region.index for region in found] == [0] * count
    if name != "jvp":  # the tangents are computed between the marks
        assert call_costs(closed, vjp=False) == {0: Cost(PRODUCT * runs)}


def test_regions_nest() -> None:
    closed = jax.make_jaxpr(nested)(X)
    costs = call_costs(closed, vjp=False)
    assert costs == {0: Cost(2 * PRODUCT + 32), 1: Cost(PRODUCT), 2: Cost(PRODUCT)}


def test_a_region_alone_goes_from_what_it_reads_to_what_it_returns() -> None:
    closed = jax.make_jaxpr(lambda x, w: nested(x @ w) * w)(X, X)
    (region,) = (r for r in regions(closed.jaxpr) if r.index == 0)
    alone = region.alone()
    assert (len(alone.invars), len(alone.outvars)) == (1, 1)
    y = jax.core.eval_jaxpr(alone, [], jnp.eye(4))
    assert jnp.array_equal(y[0], 5 * jnp.eye(4))


def test_loops_of_unknown_length_are_not_counted() -> None:
    closed = jax.make_jaxpr(lambda x: lax.while_loop(lambda x: x[0, 0] < 9, marked, x))(X)
    assert call_costs(closed, vjp=False) == {0: Cost(0, frozenset({"while"}))}


def test_marks_do_nothing_when_they_run() -> None:
    x = 2 * jnp.eye(4)
    assert jnp.array_equal(marked(x), 2 * x)
    assert jnp.array_equal(jax.jit(marked)(x), 2 * x)
    assert jnp.array_equal(jax.jit(jax.vmap(marked))(x[None]), 2 * x[None])
    assert jnp.array_equal(jax.jit(jax.jacfwd(lambda t: marked(t * x)))(1.0), 4 * x)
    assert jax.jit(jax.grad(lambda t: marked(t * x).sum()))(1.0) == 32.0


def test_no_tracer_is_kept() -> None:
    with jax.check_tracer_leaks(True):
        for fn, _, _ in PLACES.values():
            call_costs(jax.make_jaxpr(fn)(X), vjp=True)
