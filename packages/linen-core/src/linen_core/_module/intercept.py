"""Interceptors: functions that see every method call of every module.

An interceptor is called instead of the method, with the function to call next, the arguments and a
`MethodContext`; it returns what the caller gets. Interceptors nest as the `with` blocks do: the one
entered first is called first. Captured intermediates are an interceptor outside of all others, which sows
what methods return; it belongs to one `init` or `apply`, and those inside of that have their own.
"""

import contextlib
import dataclasses
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from linen_core._context import context, intercepting


@dataclasses.dataclass(frozen=True)
class MethodContext:
    """Which method of which module is called.

    Attributes:
        module: the module.
        method_name: the name of the method.
        orig_method: the method as the class body defines it, bound to the module.
    """

    module: Any
    method_name: str
    orig_method: Callable[..., Any]


Interceptor: TypeAlias = Callable[
    [Callable[..., Any], tuple[Any, ...], dict[str, Any], MethodContext], Any
]
CaptureFilter: TypeAlias = Callable[[Any, str], bool]


def intercept_methods(interceptor: Interceptor) -> contextlib.AbstractContextManager[None]:
    """Call a function around every method call of every module, in a `with` block.

    Args:
        interceptor: a function `(next_fun, args, kwargs, context)`. `next_fun(*args, **kwargs)`
            goes on with the call.

    Returns:
        A context manager. It applies to the thread that enters it.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact, intercept_methods
        >>> class Identity(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x
        >>> def double(next_fun, args, kwargs, context):
        ...     return 2 * next_fun(*args, **kwargs)
        >>> with intercept_methods(double):
        ...     Identity().apply({}, 3)
        6
    """
    return intercepting(interceptor)


def call_intercepted(
    fun: Callable[..., Any], name: str, module: Any, /, *args: Any, **kwargs: Any
) -> Any:
    """Call a method through the interceptors that are there."""
    call = types.MethodType(fun, module)
    method_context = MethodContext(module, name, call)
    for interceptor in reversed(context.interceptors):
        call = functools.partial(_call_interceptor, interceptor, call, method_context)
    return call(*args, **kwargs)


def _call_interceptor(
    interceptor: Interceptor,
    next_fun: Callable[..., Any],
    method_context: MethodContext,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    return interceptor(next_fun, args, kwargs, method_context)


class _Capture:
    """The interceptor that sows what methods return into the collection "intermediates"."""

    def __init__(self, is_captured: CaptureFilter) -> None:
        self._is_captured = is_captured

    def __call__(
        self,
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        called: MethodContext,
    ) -> Any:
        y = next_fun(*args, **kwargs)
        module, name = called.module, called.method_name
        if module.scope is not None and self._is_captured(module, name):
            module.sow("intermediates", name, y)
        return y


@contextlib.contextmanager
def capturing(filter_: bool | CaptureFilter) -> Iterator[None]:
    """Capture intermediates, or do not, in a `with` block, whatever was captured around it."""
    before = context.interceptors
    others = tuple(other for other in before if not isinstance(other, _Capture))
    if filter_ is not False:
        others = (_Capture(_is_call if filter_ is True else filter_), *others)
    context.interceptors = others
    try:
        yield
    finally:
        context.interceptors = before


def _is_call(module: Any, method_name: str) -> bool:
    del module
    return method_name == "__call__"
