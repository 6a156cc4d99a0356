"""Sharing a scope: two modules that have their variables at one place.

A module that wraps another one adds a level to the tree of variables, so that variables of the inner
module alone do not fit any more. When the two share one scope, that level disappears: the wrapper
is a drop-in for what it wraps.

Of two modules, one **moves** to the place of the other, together with its submodules. Variables
that it has defined before stay where they are, so scopes are shared first of all, in `setup`.
"""

from typing import Any

from linen_core._guest_scope import GuestScope, moved, vacate
from linen_core._module.module import Module
from linen_core._scope import Scope
from linen_core.errors import CallShareScopeOnUnboundModuleError, ShareScopeAcrossModelsError


def share_scope(module: Module, other: Module) -> None:
    """Give two modules one place for their variables.

    The one that is below the other moves up to it. If neither is below the other, `module` moves to
    the place of `other`. Submodules move along. Names that both use are an error, as in one module;
    their random streams are one, too.

    Args:
        module: a bound module, usually `self`.
        other: another one, usually a submodule.

    Raises:
        CallShareScopeOnUnboundModuleError: one of them is not bound.
        ShareScopeAcrossModelsError: they are bound to different variables.
        NameInUseError: a submodule that moves has a name that is taken.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact, share_scope
        >>> class Dense(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x @ self.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 3))
        >>> class LowRank(Module):
        ...     layer: Module
        ...     def setup(self):
        ...         share_scope(self, self.layer)
        ...     @compact
        ...     def __call__(self, x):
        ...         down = self.param("down", jax.nn.initializers.ones, (x.shape[-1], 1))
        ...         up = self.param("up", jax.nn.initializers.zeros, (1, 3))
        ...         return self.layer(x) + x @ down @ up
        >>> variables = LowRank(Dense()).init(jax.random.key(0), jax.numpy.ones(2))
        >>> sorted(variables["params"])
        ['down', 'kernel', 'up']
    """
    scope, other_scope = _scope_of(module), _scope_of(other)
    if not scope.is_same_tree(other_scope):
        names = type(module).__name__, type(other).__name__
        raise ShareScopeAcrossModelsError(scope.debug_path, *names)
    if scope.path == other_scope.path:
        return
    if other_scope.path[: len(scope.path)] == scope.path:
        module, scope, other_scope = other, other_scope, scope
    if not _has_variables(module):
        vacate(scope)
    _move(module, GuestScope(other_scope), {})


def _scope_of(module: Any) -> Scope:
    if module.scope is None:
        raise CallShareScopeOnUnboundModuleError(type(module).__name__)
    return module.scope


def _has_variables(module: Any) -> bool:
    """Say whether a module, or one below it, has defined variables already."""
    collections = (col for kinds in module.scope.reservations().values() for col in kinds)
    children = module._state.children.values()
    return any(col is not None for col in collections) or any(map(_has_variables, children))


def _move(module: Any, scope: Scope, places: dict[tuple[str, ...], Scope]) -> None:
    """Move a module and all below it; `places` collects the new scopes by their old paths."""
    places.setdefault(module.scope.path, scope)
    scope.owner = type(module).__name__
    module.__dict__["scope"] = scope
    children = module._state.children.values()
    for child in sorted(children, key=lambda child: isinstance(child.scope, GuestScope)):
        if not isinstance(child.scope, GuestScope):
            _move(child, moved(child.scope, scope), places)
        elif (host := places.get(child.scope.path)) is not None:
            _move(child, GuestScope(host), places)
