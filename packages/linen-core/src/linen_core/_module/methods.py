"""The `method` argument of `init` and `apply`: what it may be, and the function that it means."""

import functools
from collections.abc import Callable
from typing import Any

from linen_core._module.fields import ModuleBase
from linen_core.errors import ApplyModuleInvalidMethodError, MissingAttributeError


def resolve_method(module: Any, method: Callable[..., Any] | str | None) -> Callable[..., Any]:
    """Give the function of a module and arguments that `method` stands for.

    `None` is `__call__`. A name is a method, or a submodule that `setup` defines. A method of an
    instance stands for the method itself, whichever instance it was taken from.

    Raises:
        ApplyModuleInvalidMethodError: it is none of these.
        MissingAttributeError: the class has no method of that name.
    """
    cls = type(module)
    if method is None:
        method = "__call__"
    if isinstance(method, str):
        return _named(module, cls, method)
    if isinstance(method, ModuleBase) or not callable(method):
        raise ApplyModuleInvalidMethodError(method, cls.__name__)
    owner = getattr(method, "__self__", None)
    return method.__func__ if isinstance(owner, ModuleBase) else method  # type: ignore[attr-defined]


def _named(module: Any, cls: type, name: str) -> Callable[..., Any]:
    found = getattr(cls, name, None)
    if callable(found):
        return found
    if name in vars(module) and not isinstance(vars(module)[name], ModuleBase):
        raise ApplyModuleInvalidMethodError(name, cls.__name__)
    if found is not None or not hasattr(cls, "setup"):
        raise MissingAttributeError(cls.__name__, name, False, dir(cls))

    def call_attribute(bound: Any, *args: Any, **kwargs: Any) -> Any:
        attribute = getattr(bound, name)
        if not callable(attribute):
            raise ApplyModuleInvalidMethodError(name, cls.__name__)
        return attribute(*args, **kwargs)

    return functools.update_wrapper(call_attribute, call_attribute)
