"""Wrapping: what happens around a method call.

Methods are wrapped once, when their class is made. Around a call of a method of an attached
module, the wrapper sets the module up if that is still to do, puts it on the module stack, so that
modules constructed in the method find their parent, and opens a `jax.named_scope`. A `@compact`
method may also make submodules and variables; when the outermost one returns, the names that
it used are free again, so that a second call reuses the same submodules.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from linen_core._context import context
from linen_core._module.fields import state_of
from linen_core._module.intercept import call_intercepted
from linen_core._module.lifecycle import set_up
from linen_core.config import config
from linen_core.errors import CallCompactUnboundModuleError, CallSetupUnboundModuleError

F = TypeVar("F", bound=Callable[..., Any])

# Python calls these at times when a module cannot run: while it is made, copied or shown.
_NEVER_WRAPPED = frozenset(
    {
        "__init__", "__new__", "__post_init__", "__init_subclass__", "__class_getitem__",
        "__getattr__", "__getattribute__", "__setattr__", "__delattr__", "__dir__", "__eq__",
        "__ne__", "__hash__", "__repr__", "__str__", "__format__", "__copy__", "__deepcopy__",
        "__replace__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__",
        "__getnewargs__", "__getnewargs_ex__", "__del__", "__sizeof__", "__treescope_repr__",
    }
)  # fmt: skip


def compact(fun: F) -> F:
    """Let a method define submodules and variables where it uses them.

    Submodules are named by their class and a number ("Dense_0"), unless they are given a name.

    Args:
        fun: a method of a Module class.

    Returns:
        The method, marked.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
        >>> Scale().init(jax.random.key(0), jax.numpy.ones(2))["params"]["scale"].shape
        (2,)
    """
    vars(fun)["compact"] = True
    return fun


def nowrap(fun: F) -> F:
    """Leave a method as it is: calls neither set the module up nor make it a parent.

    Modules that the method constructs belong to whoever calls it.

    Args:
        fun: a method of a Module class.

    Returns:
        The method, marked.

    Example:
        >>> from linen_core import Module, nowrap
        >>> class Stem(Module):
        ...     width: int = 3
        ...     @nowrap
        ...     def doubled(self):
        ...         return 2 * self.width
        >>> Stem().doubled()
        6
    """
    vars(fun)["nowrap"] = True
    return fun


def wrap_methods(cls: type) -> None:
    """Wrap the methods that a class body defines."""
    fields = getattr(cls, "__dataclass_fields__", {})
    for name, value in list(vars(cls).items()):
        if not isinstance(value, types.FunctionType) or name in fields or name in _NEVER_WRAPPED:
            continue
        if not hasattr(value, "nowrap") and not hasattr(value, "method_handler_wrapped"):
            setattr(cls, name, _wrap_setup(value) if name == "setup" else _wrap(name, value))


def _wrap(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
    is_compact = hasattr(fun, "compact")
    suffix = "" if name == "__call__" else f".{name}"

    @functools.wraps(fun)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self)
        scope = self.scope
        if scope is None:
            if is_compact:
                raise CallCompactUnboundModuleError(type(self).__name__, name)
        elif state.needs_setup:
            set_up(self)
        modules = context.modules
        modules.append(self)
        reservations = _enter_compact(state, scope) if is_compact else None
        try:
            if context.interceptors:
                run = functools.partial(call_intercepted, fun, self, name)
            else:
                run = functools.partial(fun, self)
            if not config.profile or scope is None:
                return run(*args, **kwargs)
            with jax.named_scope((self.name or type(self).__name__) + suffix):
                return run(*args, **kwargs)
        finally:
            if is_compact:
                _leave_compact(state, scope, reservations)
            modules.pop()

    vars(call)["method_handler_wrapped"] = True
    return call


def _enter_compact(state: Any, scope: Any) -> Any:
    state.compact_depth += 1
    return scope.reservations() if state.compact_depth == 1 else None


def _leave_compact(state: Any, scope: Any, reservations: Any) -> None:
    state.compact_depth -= 1
    if state.compact_depth == 0:
        scope.restore_reservations(reservations)
        state.autoname_counts = {}


def _wrap_setup(fun: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fun)
    def setup(self: Any) -> None:
        if self.scope is None:
            raise CallSetupUnboundModuleError(type(self).__name__)
        if context.interceptors:
            call_intercepted(fun, self, "setup")
        else:
            fun(self)

    vars(setup)["method_handler_wrapped"] = True
    return setup
