"""Functions of modules as pure functions of variables.

`model.apply(variables, x, method=fn)` calls a function whose first argument is the bound model. The
functions of this file do the same for a function and a model that are put together once and called
many times: they return what `jax.jit` and others take. They differ from `linen_core.init` and
`linen_core.apply`, which take a function of a scope.
"""

from collections.abc import Callable
from typing import Any

from linen_core import _functional
from linen_core._filters import CollectionFilter, DenyList
from linen_core._module.intercept import CaptureFilter
from linen_core._module.module import Module
from linen_core._module.pure import scope_function, with_intermediates
from linen_core.errors import InvalidInstanceModuleError

__all__ = ["apply", "init", "init_with_output"]

_NOT_INTERMEDIATES = DenyList("intermediates")


def apply(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter = False,
    capture_intermediates: bool | CaptureFilter = False,
) -> Callable[..., Any]:
    """Turn a function of a module into a pure function of variables.

    Args:
        fn: a function whose first argument is a bound module, or a method.
        module: the module to bind.
        mutable: a filter of the collections that may change.
        capture_intermediates: whether to store what methods return in "intermediates": True for
            every `__call__`, or a function of a module and a method name that says so. The
            collection is then mutable.

    Returns:
        A function `(variables, *args, rngs=None, **kwargs)`. It returns what `fn` returns; if
        `mutable` is not False or intermediates are captured, a pair of that and the variables of
        the mutable collections.

    Raises:
        ApplyModuleInvalidMethodError: `fn` cannot be called with a module.
        InvalidInstanceModuleError: `module` is no instance of a module.
        InvalidFilterError: `mutable` is no filter.
        ApplyScopeInvalidVariablesTypeError: (when called) the variables are no mapping of mappings.
        ApplyScopeInvalidVariablesStructureError: (when called) there is a layer too many.
        InvalidRngError: (when called) something in `rngs` is not a single key.

    Example:
        >>> import jax
        >>> import linen_core
        >>> class Scale(linen_core.Module):
        ...     @linen_core.compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", lambda key: 2.0)
        >>> twice = linen_core.module.apply(lambda scale, x: scale(scale(x)), Scale())
        >>> jax.jit(twice)({"params": {"scale": 3.0}}, 1.0).item()
        9.0
    """
    run = _scope_function("apply", fn, module, capture_intermediates)
    return _functional.apply(run, with_intermediates(mutable, capture_intermediates))


def init_with_output(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter = _NOT_INTERMEDIATES,
    capture_intermediates: bool | CaptureFilter = False,
) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Turn a function of a module into one that creates the variables and also gives its result.

    Args:
        fn: a function whose first argument is a bound module, or a method.
        module: the module to bind.
        mutable: a filter of the collections to create and return.
        capture_intermediates: whether to store what methods return in "intermediates".

    Returns:
        A function `(rngs, *args, **kwargs)` that returns a pair: what `fn` returns, and the
        variables.

    Raises:
        ApplyModuleInvalidMethodError: `fn` cannot be called with a module.
        InvalidInstanceModuleError: `module` is no instance of a module.
        InvalidFilterError: `mutable` is no filter.
        InvalidRngError: (when called) `rngs` is no key and no dict of keys.

    Example:
        >>> import jax
        >>> import linen_core
        >>> class Scale(linen_core.Module):
        ...     @linen_core.compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", lambda key: 2.0)
        >>> twice = lambda scale, x: scale(scale(x))
        >>> linen_core.module.init_with_output(twice, Scale())(jax.random.key(0), 1.0)
        (4.0, {'params': {'scale': 2.0}})
    """
    run = _scope_function("init_with_output", fn, module, capture_intermediates)
    return _functional.init(run, with_intermediates(mutable, capture_intermediates))


def init(
    fn: Callable[..., Any],
    module: Module,
    mutable: CollectionFilter = _NOT_INTERMEDIATES,
    capture_intermediates: bool | CaptureFilter = False,
) -> Callable[..., dict[str, Any]]:
    """Turn a function of a module into one that creates the variables and computes nothing else.

    Args:
        fn: a function whose first argument is a bound module, or a method.
        module: the module to bind.
        mutable: a filter of the collections to create and return.
        capture_intermediates: whether to store what methods return in "intermediates".

    Returns:
        A function `(rngs, *args, **kwargs)` that returns the variables. Arrays in the arguments
        may be given as `jax.ShapeDtypeStruct`.

    Raises:
        ApplyModuleInvalidMethodError: `fn` cannot be called with a module.
        InvalidInstanceModuleError: `module` is no instance of a module.
        InvalidFilterError: `mutable` is no filter.
        InvalidRngError: (when called) `rngs` is no key and no dict of keys.
        LazyInitError: (when called) a value depends on an argument that is only a shape and dtype.

    Example:
        >>> import jax
        >>> import linen_core
        >>> class Scale(linen_core.Module):
        ...     @linen_core.compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", lambda key: 2.0)
        >>> linen_core.module.init(lambda scale, x: scale(x), Scale())(jax.random.key(0), 1.0)
        {'params': {'scale': 2.0}}
    """
    run = _scope_function("init", fn, module, capture_intermediates)
    return _functional.lazy_init(run, with_intermediates(mutable, capture_intermediates))


def _scope_function(
    caller: str,
    fn: Callable[..., Any],
    module: Module,
    capture_intermediates: bool | CaptureFilter,
) -> Callable[..., Any]:
    if not isinstance(module, Module):
        raise InvalidInstanceModuleError.of_argument(f"module.{caller}", module)
    return scope_function(module, caller, fn, capture_intermediates)
