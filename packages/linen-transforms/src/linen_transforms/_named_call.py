"""`named_call`: a name in profiles for what a method or a function does."""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from linen_core import Module
from linen_core.config import config
from linen_transforms._bind import is_module
from linen_transforms.errors import TransformTargetError

Target = TypeVar("Target", bound=Callable[..., Any])


def named_call(class_fn: Target, force: bool = True) -> Target:
    """Name the operations of a method or function in profiles, as `jax.named_scope` does.

    The name is that of the module, a dot, and that of the method. Methods of modules have names
    already, as long as `config.profile` is on; this is for functions, and for where it is off.

    Args:
        class_fn: a Module class, a method, or a function whose first argument is a Module. Of a
            class, `__call__` is named.
        force: whether to name the operations even while `config.profile` is off.

    Returns:
        A class of the same name, or a function, that is called as `class_fn` is.

    Raises:
        TransformTargetError: `class_fn` is nothing that can be called.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Double(Module):
        ...     @linen_transforms.named_call
        ...     def __call__(self, x):
        ...         return x + x
        >>> lowered = jax.jit(lambda x: Double().apply({}, x)).lower(1.0)
        >>> "Double.__call__" in lowered.as_text(debug_info=True)
        True
    """
    if isinstance(class_fn, type) and issubclass(class_fn, Module):
        named: Any = named_call(class_fn.__call__, force)
        for mark in ("compact", "method_handler_wrapped"):
            vars(named).pop(mark, None)
        vars(named)["nowrap"] = True
        body = {"__module__": class_fn.__module__, "__doc__": class_fn.__doc__, "__call__": named}
        return type(class_fn)(class_fn.__name__, (class_fn,), body)
    if is_module(class_fn) or isinstance(class_fn, type) or not callable(class_fn):
        raise TransformTargetError("named_call", class_fn)
    if isinstance(class_fn, types.MethodType):
        unbound = named_call(class_fn.__func__, force)
        return types.MethodType(unbound, class_fn.__self__)  # type: ignore[return-value]

    @functools.wraps(class_fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not (force or config.profile):
            return class_fn(*args, **kwargs)
        with jax.named_scope(_label(class_fn, args)):
            return class_fn(*args, **kwargs)

    return call  # type: ignore[return-value]


def _label(fn: Callable[..., Any], args: tuple[Any, ...]) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    if not args or not is_module(args[0]):
        return name
    return f"{args[0].name or type(args[0]).__name__}.{name}"
