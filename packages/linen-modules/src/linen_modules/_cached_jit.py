"""Arithmetic that is traced once.

What a layer computes is a pure function of arrays, apart from where its parameters live. Each such
*arithmetic function* stands at module level behind one `jax.jit`, so that JAX traces and lowers it
once for each distinct shape, dtype and configuration; from then on a layer is one cheap equation
in the trace of a model, and one dispatch when it runs eagerly. XLA inlines the calls.

The parameters of an arithmetic function say what they are:

- *positional* ones are arrays (or None where a layer has no such parameter);
- *keyword-only* ones are **configuration**: static, part of the cache's key;
- keyword-only ones whose default is a function are **operators**: steps a user may replace.

Two kinds of calls take the *plain path*, the same function without the jit. Configuration that
cannot be hashed (an array as epsilon) has no place in a cache. And an operator that is not the
default one may be a lambda made anew at every call, which would fill the cache and compile each
time, or a bound module, which must run in the trace of the model.
"""

import inspect
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def cached_jit(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Puts a function of arrays behind one `jax.jit`.

    Args:
        *static: names of positional parameters that are configuration, for functions whose
            signature is given; keyword-only parameters always are.

    Returns:
        A decorator. The decorated function keeps its name, so that it pickles by reference, and
        has the plain one as `__wrapped__`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        keyword_only = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        operators = [(p.name, p.default) for p in keyword_only if inspect.isfunction(p.default)]
        names = (*static, *(p.name for p in keyword_only))
        compiled = jax.jit(function, static_argnames=names)

        def is_hashable(*args: Any, **kwargs: Any) -> bool:
            given = signature.bind(*args, **kwargs).arguments
            return all(_is_hashable(given[name]) for name in names if name in given)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, default in operators:
                if kwargs.get(name, default) is not default:
                    return function(*args, **kwargs)
            try:
                return compiled(*args, **kwargs)
            except (TypeError, ValueError):
                # jit hashes before it traces: nothing has run yet if this was the reason.
                if is_hashable(*args, **kwargs):
                    raise
            return function(*args, **kwargs)

        return call

    return decorate


def _is_hashable(value: Hashable) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def choose_operator(make: Callable[[], T] | None, given: T | None, default: T) -> T:
    """Picks the operator of a layer that has the fields `operator_cls` and `operator`."""
    if make is not None:
        return make()
    return default if given is None else given
