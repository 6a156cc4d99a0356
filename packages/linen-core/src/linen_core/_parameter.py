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

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import FunctionType
from typing import Any

import jax
import jax.core
import numpy as np
from jax.nn import initializers

from linen_core._dicts import copy_dicts
from linen_core._fingerprint import fingerprint
from linen_core._meta import contents
from linen_core._rngs import LazyRng, fold_in
from linen_core._trace import is_tracer
from linen_core.errors import ParameterMismatch, ScopeParamShapeError

# The name under which a cached initializer stands in a jaxpr: the evaluation of `init` looks
# for it, to run what is inside operation by operation, as without a trace. No function that a user
# defines has a name with a dot.
INITIALIZER_NAME = "linen_core.initialize_parameter"

_Shapes = tuple[Any, tuple[tuple[int, ...], ...]]

_MOST_REMEMBERED = 4096
_remembered: dict[Hashable, _Shapes] = {}


class PureInitializer:
    """Base class of initializers that promise to be pure, hashable and equal by value.

    While a JAX trace runs, such an initializer is traced once per shape and dtype in a process, as
    those of `jax.nn.initializers` are. Subclasses define `__call__`, `__eq__` and `__hash__`.
    """

    __slots__ = ()


class WrappingInitializer:
    """Base class of initializers that do something to what another one makes.

    Attributes:
        fn: the other one, which is traced once for all if it is pure.
    """

    __slots__ = ()

    fn: Callable[..., Any]

    def wrap(self, value: Any) -> Any:
        """Give the value in the end, from what `fn` made."""
        raise NotImplementedError


class _NoFingerprint(Exception):  # noqa: N818 - not an error, a branch
    """Nothing hashable says what determines a value."""


class _StaticInitializer:
    """An initializer and its arguments as a static argument of `jax.jit`, equal by value."""

    __slots__ = ("args", "fingerprint", "fn", "ignores_key", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]):
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.fingerprint = fingerprint((fn, tuple(args), dict(kwargs)), _value_atom)
        self.ignores_key = fn is initializers.zeros or fn is initializers.ones

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, _StaticInitializer) and self.fingerprint == other.fingerprint
        )


def _static(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> _StaticInitializer:
    """Give the static argument for a call; the usual ones, of a shape and a dtype, from memory."""
    if kwargs or not args or type(args[0]) is not tuple:
        return _StaticInitializer(fn, args, kwargs)
    if len(args) > 2 or not isinstance(args[-1], (tuple, type, np.dtype)):
        return _StaticInitializer(fn, args, kwargs)
    return _remembered_static(fn, *args)


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _remembered_static(fn: Callable[..., Any], *args: Any) -> _StaticInitializer:
    return _StaticInitializer(fn, args, {})


def _initialize_parameter(initializer: _StaticInitializer, *key_and_digest: Any) -> Any:
    key = fold_in(*key_and_digest) if key_and_digest else None
    return initializer.fn(key, *initializer.args, **initializer.kwargs)


_initialize_parameter.__name__ = INITIALIZER_NAME
_cached_initialize = jax.jit(_initialize_parameter, static_argnums=0)


def initialize(
    init_fn: Callable[..., Any],
    key: LazyRng,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    constants: dict[Any, Any],
) -> Any:
    """Run an initializer.

    Args:
        init_fn: gives the value, from a key and arguments.
        key: the key, not folded yet.
        args: the arguments after the key.
        kwargs: the keyword arguments.
        constants: the values that were made before in the same trace and do not depend on a key.

    Returns:
        The value.
    """
    if is_tracer(key.rng) and _is_pure(init_fn):
        try:
            initializer = _static(init_fn, args, kwargs)
        except (_NoFingerprint, TypeError):  # TypeError: an argument does not hash
            pass
        else:
            return _initialize_traced(initializer, key, constants)
    if isinstance(init_fn, WrappingInitializer):
        return init_fn.wrap(initialize(init_fn.fn, key, args, kwargs, constants))
    return init_fn(key.as_jax_rng(), *args, **kwargs)


def _initialize_traced(
    initializer: _StaticInitializer, key: LazyRng, constants: dict[Any, Any]
) -> Any:
    if not initializer.ignores_key:
        return _cached_initialize(initializer, key.rng, key.digest)
    if initializer not in constants:
        constants[initializer] = _cached_initialize(initializer)
    return constants[initializer]


def _is_pure(init_fn: Any) -> bool:
    if isinstance(init_fn, FunctionType):
        # Not by __module__, which functools.wraps gives to a user's function too.
        return init_fn.__globals__["__name__"].startswith("jax.")
    return isinstance(init_fn, PureInitializer)


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
    if shape is None:
        value = contents(value)  # a box, or a tree
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
        key = fingerprint((init_fn, tuple(args), dict(kwargs)), _shape_atom)
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
    leaves, structure = jax.tree.flatten(contents(copy_dicts(tree)))
    return structure, tuple(np.shape(leaf) for leaf in leaves)


def describe_shapes(shapes: _Shapes) -> str:
    """Put what `shapes_of` gives into words."""
    structure, leaves = shapes
    if len(leaves) == 1 and structure == jax.tree.structure(0):
        return f"shape {leaves[0]}"
    return f"the structure {jax.tree.unflatten(structure, leaves)} of shapes"


def _value_atom(x: Any) -> Hashable:
    """Stand for a value that cannot change and is equal to others by value.

    Raises:
        _NoFingerprint: it is no such value: an array, or something that can be changed in place.
    """
    if isinstance(x, jax.Array) or not isinstance(x, Hashable):
        raise _NoFingerprint
    return type(x), x


def _shape_atom(x: Any) -> Hashable:
    """Stand for what decides a shape: of arrays their shapes, and of small numpy ones the values.

    Raises:
        _NoFingerprint: the value can be changed in place, so it determines nothing.
    """
    if isinstance(x, np.ndarray):
        return "array", x.shape, str(x.dtype), x.tobytes() if x.size < 64 else b""
    if isinstance(x, jax.Array | jax.ShapeDtypeStruct):
        return "array", tuple(x.shape), str(x.dtype)
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        # One that can be changed in place, or a bound module: its fields now.
        fields = tuple(getattr(x, f.name) for f in dataclasses.fields(x) if f.compare)
        return type(x), fingerprint(fields, _shape_atom)
    return _value_atom(x)
