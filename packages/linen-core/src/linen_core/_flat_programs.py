"""Programs for arrays of any shape: what an initializer computes, number by number.

JAX compiles an initializer anew for each shape, which is most of what `init` costs. But random
numbers depend on the key and on their position in the flattened array alone, and what follows works
on each number for itself. So an initializer of a shape is a **flat program**: *wide* values, which
have one number for each position, *scalars*, and others, such as keys, that know nothing of wide
ones. Compiled for a size, it gives the first numbers of every array of at most that size.

The results must be the ones of the initializer, bit for bit. When it runs eagerly, each of its
outermost operations is a **call**, which XLA compiles for itself: where one ends, a number is rounded.
So a flat program is a sequence of such calls, and constants between them are arguments, as they are
there. And an operation on each number for itself must give the same bits at every position of arrays
of every size, which those whose vector and scalar forms are approximations, such as `exp`, do not.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias
from typing import Literal as OneOf

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive

# Every number of the result depends on the numbers in the same position, and on nothing else.
_ELEMENTWISE = frozenset(
    """
    abs add and bitcast_convert_type ceil clamp convert_element_type copy div eq erf_inv floor ge gt
    is_finite le lt max min mul ne neg nextafter not or reduce_precision round select_n shift_left
    shift_right_arithmetic shift_right_logical sign sqrt square stop_gradient sub xor
    """.split()
)
_CALLS = frozenset({"jit", "pjit"})


class NotFlat(Exception):  # noqa: N818 - not an error, a branch
    """A computation is no flat program."""


_Kind: TypeAlias = OneOf["wide", "scalar", "other"]


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A scalar as an operand."""

    dtype: str
    data: bytes

    @property
    def value(self) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.data, jnp.dtype(self.dtype))[0]


_Operand: TypeAlias = int | _Constant


@dataclasses.dataclass(frozen=True)
class _Step:
    """One operation.

    Attributes:
        primitive: what is computed.
        params: its parameters, by name.
        operands: numbers of earlier values, or constants.
        is_wide: whether the results have a number for each position.
    """

    primitive: Primitive
    params: tuple[tuple[str, Any], ...]
    operands: tuple[_Operand, ...]
    is_wide: bool


class _Call:
    """Steps that are compiled together, from arguments to one value; equal to others by value.

    Args:
        steps: the operations, in order. Values are numbered: arguments first, then results.
        output: the number of the value to return.
    """

    __slots__ = ("_hash", "is_wide", "output", "steps")

    def __init__(self, steps: tuple[_Step, ...], output: int) -> None:
        self.steps = steps
        self.output = output
        self.is_wide = any(step.is_wide for step in steps)
        self._hash = hash((steps, output))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, _Call) and (self.steps, self.output) == (other.steps, other.output)


@dataclasses.dataclass(frozen=True)
class FlatProgram:
    """Calls from arguments to one wide value; equal to others by value.

    Attributes:
        calls: the calls, in order, each with the numbers of its arguments. Values are numbered:
            arguments of the program first, then results.
        output: the number of the value to return.
    """

    calls: tuple[tuple[_Call, tuple[int, ...]], ...]
    output: int


def run_flat(program: FlatProgram, size: int, *args: Any) -> jax.Array:
    """Give the first numbers that a program makes.

    Args:
        program: the program.
        size: how many numbers.
        *args: its arguments.

    Returns:
        An array of shape `(size,)`.
    """
    values = list(args)
    for call, operands in program.calls:
        # What is not wide is compiled once for all sizes.
        call_size = size if call.is_wide else 0
        values.append(_run_call(call, call_size, *(values[i] for i in operands)))
    return values[program.output]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_call(call: _Call, size: int, *args: Any) -> Any:
    values = list(args)
    for step in call.steps:
        operands = [x.value if isinstance(x, _Constant) else values[x] for x in step.operands]
        params = dict(step.params)
        if step.is_wide and "shape" in params:
            params |= {"shape": (size,)}
        elif step.is_wide:
            operands = [jnp.broadcast_to(x, (size,)) for x in operands]
        values.append(step.primitive.bind(*operands, **params))
    return values[call.output]


def flatten(closed: ClosedJaxpr) -> tuple[FlatProgram, list[Any]]:
    """Find the flat program of a computation that makes one array.

    Args:
        closed: the computation.

    Returns:
        The program, and the arguments that it takes after those of the computation.

    Raises:
        NotFlat: there is none.
    """
    jaxpr = closed.jaxpr
    (output,) = (_aval(var) for var in jaxpr.outvars)
    # What is of weak type would not be when it is cut out of another array.
    if math.prod(output.shape) < 2 or output.weak_type or closed.consts:
        raise NotFlat
    literals = [x for eqn in jaxpr.eqns for x in eqn.invars if isinstance(x, Literal)]
    arguments = [*jaxpr.invars, *literals]
    kinds: list[_Kind] = ["scalar" if _is_number(_aval(x)) else "other" for x in arguments]
    # Literals do not compare by value.
    numbers = {id(x): i for i, x in enumerate(arguments)}
    calls: list[tuple[_Call, tuple[int, ...]]] = []
    for eqn in jaxpr.eqns:
        operands = tuple(numbers[id(x)] for x in eqn.invars)
        flattening = _Flattening(output.shape, [kinds[i] for i in operands])
        number = flattening.run(eqn)
        if number < len(operands):  # nothing to do
            numbers[id(eqn.outvars[0])] = operands[number]
            continue
        numbers[id(eqn.outvars[0])] = len(kinds)
        kinds.append(flattening.kinds[number])
        calls.append((_Call(tuple(flattening.steps), number), operands))
    number = numbers[id(jaxpr.outvars[0])]
    if kinds[number] != "wide":
        raise NotFlat
    return FlatProgram(tuple(calls), number), [_value(x) for x in literals]


