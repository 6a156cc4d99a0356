"""Parameters and their initializers: making a value, and checking one against what would be made.

**Making** runs the initializer. While a JAX trace runs, initializers of `jax.nn.initializers` go
through one cached `jax.jit`, so that equal initializers of equal shapes are traced once in a
process; they are pure, which cannot be known of a user's own.

**Checking** happens at every `apply`, for every parameter, and must cost next to nothing. An
initializer that is called with a shape is taken at its word: the comparison is one of tuples.
For every other one the shapes that it makes are found by `jax.eval_shape` and remembered under a
*fingerprint*: plain values, code, closures and shapes of arrays, all that can determine shapes. A
mismatch is always confirmed by a fresh evaluation before it is reported.
"""

import contextlib
import dataclasses
import functools
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from linen_core._dicts import copy_dicts
from linen_core._meta import unbox
from linen_core._trace import is_tracer
from linen_core.errors import ScopeParamShapeError

# The name under which a cached initializer stands in a jaxpr: the evaluation of `init` looks
# for it, to run what is inside operation by operation, as without a trace.
INITIALIZER_NAME = "initialize_parameter"

_Shapes = tuple[Any, tuple[tuple[int, ...], ...]]

_MOST_REMEMBERED = 4096
_remembered: dict[Hashable, _Shapes] = {}


class _NoFingerprint(Exception):  # noqa: N818 - not an error, a branch
    """Nothing hashable says what determines a value."""


class _PureInitializer:
    """An initializer and its arguments as a static argument of `jax.jit`, equal by value."""

    __slots__ = ("args", "fingerprint", "fn", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]):
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.fingerprint = _fingerprint((fn, tuple(args), dict(kwargs)))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PureInitializer) and self.fingerprint == other.fingerprint


def _initialize_parameter(initializer: _PureInitializer, key: jax.Array) -> Any:
    return initializer.fn(key, *initializer.args, **initializer.kwargs)


_initialize_parameter.__name__ = INITIALIZER_NAME
_cached_initialize = jax.jit(_initialize_parameter, static_argnums=0)


def initialize(
    init_fn: Callable[..., Any], key: jax.Array, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Run an initializer."""
    if is_tracer(key) and _is_pure(init_fn, args, kwargs):
        with contextlib.suppress(_NoFingerprint):
            return _cached_initialize(_PureInitializer(init_fn, args, kwargs), key)
    return init_fn(key, *args, **kwargs)


def _is_pure(init_fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if not str(getattr(init_fn, "__module__", "")).startswith("jax."):
        return False
    cells = getattr(init_fn, "__closure__", None) or ()
    values = (*(cell.cell_contents for cell in cells), *args, *kwargs.values())
    return not any(isinstance(value, (jax.Array, np.ndarray)) for value in values)


def check(
    path: Sequence[str],
    name: str,
    value: Any,
    init_fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Compare a parameter with what its initializer makes.

    Raises:
        ScopeParamShapeError: its shape or structure is another.
    """
    shape = getattr(value, "shape", None)
    if shape is not None and args and (args[0] is shape or _as_shape(args[0]) == shape):
        return
    found = _shapes_of(value)
    if found == _expected(init_fn, args, kwargs):
        return
    expected = _evaluate(init_fn, args, kwargs)
    if found != expected:
        raise ScopeParamShapeError(path, name, _text(expected), _text(found))


def _as_shape(x: Any) -> Any:
    return tuple(x) if isinstance(x, (tuple, list)) else None


def _expected(init_fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        key = _fingerprint((init_fn, tuple(args), dict(kwargs)))
    except _NoFingerprint:
        return None
    shapes = _remembered.get(key)
    if shapes is None:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        shapes = _remembered[key] = _evaluate(init_fn, args, kwargs)
    return shapes


def _evaluate(
    init_fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> _Shapes:
    return _shapes_of(jax.eval_shape(lambda key: init_fn(key, *args, **kwargs), jax.random.key(0)))


def _shapes_of(tree: Any) -> _Shapes:
    # A parameter that is a dict may come back from storage as another kind of mapping.
    leaves, structure = jax.tree.flatten(unbox(copy_dicts(tree)))
    return structure, tuple(np.shape(leaf) for leaf in leaves)


def _text(shapes: _Shapes) -> str:
    structure, leaves = shapes
    if len(leaves) == 1 and structure == jax.tree.structure(0):
        return f"shape {leaves[0]}"
    return f"the structure {jax.tree.unflatten(structure, leaves)} of shapes"


@dataclasses.dataclass(frozen=True)
class _Atom:
    """Something that is compared as a whole, such as a code object."""

    value: Hashable


def _fingerprint(x: Any, depth: int = 0) -> Hashable:
    if isinstance(x, _Atom):
        return x
    if x is None or isinstance(x, (bool, int, float, complex, str, bytes, type, np.dtype)):
        return type(x), x
    if isinstance(x, np.generic):
        return type(x), x.item()
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return "array", tuple(x.shape), str(x.dtype)
    if depth > 8:
        raise _NoFingerprint
    return type(x), tuple(_fingerprint(part, depth + 1) for part in _parts(x))


def _parts(x: Any) -> Sequence[Any]:
    """Give all that a value is made of."""
    if isinstance(x, (tuple, list)):
        return x
    if isinstance(x, Mapping):
        return [part for item in x.items() for part in item]
    if isinstance(x, types.FunctionType):
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        return [_Atom(x.__code__), x.__defaults__, x.__kwdefaults__, *cells]
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, functools.partial):
        return [x.func, x.args, x.keywords]
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = (f.name for f in dataclasses.fields(x) if f.compare)
        return [getattr(x, name, None) for name in fields]
    if callable(x) and isinstance(x, Hashable):
        return [_Atom(x)]
    raise _NoFingerprint
