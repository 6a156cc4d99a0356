"""Which JAX trace is running."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core._trace import current_trace, is_tracer, is_tracing

TRANSFORMATIONS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "jit": lambda f: jax.jit(f)(1.0),
    "grad": lambda f: jax.grad(f)(1.0),
    "vmap": lambda f: jax.vmap(f)(jnp.ones(2)),
    "eval_shape": lambda f: jax.eval_shape(f, 1.0),
    "make_jaxpr": lambda f: jax.make_jaxpr(f)(1.0),
    "scan": lambda f: jax.lax.scan(lambda carry, _: (f(carry), None), 1.0, length=2),
}


def test_nothing_runs_at_first() -> None:
    assert not is_tracing()
    assert not is_tracer(jnp.ones(2))
    assert current_trace() == current_trace()


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_transformation_is_a_trace_of_its_own(name: str) -> None:
    outside, seen = current_trace(), []

    def f(x: Any) -> Any:
        seen.append((is_tracing(), is_tracer(x), current_trace() == outside))
        return x

    TRANSFORMATIONS[name](f)
    assert set(seen) == {(True, True, False)}
    assert not is_tracing()
    assert current_trace() == outside


def test_what_is_inside_ends_before_what_is_outside() -> None:
    def f(x: Any) -> Any:
        jax.make_jaxpr(jnp.sin)(x)
        assert is_tracing()
        return x

    jax.jit(f)(1.0)
