"""Operators that act on a value which an object stands for.

`ValueOperators` gives Python's operators to a class whose instances *stand for* a value: each
operator takes the values that its operands stand for and applies itself to them. There are no
in-place operators, so that `a[key] += 1` assigns the sum.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

Operator: TypeAlias = Callable[..., Any]


def _forward(function: Callable[..., Any]) -> Operator:
    def forwarded(self: Any, *others: Any) -> Any:
        return function(*map(value_of, (self, *others)))

    return forwarded


def _reflect(function: Callable[..., Any]) -> Operator:
    def reflected(self: Any, other: Any) -> Any:
        return function(value_of(other), value_of(self))

    return reflected


class ValueOperators:
    """Operators for a class that says with `_operand` what its instances stand for."""

    __slots__ = ()

    # An array of NumPy leaves the operation to the reflected operator below.
    __array_ufunc__: None = None

    def _operand(self) -> Any:
        raise NotImplementedError

    __add__: Operator = _forward(operator.add)
    __radd__: Operator = _reflect(operator.add)
    __sub__: Operator = _forward(operator.sub)
    __rsub__: Operator = _reflect(operator.sub)
    __mul__: Operator = _forward(operator.mul)
    __rmul__: Operator = _reflect(operator.mul)
    __matmul__: Operator = _forward(operator.matmul)
    __rmatmul__: Operator = _reflect(operator.matmul)
    __truediv__: Operator = _forward(operator.truediv)
    __rtruediv__: Operator = _reflect(operator.truediv)
    __floordiv__: Operator = _forward(operator.floordiv)
    __rfloordiv__: Operator = _reflect(operator.floordiv)
    __mod__: Operator = _forward(operator.mod)
    __rmod__: Operator = _reflect(operator.mod)
    __divmod__: Operator = _forward(divmod)
    __rdivmod__: Operator = _reflect(divmod)
    __pow__: Operator = _forward(operator.pow)
    __rpow__: Operator = _reflect(operator.pow)
    __lshift__: Operator = _forward(operator.lshift)
    __rlshift__: Operator = _reflect(operator.lshift)
    __rshift__: Operator = _forward(operator.rshift)
    __rrshift__: Operator = _reflect(operator.rshift)
    __and__: Operator = _forward(operator.and_)
    __rand__: Operator = _reflect(operator.and_)
    __or__: Operator = _forward(operator.or_)
    __ror__: Operator = _reflect(operator.or_)
    __xor__: Operator = _forward(operator.xor)
    __rxor__: Operator = _reflect(operator.xor)

    __neg__: Operator = _forward(operator.neg)
    __pos__: Operator = _forward(operator.pos)
    __abs__: Operator = _forward(abs)
    __invert__: Operator = _forward(operator.invert)
    __round__: Operator = _forward(round)

    __lt__: Operator = _forward(operator.lt)
    __le__: Operator = _forward(operator.le)
    __gt__: Operator = _forward(operator.gt)
    __ge__: Operator = _forward(operator.ge)

    def __eq__(self, other: object) -> Any:
        return value_of(self) == value_of(other)

    def __ne__(self, other: object) -> Any:
        return value_of(self) != value_of(other)

    def __bool__(self) -> bool:
        return bool(value_of(self))

    def __len__(self) -> int:
        return len(value_of(self))

    def __contains__(self, item: object) -> bool:
        return value_of(item) in value_of(self)


def value_of(operand: Any) -> Any:
    """Give the value that an operand stands for, or the operand itself."""
    return operand._operand() if isinstance(operand, ValueOperators) else operand
