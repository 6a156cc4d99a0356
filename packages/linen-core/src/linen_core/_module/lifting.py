"""What lifted transformations need of modules: copies in inner scopes, and methods that run there.

A lifted transformation calls the body with copies of the modules, bound to scopes of a tree of its
own. A body that is a function runs in the middle of a method of an outer module, and may construct
submodules as that method would: the copy then **stands in** for the outer module, and takes over
which names are used, from it and back to it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from linen_core._context import context
from linen_core._module.copies import arguments_of
from linen_core._module.fields import ModuleBase
from linen_core._module.lifecycle import ready
from linen_core._scope import Scope

M = TypeVar("M", bound=ModuleBase)


def rebound(
    module: Any,
    scope: Scope,
    replace: Callable[[Any], Any],
    cls: type | None = None,
    name: str | None = None,
    begin: Callable[[Any], Any] = lambda copy: None,
) -> Any:
    """Copy a bound module into another scope.

    Args:
        module: a bound module.
        scope: the scope of the copy.
        replace: gives the value of a field of the copy from that of the module. Modules in it that
            are bound to the tree of `scope` keep their place; others are adopted.
        cls: the class of the copy, if it is another one with the same fields.
        name: the name of the copy.
        begin: gets the copy before it has fields, for fields that refer to the module itself.

    Returns:
        A bound module, not yet set up.

    Example:
        >>> from linen_core import Module, bind
        >>> from linen_core.extend import rebound
        >>> class Dense(Module):
        ...     features: int
        >>> dense = Dense(3).bind({})
        >>> rebound(dense, bind({}).push("inner"), lambda value: value).path
        ('inner',)
    """
    made: Any = cls or type(module)
    arguments = arguments_of(module)
    copy = made.__new__(made, **arguments)
    begin(copy)
    fields = {name: replace(value) for name, value in arguments.items()}
    copy.__init__(**fields | {"name": name, "parent": scope})
    return copy


class Names(NamedTuple):
    """The names that are in use in a module.

    Attributes:
        reserved: what each name is reserved for, by collection (None: a submodule).
        numbers: how many submodules of each class were named automatically.
    """

    reserved: dict[str, dict[str | None, str]]
    numbers: dict[str, int]


def names_in_use(module: Any) -> Names:
    """Note the names that are in use in a bound module, for `standing_in`.

    Args:
        module: a bound module.

    Returns:
        The names.

    Example:
        >>> from linen_core import Module
        >>> from linen_core.extend import names_in_use
        >>> names_in_use(Module().bind({}))
        Names(reserved={}, numbers={})
    """
    return Names(module.scope.reservations(), dict(module._state.autoname_counts))


@contextlib.contextmanager
def standing_in(inner: Any, outer: Any, names: Names | None = None) -> Iterator[None]:
    """Let a module construct submodules in a `with` block as another one would now.

    Args:
        inner: a copy of `outer` in an inner scope.
        outer: the module whose method runs.
        names: the names in use at the beginning, if the block is one of several runs of a body
            that all begin with the same ones; by default those that are in use now.

    Example:
        >>> from linen_core import Module, bind, compact
        >>> from linen_core.extend import rebound, standing_in
        >>> class Outer(Module):
        ...     @compact
        ...     def __call__(self):
        ...         inner = rebound(self, bind({}), lambda value: value)
        ...         with standing_in(inner, self):
        ...             Outer(), Outer()
        ...         return Outer().name
        >>> Outer().apply({})
        'Outer_2'
    """
    state, outer_state = inner._state, outer._state
    before = names_in_use(outer) if names is None else names
    with ready(inner):
        own = names_in_use(inner)
        if outer_state.may_create:
            inner.scope.restore_reservations(_merged(own.reserved, before.reserved))
            state.autoname_counts = dict(before.numbers)
            state.compact_depth += 1
        context.modules.append(inner)
        try:
            yield
        finally:
            context.modules.pop()
            if outer_state.may_create:
                state.compact_depth -= 1
                used = _merged(outer.scope.reservations(), inner.scope.reservations())
                outer.scope.restore_reservations(used)
                numbers = outer_state.autoname_counts
                for name, number in state.autoname_counts.items():
                    numbers[name] = max(number, numbers.get(name, 0))
                inner.scope.restore_reservations(own.reserved)
                state.autoname_counts = own.numbers


@contextlib.contextmanager
def standing_alone() -> Iterator[None]:
    """Let no module own what is constructed in a `with` block.

    Example:
        >>> from linen_core import Module, bind, compact
        >>> from linen_core.extend import standing_alone
        >>> class Outer(Module):
        ...     @compact
        ...     def __call__(self):
        ...         with standing_alone():
        ...             return Outer().parent
        >>> Outer().apply({}) is None
        True
    """
    context.modules.append(None)
    try:
        yield
    finally:
        context.modules.pop()


def current_module() -> Any:
    """Give the module whose method runs.

    Returns:
        The innermost such module, or None.

    Example:
        >>> from linen_core import Module
        >>> from linen_core.extend import current_module
        >>> class Layer(Module):
        ...     def __call__(self):
        ...         return current_module() is self
        >>> Layer()(), current_module()
        (True, None)
    """
    return context.modules[-1]


def _merged(
    names: Mapping[str, Mapping[str | None, str]], others: Mapping[str, Mapping[str | None, str]]
) -> dict[str, dict[str | None, str]]:
    return {n: {**names.get(n, {}), **others.get(n, {})} for n in {**names, **others}}
