"""Capturing: what the methods of all modules return, and what they sow, as a second result.

Values from inside of a lifted `vmap` or `scan` have the mapped axis in front, also where nobody has
named the collection "intermediates": see `linen_transforms._pack`.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

from linen_core import CollectionFilter, Module, Rngs, Variables, union_filters
from linen_transforms.errors import CaptureTargetError

Filter = bool | type[Module] | tuple[type[Module], ...] | Callable[[Any, str], bool]

_INTERMEDIATES = "intermediates"


def capture(fn: Any, filter: Filter = True) -> Callable[..., Any]:
    """Make a function that also returns what happens inside of a module.

    Args:
        fn: a module, for its `__call__`, or a method of a module that is not bound.
        filter: which methods to capture. True: every `__call__`. A Module class, or a tuple of
            them: the `__call__` of modules of these classes. A function of a module and the name of
            a method, which says. False: none, only what modules sow into "intermediates".

    Returns:
        A function `(variables, *args, rngs=None, mutable=False, **kwargs)`. It returns a pair: what
        `apply` returns, and a nested dict of tuples, with one value for each call of a method.

    Raises:
        CaptureTargetError: `fn` is something else, or bound; or `filter` is something else.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Double(Module):
        ...     def __call__(self, x):
        ...         return 2 * x
        >>> class Quadruple(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return linen_transforms.vmap(Double)()(Double()(x))
        >>> run = linen_transforms.capture(Quadruple(), Double)
        >>> y, intermediates = run({}, jax.numpy.arange(3))
        >>> intermediates["VmapDouble_0"]["__call__"][0].tolist()
        [0, 4, 8]
    """
    module, method = _module_and_method(fn)
    captured = _as_function(filter)

    def run(
        variables: Variables,
        /,
        *args: Any,
        rngs: Rngs | None = None,
        mutable: CollectionFilter = False,
        **kwargs: Any,
    ) -> Any:
        # Intermediates of an earlier call would be added to.
        rest = {name: tree for name, tree in variables.items() if name != _INTERMEDIATES}
        y, changed = module.apply(
            rest,
            *args,
            rngs=rngs,
            method=method,
            mutable=union_filters(mutable, _INTERMEDIATES),
            capture_intermediates=captured,
            **kwargs,
        )
        others = {name: tree for name, tree in changed.items() if name != _INTERMEDIATES}
        intermediates = changed.get(_INTERMEDIATES, {})
        return (y if mutable is False else (y, others)), intermediates

    return functools.update_wrapper(run, method)


def _module_and_method(fn: Any) -> tuple[Any, Callable[..., Any]]:
    module, name = fn, "__call__"
    if isinstance(fn, types.MethodType):
        module, name = fn.__self__, fn.__name__
    is_of_base = name != "__call__" and hasattr(Module, name)
    if not isinstance(module, Module) or is_of_base or module.scope is not None:
        raise CaptureTargetError(fn)
    return module, getattr(type(module), name)


def _as_function(filter: Filter) -> bool | Callable[[Any, str], bool]:
    if isinstance(filter, bool):
        return filter
    classes: Any = filter if isinstance(filter, tuple) else (filter,)
    if all(isinstance(cls, type) for cls in classes):
        return lambda module, name: isinstance(module, classes) and name == "__call__"
    if isinstance(filter, (tuple, type)) or not callable(filter):
        raise CaptureTargetError.of_filter(filter)
    return filter
