"""Functions that are equal when they do the same.

`jax.jit` keeps one trace per structure of its arguments, and the static fields of a train state are
part of that structure. Python compares functions by identity: `model.apply` of a rebuilt model, or
the closures inside a rebuilt `optax.adam(1e-3)`, differ from the first ones although they do the
same, and every jitted function would be traced and compiled anew.

A *function by value* wraps a function and compares by its *fingerprint*, all that determines what
the function does (`linen_core.extend.fingerprint`). Functions that do the same may differ (they
captured two equal arrays, say), which costs a trace; functions that differ in anything they can see
never compare equal.
"""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

import optax

from linen_core.extend import fingerprint

__all__ = ["FunctionByValue", "optimizer_by_value"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class FunctionByValue(Generic[_Parameters, _Result]):
    """A function that equals every other one with the same fingerprint.

    Args:
        function: what a call is passed on to. It must be pure, as for `jax.jit`.
    """

    def __init__(self, function: Callable[_Parameters, _Result]):
        self.__wrapped__ = function
        self._fingerprint = fingerprint(_determining(function))
        self._hash = hash(self._fingerprint)

    def __call__(self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionByValue):
            return NotImplemented
        return self is other or self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"FunctionByValue({self.__wrapped__!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Fingerprints hold identities, which mean nothing in another process.
        return FunctionByValue, (self.__wrapped__,)


def optimizer_by_value(
    tx: optax.GradientTransformation | optax.MultiSteps,
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer that equals every other one that does the same.

    Args:
        tx: an optimizer, or one that accumulates gradients.
    """
    # Its own update takes extra arguments, but the transformation that it makes drops them.
    owner = tx if isinstance(tx, optax.MultiSteps) else getattr(tx.update, "__self__", None)
    if isinstance(owner, optax.MultiSteps):
        init, update = owner.init, owner.update
    else:
        init, update = tx.init, optax.with_extra_args_support(cast(Any, tx)).update
    return optax.GradientTransformationExtraArgs(
        FunctionByValue(cast(Any, init)), FunctionByValue(cast(Any, update))
    )


def _determining(function: Callable[..., Any]) -> Any:
    """Return what determines a function, where that is not the function as it is."""
    owner = getattr(function, "__self__", None)
    # Compared by identity, though what it does is fixed by what it was made from.
    if type(owner) is optax.MultiSteps:
        return owner.__class__, getattr(function, "__func__", None), vars(owner)
    return function
