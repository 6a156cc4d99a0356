"""Modules and scopes: one traversal, both ways.

A lifted body must not touch the modules that its caller holds: they are bound to scopes of another
trace. A **binding** finds the bound modules that a body can reach: its arguments, the fields of
modules, and what functions have captured in closures, in `functools.partial` and as bound methods. Their
scopes are what the engine cuts out. Inside of the transformation the same traversal puts copies in
their places that are bound to the inner scopes. A module that is reached twice is one module there
too.
"""

import dataclasses
import functools
import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax

from linen_core import Module, Scope
from linen_core.extend import arguments_of, map_modules, rebound

Replace = Callable[[Any], Any]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Reference:
    """Stands for a module in the arguments of a JAX transformation, which know nothing of modules.

    Attributes:
        index: the number of a bound module.
        module: a module that is not bound.
    """

    index: int | None
    module: Any = None


class Binding:
    """The bound modules that some values can reach.

    Args:
        *values: modules, functions, and containers of these.

    Attributes:
        scopes: the scopes of the modules that were found.
    """

    def __init__(self, *values: Any) -> None:
        self._modules: dict[int, Any] = {}
        self._seen: list[Any] = []
        for value in values:
            map_captured(self._collect, value)
        self.scopes: list[Scope] = [module.scope for module in self._modules.values()]

    def _collect(self, module: Any) -> Any:
        if id(module) not in self._modules and module.scope is not None:
            self._modules[id(module)] = module
            rebound_fields(module, self._collect)
        return module

    def first(self, value: Any) -> Any:
        """Give the first bound module that a value holds, or None."""
        return next((module for module in modules_in(value) if module.scope is not None), None)

    def index(self, module: Any) -> int | None:
        """Give the number of a module, or None if it is not bound."""
        return list(self._modules).index(id(module)) if id(module) in self._modules else None

    def identity(self, value: Any) -> Any:
        """Give a value with descriptions, which compare by value, in the places of its modules."""
        return map_captured(self._describe, value)

    def _describe(self, module: Any) -> Any:
        if module.scope is None:
            return module
        index = self.index(module)
        fields = {
            name: map_captured(self._describe, field)
            for name, field in arguments_of(module).items()
            if name != "name"
        }
        return type(module), index, fields

    def inside(
        self,
        scopes: Sequence[Scope],
        classes: dict[int, type] | None = None,
        is_anonymous: bool = False,
    ) -> "Rebinding":
        """Start the way back: put copies of the modules into inner scopes.

        Args:
            scopes: the inner scopes, in the order of `scopes`.
            classes: other classes for the copies of some modules, by the ids of the modules.
            is_anonymous: whether those copies have no name.
        """
        found = list(zip(self._modules.values(), scopes, strict=True))
        return Rebinding(found, classes or {}, is_anonymous)


class Rebinding:
    """Copies of modules in inner scopes, each made when it is reached first."""

    def __init__(
        self, found: Sequence[tuple[Any, Scope]], classes: dict[int, type], is_anonymous: bool
    ) -> None:
        self._is_anonymous = is_anonymous
        self._modules = [module for module, _ in found]
        self._scopes = {id(module): scope for module, scope in found}
        self._classes = classes
        self._copies: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Give a value with copies in the places of its modules."""
        return map_captured(self.module, value)

    def module_at(self, index: int) -> Any:
        """Give the copy of the module of some number."""
        return self.module(self._modules[index])

    def module(self, module: Any) -> Any:
        """Give the copy of a module; what is not bound stays what it is."""
        scope = self._scopes.get(id(module))
        if scope is None:
            return module
        if id(module) not in self._copies:
            cls = self._classes.get(id(module))
            name = None if cls is not None and self._is_anonymous else module.name
            self._copies[id(module)] = rebound(module, scope, self, cls, name)
        return self._copies[id(module)]


def rebound_fields(module: Any, replace: Replace) -> None:
    """Visit what the fields of a module hold."""
    for value in arguments_of(module).values():
        map_captured(replace, value)


def map_captured(replace: Replace, value: Any, outer: tuple[Any, ...] = ()) -> Any:
    """Replace the modules that a value holds or has captured.

    Args:
        replace: gives what stands for a module.
        value: anything. Containers are looked into, and so are functions.
        outer: the functions that the value was reached through, which may capture each other.

    Returns:
        The value; a new one where something in it was replaced.
    """
    if isinstance(value, functools.partial):
        positional, named = (value.func, *value.args), value.keywords
        new = [map_captured(replace, part, outer) for part in positional]
        new_named = {name: map_captured(replace, part, outer) for name, part in named.items()}
        if all(map(operator.is_, [*new, *new_named.values()], [*positional, *named.values()])):
            return value
        return type(value)(*new, **new_named)
    if isinstance(value, types.MethodType):
        owner = map_captured(replace, value.__self__, outer)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    if isinstance(value, types.FunctionType):
        return value if value in outer else _map_closure(replace, value, (*outer, value))
    return map_modules(lambda _, module: replace(module), value)


def _map_closure(
    replace: Replace, fn: types.FunctionType, outer: tuple[Any, ...]
) -> types.FunctionType:
    cells = fn.__closure__ or ()
    new = []
    for cell in cells:
        try:
            content = cell.cell_contents
        except ValueError:  # a name that has no value yet
            new.append(cell)
            continue
        mapped = map_captured(replace, content, outer)
        new.append(cell if mapped is content else types.CellType(mapped))
    if all(a is b for a, b in zip(new, cells, strict=True)):
        return fn
    copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, tuple(new))
    copy.__kwdefaults__ = fn.__kwdefaults__
    functools.update_wrapper(copy, fn)
    return copy


def reference(tree: Any, binding: Binding) -> Any:
    """Give a tree of arguments with references in the places of its modules."""

    def refer(_: str, module: Any) -> _Reference:
        index = binding.index(module)
        return _Reference(index) if index is not None else _Reference(None, module)

    return map_modules(refer, tree)


def resolve(tree: Any, rebinding: Rebinding) -> Any:
    """Give a tree of arguments with copies of modules in the places of the references."""

    def give(leaf: Any) -> Any:
        if not isinstance(leaf, _Reference):
            return leaf
        return leaf.module if leaf.index is None else rebinding.module_at(leaf.index)

    return jax.tree.map(give, tree, is_leaf=lambda leaf: isinstance(leaf, _Reference))


def modules_in(value: Any) -> list[Any]:
    """Give the modules that a value holds."""
    found: list[Any] = []
    map_modules(lambda _, module: found.append(module) or module, value)
    return found


def is_module(value: Any) -> bool:
    """Say whether something is a module instance."""
    return isinstance(value, Module)
