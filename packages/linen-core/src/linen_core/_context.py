"""Every piece of thread-local state of linen-core, in one place.

Module code runs inside *frames*: while a method of a bound module runs, that module is on the
**module stack** of the thread, so that a submodule constructed in the method finds its parent.
Around methods there may be **interceptors**, functions that see each call before it happens.
**Axis rules** map the logical names of array axes to axes of a device mesh.

Threads do not see each other's state: two threads may apply one module at the same time.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _Context(threading.local):
    """The state of one thread."""

    def __init__(self) -> None:
        """Start with nothing on the stacks."""
        # The innermost entry is the module whose method runs now; None means "no parent".
        self.modules: list[Any] = [None]
        # Outermost first. A tuple, so that a call can iterate while others are pushed.
        self.interceptors: tuple[Callable[..., Any], ...] = ()
        # In order of precedence.
        self.axis_rules: tuple[tuple[str, Any], ...] = ()
        # The path of keys that a state dict walk is at, for its error messages.
        self.state_dict_path: list[str] = []

    def __reduce__(self) -> str:
        # A class that is pickled by value, with methods that we have wrapped, refers to the context.
        return "context"


context = _Context()


@contextlib.contextmanager
def intercepting(interceptor: Callable[..., Any], outermost: bool = False) -> Iterator[None]:
    """Call `interceptor` around every method of every module, inside those already there.

    Args:
        interceptor: what to call.
        outermost: whether to call it outside of the others instead, so that it sees their doings.
    """
    before = context.interceptors
    context.interceptors = (interceptor, *before) if outermost else (*before, interceptor)
    try:
        yield
    finally:
        context.interceptors = before


@contextlib.contextmanager
def using_axis_rules(rules: tuple[tuple[str, Any], ...]) -> Iterator[None]:
    """Map logical axes by `rules`, in place of those that were there."""
    before = context.axis_rules
    context.axis_rules = rules
    try:
        yield
    finally:
        context.axis_rules = before
