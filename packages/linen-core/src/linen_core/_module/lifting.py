"""What lifted transformations need of modules: copies in inner scopes, and methods that run there.

A lifted transformation calls the body with copies of the modules, bound to scopes of a tree of its
own. A body that is a function runs in the middle of a method of an outer module, and may construct
submodules as that method would: the copy then **stands in** for the outer module, and takes over
which names are used, from it and back to it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from linen_core._context import context
from linen_core._module.copies import arguments_of
from linen_core._module.fields import ModuleBase
from linen_core._module.lifecycle import ready
from linen_core._scope import Scope

M = TypeVar("M", bound=ModuleBase)


def rebound(
    module: Any, scope: Scope, replace: Callable[[Any], Any], cls: type | None = None
) -> Any:
    """Copy a bound module into another scope.

    Args:
        module: a bound module.
        scope: the scope of the copy.
        replace: gives the value of a field of the copy from that of the module. Modules in it that
            are bound to the tree of `scope` keep their place; others are adopted.
        cls: the class of the copy, if it is another one with the same fields.

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
    fields = {name: replace(value) for name, value in arguments_of(module).items()}
    return (cls or type(module))(**fields | {"name": module.name, "parent": scope})


@contextlib.contextmanager
def standing_in(inner: Any, outer: Any) -> Iterator[None]:
    """Let a module construct submodules in a `with` block as another one would now.

    Args:
        inner: a copy of `outer` in an inner scope.
        outer: the module whose method runs.

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
    with ready(inner):
        names, counts = inner.scope.reservations(), state.autoname_counts
        if outer_state.may_create:
            inner.scope.restore_reservations(_merged(names, outer.scope.reservations()))
            state.autoname_counts = dict(outer_state.autoname_counts)
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
                outer_state.autoname_counts = dict(state.autoname_counts)
                inner.scope.restore_reservations(names)
                state.autoname_counts = counts


def _merged(
    names: Mapping[str, Mapping[str | None, str]], others: Mapping[str, Mapping[str | None, str]]
) -> dict[str, dict[str | None, str]]:
    return {n: {**names.get(n, {}), **others.get(n, {})} for n in {**names, **others}}
