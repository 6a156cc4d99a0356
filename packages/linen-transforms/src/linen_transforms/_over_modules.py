"""Lifting over Modules: classes, methods and functions, all by way of functions of scopes.

A *transformation* here is a function that makes a lifted function of scopes from a function of
scopes: `functools.partial(lift.vmap, variable_axes=...)`, say.
"""

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from linen_core import Module
from linen_core.extend import standing_in
from linen_transforms._bind import Binding, is_module, reference, resolve
from linen_transforms.errors import LiftedMethodError, NotAModuleError, TransformTargetError

Transformation = Callable[[Callable[..., Any]], Callable[..., Any]]
Target = TypeVar("Target")


def over_modules(
    name: str,
    target: Any,
    make: Callable[..., Transformation],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | str | None = None,
) -> Any:
    """Lift a class, a method or a function.

    Args:
        name: what the transformation is called; lifted classes are named after it.
        target: what to lift.
        make: makes the transformation, from keyword arguments that differ between methods.
        methods: which methods of a class are lifted: `__call__` if None, one or several by name, or
            a dict from names to arguments of the transformation that only they get.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
    """
    if isinstance(target, type) and issubclass(target, Module):
        return _lift_class(name, target, make, methods)
    if isinstance(target, types.MethodType) and is_module(target.__self__):
        lifted = _lift_function(name, target.__func__, make())
        return functools.wraps(target)(functools.partial(lifted, target.__self__))
    if is_module(target) or isinstance(target, type) or not callable(target):
        raise TransformTargetError(name, target)
    return _lift_function(name, target, make())


def _lift_class(
    name: str, cls: type[Module], make: Callable[..., Transformation], methods: Any
) -> type[Module]:
    if methods is None:
        methods = ("__call__",)
    elif isinstance(methods, str):
        methods = (methods,)
    options = methods if isinstance(methods, Mapping) else {key: {} for key in methods}
    body: dict[str, Any] = {"__module__": cls.__module__, "__doc__": cls.__doc__}
    for method, own in options.items():
        found = getattr(cls, method, None)
        if not callable(found):
            raise LiftedMethodError(name, cls.__name__, method)
        body[method] = _lift_method(cls, found, make(**own))
    return type(Module)(f"{name.capitalize()}{cls.__name__}", (cls,), body)


def _lift_method(
    cls: type[Module], method: Callable[..., Any], transformation: Transformation
) -> Callable[..., Any]:
    """Give a method that calls that of the original class, in a copy of the module."""

    @functools.wraps(method)
    def lifted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.scope is None:
            return method(self, *args, **kwargs)
        binding = Binding(self, args, kwargs)

        def core(scopes: Any, *args: Any, **kwargs: Any) -> Any:
            inside = binding.inside(scopes, {id(self): cls})
            args, kwargs = resolve((args, kwargs), inside)
            return method(inside.module(self), *args, **kwargs)

        core.__name__ = method.__name__
        args, kwargs = reference((args, kwargs))
        return transformation(core)(binding.scopes, *args, **kwargs)

    # Neither set up nor entered: the copy is.
    for mark in ("compact", "method_handler_wrapped"):
        vars(lifted).pop(mark, None)
    vars(lifted)["nowrap"] = True
    return lifted


def _lift_function(
    name: str, fn: Callable[..., Any], transformation: Transformation
) -> Callable[..., Any]:
    """Give a function whose first argument is, or holds, the module that it works in."""

    @functools.wraps(fn)
    def lifted(mdl: Any, /, *args: Any, **kwargs: Any) -> Any:
        binding = Binding(mdl, fn, args, kwargs)
        outer = binding.first(mdl)
        if outer is None:
            raise NotAModuleError(name, mdl)

        def core(scopes: Any, *args: Any, **kwargs: Any) -> Any:
            inside = binding.inside(scopes)
            args, kwargs = resolve((args, kwargs), inside)
            with standing_in(inside.module(outer), outer):
                return inside(fn)(inside(mdl), *args, **kwargs)

        core.__name__ = getattr(fn, "__name__", name)
        args, kwargs = reference((args, kwargs))
        return transformation(core)(binding.scopes, *args, **kwargs)

    return lifted
