"""The functional core: functions of a scope become pure functions of variables.

A *scope function* takes a `Scope` first and draws its variables and random keys from it. `apply`
turns it into a function of a dict of variables, `init` into a function that creates them,
`lazy_init` into one that creates them without computing anything else. `bind` makes a root scope
to work with at leisure.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from linen_core._filters import CollectionFilter, in_filter
from linen_core._frozen_dict import freeze
from linen_core._mismatches import explain
from linen_core._rngs import Rngs, as_streams
from linen_core._scope import Scope
from linen_core.config import config
from linen_core.errors import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    ScopeParamShapeError,
)
from linen_core.tracebacks import hide_frames

Variables = Mapping[str, Any]


def bind(
    variables: Variables,
    rngs: Rngs | None = None,
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Scope:
    """Make a root scope of variables and random streams.

    Args:
        variables: a dict from collections to nested dicts of values. It is never changed.
        rngs: a dict from stream names to keys, or one key for the stream "params".
        mutable: a filter of the collections that can be changed.
        flags: facts that code in any scope of the tree can ask for.

    Returns:
        The scope.

    Raises:
        ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
        ApplyScopeInvalidVariablesStructureError: `variables` is {"params": {"params": ...}}.
        InvalidRngError: something in `rngs` is not a single key.
        InvalidFilterError: `mutable` is no filter.

    Example:
        >>> from linen_core import bind
        >>> bind({"params": {"scale": 2.0}}).get_variable("params", "scale")
        2.0
    """
    _check_variables(variables)
    in_filter(mutable, "params")
    return Scope(variables, rngs, mutable=mutable, flags=flags)


def apply(
    fn: Callable[..., Any],
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Turn a function of a scope into a pure function of variables.

    Args:
        fn: a function whose first argument is a scope.
        mutable: a filter of the collections that `fn` may change.
        flags: facts that `fn` can ask the scope for.

    Returns:
        A function `(variables, *args, rngs=None, **kwargs)`. It returns what `fn` returns or, if
        `mutable` is not False, a pair of that and the variables of the mutable collections.

    Raises:
        ApplyScopeInvalidVariablesTypeError: (when called) the variables are no mapping of mappings.
        ApplyScopeInvalidVariablesStructureError: (when called) there is a layer too many.
        InvalidRngError: (when called) something in `rngs` is not a single key.
        InvalidFilterError: (when called) `mutable` is no filter.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> def scale(scope, x):
        ...     return x * scope.param("scale", jax.nn.initializers.ones, ())
        >>> apply(scale)({"params": {"scale": jax.numpy.array(3.0)}}, 2.0).item()
        6.0
    """

    @functools.wraps(fn)
    def wrapper(
        variables: Variables, /, *args: Any, rngs: Rngs | None = None, **kwargs: Any
    ) -> Any:
        try:
            return call(fn, variables, rngs, mutable, flags, args, kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    return wrapper


def call(
    fn: Callable[..., Any],
    variables: Variables,
    rngs: Rngs | None,
    mutable: CollectionFilter,
    flags: Mapping[str, Any] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Do what a function that `apply` made does."""
    scope = bind(variables, rngs, mutable, flags)
    try:
        y = fn(scope, *args, **kwargs)
        return y if mutable is False else (y, _finish(scope.mutable_variables()))
    except ScopeParamShapeError as error:
        # It may be of an apply inside this one, or of init, which has nothing to compare with.
        if error.is_complete or "params" not in variables:
            raise

        def expected() -> Any:
            keys = {**scope.rngs, "params": jax.random.key(0)}
            return init(fn, "params", flags)(keys, *args, **kwargs)[1]["params"]

        explained = explain(error, variables["params"], expected, (args, kwargs))
        raise explained.with_traceback(error.__traceback__) from None
    finally:
        scope.invalidate()


def init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Turn a function of a scope into one that creates its variables and also gives its result.

    Args:
        fn: a function whose first argument is a scope.
        mutable: a filter of the collections to create and return.
        flags: facts that `fn` can ask the scope for, besides "initializing".

    Returns:
        A function `(rngs, *args, **kwargs)` that returns a pair: what `fn` returns, and the
        variables.

    Raises:
        InvalidRngError: (when called) `rngs` is no key and no dict of keys.
        InvalidFilterError: (when called) `mutable` is no filter.

    Example:
        >>> import jax
        >>> from linen_core import init
        >>> def scale(scope, x):
        ...     return x * scope.param("scale", jax.nn.initializers.ones, (1,))
        >>> y, variables = init(scale)(jax.random.key(0), 2.0)
        >>> variables
        {'params': {'scale': Array([1.], dtype=float32)}}
    """
    run = apply(fn, mutable, {**(flags or {}), "initializing": True})

    @functools.wraps(fn)
    def wrapper(rngs: Rngs, /, *args: Any, **kwargs: Any) -> Any:
        streams = as_streams(rngs, "The first argument of init")
        try:
            result = run({}, *args, rngs=streams, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise
        return (result, {}) if mutable is False else result

    return wrapper


def lazy_init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., dict[str, Any]]:
    """Turn a function of a scope into one that creates its variables and computes nothing else.

    The call is traced once, without data. Then only what some variable depends on is evaluated,
    operation by operation, as it would be without a trace: the values are the same bit for bit.
    If `fn` needs concrete values, as a Python `if` on an array does, it runs as it is.

    Args:
        fn: a function whose first argument is a scope.
        mutable: a filter of the collections to create and return.
        flags: facts that `fn` can ask the scope for, besides "initializing".

    Returns:
        A function `(rngs, *args, **kwargs)` that returns the variables. Arrays in the arguments
        may be given as `jax.ShapeDtypeStruct`.

    Raises:
        InvalidRngError: (when called) `rngs` is no key and no dict of keys.
        InvalidFilterError: (when called) `mutable` is no filter.
        LazyInitError: (when called) a value depends on an argument that is only a shape and dtype.

    Example:
        >>> import jax
        >>> from linen_core import lazy_init
        >>> def dense(scope, x):
        ...     return x @ scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 3))
        >>> x = jax.ShapeDtypeStruct((8, 2), "float32")
        >>> lazy_init(dense)(jax.random.key(0), x)["params"]["kernel"].shape
        (2, 3)
    """
    # Here, since it imports jax.extend, which takes as long as importing all of this package.
    from linen_core._staging import evaluate_needed

    run = init(fn, mutable, flags)

    @functools.wraps(fn)
    def wrapper(rngs: Rngs, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        streams = as_streams(rngs, "The first argument of init")
        try:
            return evaluate_needed(lambda *a, **k: run(*a, **k)[1], streams, *args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    return wrapper


def _check_variables(variables: Any) -> None:
    if not isinstance(variables, Mapping):
        raise ApplyScopeInvalidVariablesTypeError(variables)
    for tree in variables.values():
        if not isinstance(tree, Mapping):
            raise ApplyScopeInvalidVariablesTypeError(variables)
    params = variables.get("params")
    if params and isinstance(params.get("params"), Mapping):
        raise ApplyScopeInvalidVariablesStructureError


def _finish(variables: dict[str, Any]) -> Any:
    return freeze(variables) if config.return_frozendict else variables
