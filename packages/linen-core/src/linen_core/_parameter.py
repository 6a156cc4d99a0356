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
import jax.core
import numpy as np

from linen_core._dicts import copy_dicts
from linen_core._meta import unbox
from linen_core._trace import is_tracer
from linen_core.errors import ParameterMismatch, ScopeParamShapeError

# The name under which a cached initializer stands in a jaxpr: the evaluation of `init` looks
# for it, to run what is inside operation by operation, as without a trace.
INITIALIZER_NAME = "initialize_parameter"

_Shapes = tuple[Any, tuple[tuple[int, ...], ...]]

_MOST_REMEMBERED = 4096
_remembered: dict[Hashable, _Shapes] = {}


class PureInitializer:
    """Base class of initializers that promise to be pure, hashable and equal by value.

    While a JAX trace runs, such an initializer is traced once per shape and dtype in a process, as
    those of `jax.nn.initializers` are. Subclasses define `__call__`, `__eq__` and `__hash__`.
    """

    __slots__ = ()


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
    is_of_jax = str(getattr(init_fn, "__module__", "")).startswith("jax.")
    if not (is_of_jax or isinstance(init_fn, PureInitializer)):
        return False
    try:
        values = (*_captured(init_fn), *args, *kwargs.values())
    except _NoFingerprint:
        return False
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
    found = shapes_of(value)
    if found == _expected(init_fn, args, kwargs):
        return
    expected = _evaluate(init_fn, args, kwargs)
    if found != expected:
        mismatch = ParameterMismatch(
            tuple(path), name, describe_shapes(expected), describe_shapes(found)
        )
        raise ScopeParamShapeError([mismatch])


def _as_shape(x: Any) -> tuple[int, ...] | None:
    if not isinstance(x, (tuple, list)):
        return None
    return tuple(x) if all(isinstance(size, (int, np.integer)) for size in x) else None


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
    return shapes_of(jax.eval_shape(lambda key: init_fn(key, *args, **kwargs), jax.random.key(0)))


def shapes_of(tree: Any) -> _Shapes:
    """Give the structure of a parameter, without boxes, and the shapes in it."""
    # A parameter that is a dict may come back from storage as another kind of mapping.
    leaves, structure = jax.tree.flatten(unbox(copy_dicts(tree)))
    return structure, tuple(np.shape(leaf) for leaf in leaves)


def describe_shapes(shapes: _Shapes) -> str:
    """Put what `shapes_of` gives into words."""
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
    if isinstance(x, (float, complex, np.generic, np.ndarray)):
        # Their bits: equality does not tell 0.0 from -0.0. Only small arrays decide shapes.
        array = np.asarray(x)
        return type(x), array.shape, array.dtype.str, array.tobytes() if array.size < 64 else b""
    if isinstance(x, jax.core.Tracer | jax.Array | jax.ShapeDtypeStruct):
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
        return [_Atom(x.__code__), x.__defaults__, x.__kwdefaults__, *_captured(x)]
    if isinstance(x, types.MethodType):
        return [x.__func__, x.__self__]
    if isinstance(x, functools.partial):
        return [x.func, x.args, x.keywords]
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = (f.name for f in dataclasses.fields(x) if f.compare)
        return [getattr(x, name, None) for name in fields]
    if isinstance(x, slice):
        return [x.start, x.stop, x.step]
    if isinstance(x, (set, frozenset)):
        return [_Atom(frozenset(x))]
    if isinstance(x, Hashable):
        return [_Atom(x)]
    raise _NoFingerprint


def _captured(fn: Any) -> list[Any]:
    """Give the values in a function's closure."""
    try:
        return [cell.cell_contents for cell in getattr(fn, "__closure__", None) or ()]
    except ValueError:  # a name that has no value yet
        raise _NoFingerprint from None
