"""Initializers: functions of a key, a shape and a dtype that make the first value of a parameter.

All of `jax.nn.initializers` is here under its own name and gives the same values. What differs is
that an initializer made here is a *value*: `normal(0.02)` is equal to every other `normal(0.02)`,
hashes alike, pickles, and prints as it was written. Modules that are built twice from the same code
are therefore equal, and what is memoised for an initializer is found again.

>>> import jax
>>> normal(0.02) == normal(stddev=0.02)
True
>>> normal(0.02)
normal(stddev=0.02, dtype=None)
>>> normal(0.02)(jax.random.key(0), (2, 3)).shape
(2, 3)
>>> variance_scaling(2.0, "fan_in", "normal")(jax.random.key(0), (2, 3)).shape
(2, 3)
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec

from jax.nn import initializers as _jax
from jax.nn.initializers import Initializer, ones, zeros

from linen_core.extend import PureInitializer

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "ones_init",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
    "zeros_init",
]

P = ParamSpec("P")


class _InitializerValue:
    """An initializer that is known by the factory that makes it and the arguments it was given."""

    __slots__ = ("_arguments", "_factory", "_key")

    def __init__(self, factory: Callable[..., Initializer], arguments: dict[str, Any]) -> None:
        self._factory = factory
        self._arguments = arguments
        self._key = factory, *map(_by_value, arguments.values())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._factory(**self._arguments)(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _InitializerValue):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._factory, self._arguments)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{self._factory.__name__}({arguments})"


class _PureValue(_InitializerValue, PureInitializer):
    """One whose arguments are values too, not arrays: it may be traced once for all."""

    __slots__ = ()


def _by_value(argument: Any) -> Any:
    """Stands for an argument in comparisons: its value, or its identity if it cannot be hashed."""
    if isinstance(argument, list):
        return tuple(argument)
    if isinstance(argument, float):
        return argument.hex()  # tells 0.0 from -0.0
    return argument if _is_hashable(argument) else id(argument)


def _is_hashable(argument: Any) -> bool:
    try:
        hash(argument)
    except TypeError:
        return False
    return True


def _comparable(factory: Callable[P, Initializer]) -> Callable[P, Initializer]:
    """Makes a factory of `jax.nn.initializers` give values that compare."""
    signature = inspect.signature(factory)

    @wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Initializer:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        is_pure = all(isinstance(x, list) or _is_hashable(x) for x in bound.arguments.values())
        return (_PureValue if is_pure else _InitializerValue)(factory, bound.arguments)

    make.__module__ = __name__
    return make


constant: Final = _comparable(_jax.constant)
delta_orthogonal: Final = _comparable(_jax.delta_orthogonal)
glorot_normal: Final = _comparable(_jax.glorot_normal)
glorot_uniform: Final = _comparable(_jax.glorot_uniform)
he_normal: Final = _comparable(_jax.he_normal)
he_uniform: Final = _comparable(_jax.he_uniform)
kaiming_normal: Final = _comparable(_jax.kaiming_normal)
kaiming_uniform: Final = _comparable(_jax.kaiming_uniform)
lecun_normal: Final = _comparable(_jax.lecun_normal)
lecun_uniform: Final = _comparable(_jax.lecun_uniform)
normal: Final = _comparable(_jax.normal)
orthogonal: Final = _comparable(_jax.orthogonal)
truncated_normal: Final = _comparable(_jax.truncated_normal)
uniform: Final = _comparable(_jax.uniform)
variance_scaling: Final = _comparable(_jax.variance_scaling)
xavier_normal: Final = _comparable(_jax.xavier_normal)
xavier_uniform: Final = _comparable(_jax.xavier_uniform)


def ones_init() -> Initializer:
    """Returns the initializer `ones`, which fills an array with ones.

    >>> import jax
    >>> ones_init()(jax.random.key(0), (2,)).tolist()
    [1.0, 1.0]
    """
    return ones


def zeros_init() -> Initializer:
    """Returns the initializer `zeros`, which fills an array with zeros.

    >>> import jax
    >>> zeros_init()(jax.random.key(0), (2,)).tolist()
    [0.0, 0.0]
    """
    return zeros
