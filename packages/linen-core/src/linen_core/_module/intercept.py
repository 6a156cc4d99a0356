"""Interceptors: functions that see every method call of every module.

An interceptor is called instead of the method, with the function to call next, the arguments and a
`MethodContext`; it returns what the caller gets. Interceptors nest: the one entered last is
called first. Captured intermediates are an interceptor that sows what methods return.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from linen_core._context import context, intercepting


@dataclasses.dataclass(frozen=True)
class MethodContext:
    """Which method of which module is called.

    Attributes:
        module: the module.
        method_name: the name of the method.
        orig_method: the method as the class body defines it.
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
    fun: Callable[..., Any], module: Any, name: str, /, *args: Any, **kwargs: Any
) -> Any:
    """Call a method through the interceptors that are there."""
    method_context = MethodContext(module, name, fun)
    call = functools.partial(fun, module)
    for interceptor in context.interceptors:
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


def capturing(filter_: bool | CaptureFilter) -> contextlib.AbstractContextManager[None]:
    """Sow what methods return into the collection "intermediates", in a `with` block."""
    if filter_ is False:
        return contextlib.nullcontext()
    is_captured = _is_call if filter_ is True else filter_

    def capture(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        called: MethodContext,
    ) -> Any:
        y = next_fun(*args, **kwargs)
        if called.module.scope is not None and is_captured(called.module, called.method_name):
            called.module.sow("intermediates", called.method_name, y)
        return y

    return intercepting(capture)


def _is_call(module: Any, method_name: str) -> bool:
    del module
    return method_name == "__call__"
