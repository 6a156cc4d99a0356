"""Name scopes: methods whose submodules are one level further down, under the method's name.

A method that is decorated with `@compact_name_scope` is compact, and what it constructs belongs not
to the module but to a **name scope**, a submodule that is named after the method. Parameters that
the method asks its module for, and what other methods that it calls construct, are the module's own,
as if these methods had been called by any `@compact` method.
"""

from typing import Any

from linen_core._module.module import Module
from linen_core.errors import CallSetupUnboundModuleError


class NameScope(Module):
    """The submodule that owns what a method constructs."""


def make_name_scopes(module: Any) -> None:
    """Make the name scopes of a module that is being set up, unless they are there.

    Raises:
        CallSetupUnboundModuleError: the module is not bound.
        NameInUseError: a field has the name of one.
    """
    if module.scope is None:
        raise CallSetupUnboundModuleError(type(module).__name__)
    for name in type(module)._name_scopes:
        if not isinstance(module._state.children.get(name), NameScope):
            NameScope(parent=module, name=name)
