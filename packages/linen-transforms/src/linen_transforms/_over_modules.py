"""Lifting over Modules: classes, methods and functions, all by way of functions of scopes.

A *transformation* here is a function that makes a lifted function of scopes from a function of
scopes: `functools.partial(lift.vmap, variable_axes=...)`, say.
"""

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import jax

from linen_core import Module, Variable, nowrap
from linen_core.errors import UnboundModuleError
from linen_core.extend import arguments_of, guard, names_in_use, standing_in
from linen_transforms._bind import Binding, is_module, modules_in, reference, resolve
from linen_transforms.errors import (
    LiftedMethodError,
    LiftedModuleError,
    NotAModuleError,
    TransformedMethodReturnValueError,
    TransformTargetError,
)

Transformation = Callable[[Callable[..., Any]], Callable[..., Any]]
Target = TypeVar("Target")


class Body:
    """A function of scopes that calls a method or function with modules in these scopes.

    Args:
        core: does that.
        wrapped: the method or function, whose signature it has.
        binding: the modules.
        parts: what determines what it does.
        owner: the class whose body it is, or of the module that it is called in.
        modules: the modules whose names in use it may change.

    Attributes:
        owner: that class.
        modules: these modules.
        is_anonymous: whether the scopes should not say where they are.
    """

    is_anonymous = False

    def __init__(
        self,
        core: Callable[..., Any],
        wrapped: Callable[..., Any],
        binding: Binding,
        parts: Any,
        owner: type,
        modules: tuple[Any, ...] = (),
    ) -> None:
        self._core = core
        self._binding = binding
        self._parts = parts
        self.owner = owner
        self.modules = modules
        self.__wrapped__ = wrapped
        self.__name__ = getattr(wrapped, "__name__", type(wrapped).__name__)

    def __call__(self, scopes: Any, /, *args: Any, **kwargs: Any) -> Any:
        y = self._core(scopes, *args, **kwargs)
        for path, leaf in jax.tree_util.tree_leaves_with_path(y):
            if isinstance(leaf, (Module, Variable)):
                raise TransformedMethodReturnValueError(
                    self._binding.scopes[0].debug_path,
                    getattr(self.__wrapped__, "__qualname__", self.__name__),
                    jax.tree_util.keystr(path),
                    f"a {type(leaf).__name__}",
                )
        return y

    @property
    def identity(self) -> Any:
        """What determines what it does, without the modules' places."""
        return self._binding.identity(self._parts)


def over_modules(
    name: str,
    target: Any,
    make: Callable[..., Transformation],
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | str | None = None,
    is_anonymous: bool = False,
    is_mapped: bool = False,
) -> Any:
    """Lift a class, a method or a function.

    Args:
        name: what the transformation is called; lifted classes are named after it.
        target: what to lift.
        make: makes the transformation, from keyword arguments that differ between methods.
        methods: which methods of a class are lifted: `__call__` if None, one or several by name, or
            a dict from names to arguments of the transformation that only they get.
        is_anonymous: whether methods of a class are called without knowing their place.
        is_mapped: whether the parameters of a class have more axes outside of its lifted methods.

    Raises:
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.
    """
    if isinstance(target, type) and issubclass(target, Module):
        lifted = _lift_class(name, target, make, methods, is_anonymous)
        return _guarded(name, target, lifted) if is_mapped else lifted
    if isinstance(target, types.MethodType) and is_module(target.__self__):
        lifted = _lift_function(name, target.__func__, make())
        return functools.wraps(target)(functools.partial(lifted, target.__self__))
    if is_module(target) or isinstance(target, type) or not callable(target):
        raise TransformTargetError(name, target)
    return _lift_function(name, target, make())


def _lift_class(
    name: str,
    cls: type[Module],
    make: Callable[..., Transformation],
    methods: Any,
    is_anonymous: bool,
) -> type[Module]:
    if methods is None:
        methods = ("__call__",)
    elif isinstance(methods, str) or not isinstance(methods, Iterable):
        methods = (methods,)
    options = methods if isinstance(methods, Mapping) else {key: {} for key in methods}
    body: dict[str, Any] = {"__module__": cls.__module__, "__doc__": cls.__doc__}
    for method, own in options.items():
        found = getattr(cls, method, None) if isinstance(method, str) else None
        if not callable(found):
            raise LiftedMethodError(name, cls.__name__, method)
        body[method] = _lift_method(name, cls, found, make(**own), is_anonymous)
    return type(f"{name.capitalize()}{cls.__name__}", (cls,), body)


def _guarded(name: str, cls: type[Module], lifted: type[Module]) -> type[Module]:
    """Let a lifted class make no parameters outside of its lifted methods."""

    def setup(self: Any) -> None:
        guard(self.scope, functools.partial(LiftedModuleError, name, self.path))
        cls.setup(self)

    lifted.setup = functools.wraps(cls.setup)(setup)
    return lifted


def _lift_method(
    name: str,
    cls: type[Module],
    method: Callable[..., Any],
    transformation: Transformation,
    is_anonymous: bool,
) -> Callable[..., Any]:
    """Give a method that calls that of the original class, in a copy of the module."""

    @functools.wraps(method)
    def lifted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.scope is None:
            what = f"its method {method.__name__}, lifted by {name}, cannot be called"
            raise UnboundModuleError(type(self).__name__, what)
        binding = Binding(self, args, kwargs)

        def core(scopes: Any, /, *args: Any, **kwargs: Any) -> Any:
            inside = binding.inside(scopes, {id(self): cls}, is_anonymous)
            args, kwargs = resolve((args, kwargs), inside)
            return method(inside.module(self), *args, **kwargs)

        fields = {name: value for name, value in arguments_of(self).items() if name != "name"}
        parts = (cls, method, fields, modules_in((args, kwargs)))
        body = Body(core, method, binding, parts, cls)
        body.is_anonymous = is_anonymous
        args, kwargs = reference((args, kwargs), binding)
        with jax.named_scope(self.name or type(self).__name__) if is_anonymous else nullcontext():
            return transformation(body)(binding.scopes, *args, **kwargs)

    return nowrap(lifted)  # neither set up nor entered: the copy is


def _lift_function(
    name: str, fn: Callable[..., Any], transformation: Transformation
) -> Callable[..., Any]:
    """Give a function whose first argument is, or holds, the module that it works in."""
    return functools.wraps(fn)(over_functions(name, (fn,), transformation))


def over_functions(
    name: str, fns: Sequence[Callable[..., Any]], transformation: Callable[..., Any]
) -> Callable[..., Any]:
    """Lift functions of modules by a transformation of several functions.

    Args:
        name: what the transformation is called.
        fns: functions whose first argument is, or holds, the module that they work in.
        transformation: a function that makes a lifted function of scopes from as many functions of
            scopes.

    Returns:
        A function `(mdl, *args, **kwargs)`.

    Raises:
        NotAModuleError: (when called) the first argument holds no bound module.
    """

    def lifted(mdl: Any, /, *args: Any, **kwargs: Any) -> Any:
        binding = Binding(mdl, *fns, args, kwargs)
        outer = binding.first(mdl)
        if outer is None:
            raise NotAModuleError(name, mdl)
        names = names_in_use(outer)

        def body(fn: Callable[..., Any]) -> Body:
            def core(scopes: Any, /, *args: Any, **kwargs: Any) -> Any:
                inside = binding.inside(scopes)
                args, kwargs = resolve((args, kwargs), inside)
                with standing_in(inside.module(outer), outer, names):
                    return inside(fn)(inside(mdl), *args, **kwargs)

            parts = (fn, mdl, modules_in((args, kwargs)))
            return Body(core, fn, binding, parts, type(outer), (outer,))

        referring, others = reference((args, kwargs), binding)
        return transformation(*map(body, fns))(binding.scopes, *referring, **others)

    return lifted
