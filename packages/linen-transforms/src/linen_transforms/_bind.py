"""Modules and scopes: one traversal, both ways.

A lifted body must not touch the modules that its caller holds: they are bound to scopes of another
trace. A **binding** finds the bound modules that a body can reach: its arguments, the fields of
modules, and what functions have captured in closures, in `functools.partial` and as bound methods. Their
scopes are what the engine cuts out. Inside of the transformation the same traversal puts copies in
their places that are bound to the inner scopes. A module that is reached twice is one module there
too.
"""

import functools
import operator
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from linen_core import Module, Scope
from linen_core.extend import arguments_of, map_items, map_modules, rebound

Replace = Callable[[Any], Any]


@jax.tree_util.register_static
class _Reference:
    """Stands for something in the arguments of a JAX transformation, which knows nothing of modules.

    Args:
        index: the number of a bound module.
        value: something else: a module that is not bound, or a function that uses bound ones.
    """

    def __init__(self, index: int | None, value: Any = None) -> None:
        self.index = index
        self.value = value

    def __hash__(self) -> int:
        return hash((self.index, type(self.value)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Reference) or self.index != other.index:
            return False
        try:
            return self.value is other.value or bool(self.value == other.value)
        except ValueError:  # arrays in fields have no truth value
            return False


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
        is_usable = module.scope is not None and not module.scope.invalid
        if id(module) not in self._modules and is_usable:
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
        found: dict[int, Any] = {}

        def describe(module: Any) -> Any:
            index = self.index(module)
            if index is None:
                return module
            if index not in found:
                found[index] = (type(module), index)  # for fields that lead back here
                own = {name: x for name, x in arguments_of(module).items() if name != "name"}
                fields = {name: map_captured(describe, field) for name, field in own.items()}
                found[index] = (type(module), index, fields)
            return found[index]

        return map_captured(describe, value)

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
            is_anonymous: whether the copies at the outermost scopes have no name.
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
            name = None if self._is_anonymous and scope.parent is None else module.name
            cls = self._classes.get(id(module))
            begin = functools.partial(self._copies.__setitem__, id(module))
            rebound(module, scope, self, cls, name, begin)
        return self._copies[id(module)]


def rebound_fields(module: Any, replace: Replace) -> None:
    """Visit what the fields of a module hold."""
    for value in arguments_of(module).values():
        map_captured(replace, value)


def map_captured(
    replace: Replace, value: Any, copies: dict[int, types.FunctionType] | None = None
) -> Any:
    """Replace the modules that a value holds or has captured.

    Args:
        replace: gives what stands for a module.
        value: anything. Containers are looked into, and so are functions.
        copies: copies of functions that are being made, which may capture each other.

    Returns:
        The value; a new one where something in it was replaced.
    """
    copies = {} if copies is None else copies
    if is_module(value):
        return replace(value)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        func, args, named = (map_captured(replace, part, copies) for part in parts)
        if all(map(operator.is_, (func, args, named), parts)):
            return value
        return type(value)(func, *args, **named)
    if isinstance(value, types.MethodType):
        owner = map_captured(replace, value.__self__, copies)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    if isinstance(value, types.FunctionType):
        return _map_closure(replace, value, copies)
    return map_items(lambda _, item: map_captured(replace, item, copies), value)


def _map_closure(
    replace: Replace, fn: types.FunctionType, copies: dict[int, types.FunctionType]
) -> types.FunctionType:
    if id(fn) in copies:
        return copies[id(fn)]
    # A cell stays, and with it what is assigned to its name, unless it leads to what is replaced.
    old = fn.__closure__ or ()
    leads = [any(replace(m) is not m for m in captured_modules(_content(cell))) for cell in old]
    defaults = (fn.__defaults__, fn.__kwdefaults__)
    positional, named = (map_captured(replace, part, copies) for part in defaults)
    if not any(leads) and positional is defaults[0] and named is defaults[1]:
        return fn
    cells = [types.CellType() if new else cell for cell, new in zip(old, leads, strict=True)]
    copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, positional, tuple(cells))
    copy.__kwdefaults__ = named
    functools.update_wrapper(copy, fn)
    copies[id(fn)] = copy
    for cell, new, is_new in zip(old, cells, leads, strict=True):
        if is_new:
            new.cell_contents = map_captured(replace, cell.cell_contents, copies)
    return copy


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None


def captured_modules(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Give the modules that a value holds or has captured.

    Args:
        value: anything.
        seen: the functions that were looked into.
    """
    seen = set() if seen is None else seen
    if is_module(value):
        yield value
    elif isinstance(value, functools.partial):
        yield from captured_modules((value.func, value.args, value.keywords), seen)
    elif isinstance(value, types.MethodType):
        yield from captured_modules(value.__self__, seen)
    elif isinstance(value, types.FunctionType):
        if id(value) not in seen:
            seen.add(id(value))
            parts = [_content(cell) for cell in value.__closure__ or ()]
            yield from captured_modules((value.__defaults__, value.__kwdefaults__, parts), seen)
    else:
        items: list[Any] = []
        map_items(lambda _, item: items.append(item) or item, value)
        for item in items:
            yield from captured_modules(item, seen)


def reference(tree: Any, binding: Binding) -> Any:
    """Give a tree of arguments with references in the places of its modules.

    So it is with functions that use bound modules.
    """

    def refer(value: Any) -> Any:
        if is_module(value):
            index = binding.index(value)
            return _Reference(None, value) if index is None else _Reference(index)
        if isinstance(value, (functools.partial, types.MethodType, types.FunctionType)):
            uses = any(binding.index(m) is not None for m in captured_modules(value))
            return _Reference(None, value) if uses else value
        return map_items(lambda _, item: refer(item), value)

    return refer(tree)


def resolve(tree: Any, rebinding: Rebinding) -> Any:
    """Give a tree of arguments with copies of modules in the places of the references."""

    def give(leaf: Any) -> Any:
        if not isinstance(leaf, _Reference):
            return leaf
        if leaf.index is not None:
            return rebinding.module_at(leaf.index)
        return rebinding(leaf.value)

    return jax.tree.map(give, tree, is_leaf=lambda leaf: isinstance(leaf, _Reference))


def modules_in(value: Any) -> list[Any]:
    """Give the modules that a value holds."""
    found: list[Any] = []
    map_modules(lambda _, module: found.append(module) or module, value)
    return found


def is_module(value: Any) -> bool:
    """Say whether something is a module instance."""
    return isinstance(value, Module)
