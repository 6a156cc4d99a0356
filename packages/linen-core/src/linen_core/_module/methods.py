"""The `method` argument of `init` and `apply`: what it may be, and the function that it means."""

from collections.abc import Callable
from typing import Any

from linen_core._module.fields import ModuleBase
from linen_core.errors import ApplyModuleInvalidMethodError


def resolve_method(module: Any, method: Callable[..., Any] | str | None) -> Callable[..., Any]:
    """Give the function of a module and arguments that `method` stands for.

    `None` is `__call__`. A name is a method, or a submodule that `setup` defines. A method of an
    instance stands for the method itself, whichever instance it was taken from.

    Raises:
        ApplyModuleInvalidMethodError: it is none of these.
    """
    cls = type(module)
    if method is None:
        method = "__call__"
    if isinstance(method, str):
        return _named(cls, method)
    if isinstance(method, (ModuleBase, type)) or not callable(method):
        raise ApplyModuleInvalidMethodError.of_value(method, cls.__name__)
    owner = getattr(method, "__self__", None)
    return method.__func__ if isinstance(owner, ModuleBase) else method  # type: ignore[attr-defined]


def _named(cls: type, name: str) -> Callable[..., Any]:
    # Not what getattr finds in the metaclass, where every class has a `__call__`.
    is_defined = any(name in vars(base) for base in cls.__mro__)
    if is_defined and callable(found := getattr(cls, name)):
        return found
    if name == "__call__":
        raise ApplyModuleInvalidMethodError.of_missing_call(cls.__name__)

    def call_attribute(bound: Any, /, *args: Any, **kwargs: Any) -> Any:
        attribute = getattr(bound, name)
        if not callable(attribute):
            raise ApplyModuleInvalidMethodError.of_value(name, cls.__name__)
        return attribute(*args, **kwargs)

    return call_attribute
