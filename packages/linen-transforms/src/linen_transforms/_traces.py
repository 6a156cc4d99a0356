"""Traces that `jit` keeps: where, and for how long.

`jax.jit` remembers what it has traced for as long as the function lives, and with it every static
argument. One function for everything would remember all classes and fields of a process. So there
is a function for each **key**, which is what a trace depends on besides arrays, and the functions
are kept with the Module class that they are of: they go when the class goes. A class keeps a
limited number; those that were not used for the longest time go first.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax

_MOST_REMEMBERED = 1024
_ATTRIBUTE = "_lifted_traces"

# Positions and names of arguments.
Donated = tuple[tuple[int, ...], tuple[str, ...]]


class Call:
    """A call of a body: a static argument that makes no difference."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run: Callable[..., Any] | None = run

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call)


class Traces:
    """The compiled functions that are kept at one place."""

    def __init__(self) -> None:
        self._find = functools.lru_cache(maxsize=_MOST_REMEMBERED)(_compiled)

    def find(self, key: Hashable, run: Callable[..., Any], donated: Donated) -> Callable[..., Any]:
        """Give a function that runs only if no call of the same key and shapes has run.

        Args:
            key: what decides what `run` does, besides its arguments.
            run: a function `(variables, keys, args, kwargs)`.
            donated: the positions in `args`, and the names in `kwargs`, of arguments that may be
                overwritten.

        Returns:
            A function `(variables, keys, *args, **kwargs)`.
        """
        compiled = self._find(key, donated)

        def call(*args: Any, **kwargs: Any) -> Any:
            call = Call(run)
            try:
                return compiled(call, *args, **kwargs)
            finally:
                call.run = None  # JAX remembers the call

        return call

    def __reduce__(self) -> tuple[type["Traces"], tuple[()]]:
        # A class that is pickled by value leaves them behind.
        return Traces, ()


def _compiled(key: Hashable, donated: Donated) -> Callable[..., Any]:
    del key  # a function of its own for each

    def lifted_call(call: Call, variables: Any, keys: Any, /, *args: Any, **kwargs: Any) -> Any:
        assert call.run is not None
        return call.run(variables, keys, args, kwargs)

    numbers, names = donated
    return jax.jit(
        lifted_call,
        static_argnums=0,
        donate_argnums=tuple(n + 3 for n in numbers),
        donate_argnames=names,
    )


_OF_FUNCTIONS = Traces()


def traces_of(owner: type | None) -> Traces:
    """Give the traces of a Module class; None stands for functions of scopes."""
    if owner is None:
        return _OF_FUNCTIONS
    traces = vars(owner).get(_ATTRIBUTE)
    if traces is None:
        traces = Traces()
        setattr(owner, _ATTRIBUTE, traces)
    return traces
