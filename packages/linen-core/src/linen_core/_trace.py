"""Which JAX trace is running: a scope belongs to the trace that it was bound in."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core

# What JAX raises when Python code needs the value of something that is only traced.
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@functools.cache
def _state_of_jax() -> Callable[..., Any]:
    # Here, since importing jax.extend takes as long as importing all of this package.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:  # before JAX 0.10 it was public under another name
        from jax.core import get_opaque_trace_state  # type: ignore[attr-defined,no-redef]
    return get_opaque_trace_state


def current_trace() -> Any:
    """Give a token that equals another exactly if no trace began or ended in between."""
    return _state_of_jax()(convention="flax")


def is_tracer(x: Any) -> bool:
    """Say whether a value is traced, not concrete."""
    return isinstance(x, jax.core.Tracer)


def is_tracing() -> bool:
    """Say whether any JAX trace is running in this thread."""
    here = current_trace()
    with jax.core.eval_context():
        return current_trace() != here
