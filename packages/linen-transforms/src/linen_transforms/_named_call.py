"""`named_call`: a name in profiles for what a method or a function does."""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

from linen_core import Module, nowrap
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
    target: Any = class_fn
    if isinstance(target, type) and issubclass(target, Module):
        return _named_class(target, force)
    if isinstance(target, types.MethodType) and is_module(target.__self__):
        named = named_call(target.__func__, force)
        return cast(Target, types.MethodType(named, target.__self__))
    if is_module(target) or isinstance(target, type) or not callable(target):
        raise TransformTargetError("named_call", target)

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not (force or config.profile):
            return target(*args, **kwargs)
        with jax.named_scope(_label(target, args)):
            return target(*args, **kwargs)

    return cast(Target, call)


def _named_class(cls: Any, force: bool) -> Any:
    named: Any = nowrap(named_call(cls.__call__, force))
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__, "__call__": named}
    return type(cls)(cls.__name__, (cls,), body)


def _label(fn: Callable[..., Any], args: tuple[Any, ...]) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    if not args or not is_module(args[0]):
        return name
    return f"{args[0].name or type(args[0]).__name__}.{name}"