class _Flattening:
    """The state of flattening one call: what was found so far.

    Args:
        shape: the shape that wide values have in the computation.
        kinds: what the arguments are.
    """

    def __init__(self, shape: tuple[int, ...], kinds: list[_Kind]) -> None:
        self.shape = shape
        self.steps: list[_Step] = []
        self.kinds = kinds
        self._arguments = len(kinds)

    def run(self, eqn: JaxprEqn) -> int:
        """Add the steps of a call, and give the number of its result."""
        results = self._equation(eqn, range(self._arguments))
        if len(results) != 1 or isinstance(results[0], _Constant):
            raise NotFlat
        return results[0]

    def _run(self, jaxpr: Jaxpr, operands: Sequence[_Operand]) -> list[_Operand]:
        numbers: dict[Any, _Operand] = dict(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> _Operand:
            return _constant(atom) if isinstance(atom, Literal) else numbers[atom]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(atom) for atom in eqn.invars])
            numbers.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: JaxprEqn, operands: Sequence[_Operand]) -> Sequence[_Operand]:
        if eqn.primitive.name in _CALLS:
            inner = eqn.params["jaxpr"]
            if inner.consts:
                raise NotFlat
            return self._run(inner.jaxpr, operands)
        if len(eqn.outvars) != 1:
            raise NotFlat
        if self._is_copy(eqn, operands):
            return operands
        is_wide = _aval(eqn.outvars[0]).shape == self.shape
        return [self._add_wide(eqn, operands) if is_wide else self._add_narrow(eqn, operands)]

    def _is_copy(self, eqn: JaxprEqn, operands: Sequence[_Operand]) -> bool:
        """Say whether only dimensions change that values do not have here."""
        if eqn.primitive.name not in ("broadcast_in_dim", "reshape") or len(operands) != 1:
            return False
        if eqn.params.get("dimensions") is not None:  # a reshape that also transposes
            return False
        shape = _aval(eqn.outvars[0]).shape
        kind = self._kind(operands[0])
        return (kind == "scalar" and math.prod(shape) == 1) or (
            kind == "wide" and shape == self.shape
        )

    def _add_wide(self, eqn: JaxprEqn, operands: Sequence[_Operand]) -> int:
        name, params = eqn.primitive.name, dict(eqn.params)
        if name == "broadcast_in_dim" and self._kind(operands[0]) == "scalar":
            params |= {"shape": (), "broadcast_dimensions": ()}
        elif name == "random_bits" and _is_threefry(_aval(eqn.invars[0])):
            params |= {"shape": ()}
        elif name not in _ELEMENTWISE or any(self._kind(x) == "other" for x in operands):
            raise NotFlat
        return self._add(eqn.primitive, params, operands, "wide")

    def _add_narrow(self, eqn: JaxprEqn, operands: Sequence[_Operand]) -> int:
        """Add a step between scalars, or one that knows nothing of wide values."""
        kinds = [self._kind(x) for x in operands]
        are_scalars = all(kind == "scalar" for kind in kinds)
        if eqn.primitive.name in _ELEMENTWISE and are_scalars:
            return self._add(eqn.primitive, eqn.params, operands, "scalar")
        have_lost = any(
            kind == "scalar" and _aval(x).shape for kind, x in zip(kinds, eqn.invars, strict=True)
        )
        if have_lost or "wide" in kinds:
            raise NotFlat
        kind: _Kind = "scalar" if _is_number(_aval(eqn.outvars[0])) else "other"
        return self._add(eqn.primitive, eqn.params, operands, kind)

    def _kind(self, operand: _Operand) -> _Kind:
        return "scalar" if isinstance(operand, _Constant) else self.kinds[operand]

    def _add(
        self, primitive: Primitive, params: Any, operands: Sequence[_Operand], kind: _Kind
    ) -> int:
        step = _Step(primitive, tuple(sorted(params.items())), tuple(operands), kind == "wide")
        try:
            hash(step)
        except TypeError:
            raise NotFlat from None
        if params.get("sharding") is not None:
            raise NotFlat
        self.steps.append(step)
        self.kinds.append(kind)
        return len(self.kinds) - 1


def _aval(atom: Any) -> Any:
    """Give the shape and dtype of a variable or literal."""
    return atom.aval


def _is_number(aval: Any) -> bool:
    return aval.shape == () and not jnp.issubdtype(aval.dtype, jax.dtypes.extended)


def _value(literal: Literal) -> np.ndarray[Any, Any]:
    return np.asarray(literal.val, _aval(literal).dtype)


def _constant(literal: Literal) -> _Constant:
    value = _value(literal)
    if value.shape:
        raise NotFlat
    return _Constant(value.dtype.name, value.tobytes())


def _is_threefry(aval: Any) -> bool:
    """Say whether something is one key, from which random bits go by their position."""
    return aval.shape == () and aval.dtype == _threefry()


@functools.cache
def _threefry() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype
