"""Programs for arrays of any shape: what an initializer computes, number by number.

JAX compiles an initializer anew for each shape, which is most of what `init` costs. But random
numbers depend on the key and on their position in the flattened array alone, and what follows works
on each number for itself. So an initializer of a shape is a **flat program**: *wide* values, which
have one number for each position, and *narrow* ones, keys and scalars. Compiled for a size, it gives
the first numbers of every array of at most that size.

The results must be the ones of the initializer, bit for bit. When it runs eagerly, each of its
outermost operations is a **call**, compiled for itself, and XLA rounds differently when it merges the
operations of two calls. So a barrier stands behind each call, and the constants in between are
arguments, as they are there. Processors that multiply and add in one go see no barriers: a call that
adds may not take numbers of an earlier one. And an operation on each number for itself must give the
same bits at all positions of arrays of all sizes, which those that are approximated for vectors and
for scalars in different ways, such as `exp`, do not.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
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


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A scalar as an operand."""

    dtype: str
    data: bytes

    @property
    def value(self) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.data, jnp.dtype(self.dtype))[0]


@dataclasses.dataclass(frozen=True)
class _Step:
    """One operation.

    Attributes:
        primitive: what is computed.
        params: its parameters, by name.
        operands: numbers of earlier values, or constants.
        is_wide: whether the results have a number for each position.
        is_last: whether the operation is the last one of a call.
    """

    primitive: Primitive
    params: tuple[tuple[str, Any], ...]
    operands: tuple[int | _Constant, ...]
    is_wide: bool
    is_last: bool


class FlatProgram:
    """Steps from arguments to one wide value; equal to others by value.

    Args:
        steps: the operations, in order. Values are numbered: arguments first, then results.
        output: the number of the value to return.
    """

    __slots__ = ("_hash", "output", "steps")

    def __init__(self, steps: tuple[_Step, ...], output: int) -> None:
        self.steps = steps
        self.output = output
        self._hash = hash((steps, output))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, FlatProgram) and (self.steps, self.output) == (
            other.steps,
            other.output,
        )


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_flat(program: FlatProgram, size: int, *args: Any) -> jax.Array:
    """Give the first numbers that a program makes.

    Args:
        program: the program.
        size: how many numbers.
        *args: its arguments.

    Returns:
        An array of shape `(size,)`.
    """
    values: list[Any] = list(args)
    for step in program.steps:
        operands = [x.value if isinstance(x, _Constant) else values[x] for x in step.operands]
        params = dict(step.params)
        if step.is_wide and "shape" in params:
            params |= {"shape": (size,)}
        elif step.is_wide:
            operands = [jnp.broadcast_to(x, (size,)) for x in operands]
        result = step.primitive.bind(*operands, **params)
        if step.is_last and jnp.issubdtype(result.dtype, np.number):
            result = lax.optimization_barrier(result)
        values.append(result)
    return values[program.output]


def flatten(closed: ClosedJaxpr) -> tuple[FlatProgram, list[Any]]:
    """Find the flat program of a computation that makes one array.

    Args:
        closed: the computation.

    Returns:
        The program, and the arguments that it takes after those of the computation.

    Raises:
        NotFlat: there is none.
    """
    (output,) = map(_aval, closed.jaxpr.outvars)
    # What is of weak type would not be when it is cut out of another array.
    if math.prod(output.shape) < 2 or output.weak_type or closed.consts:
        raise NotFlat
    flattening = _Flattening(output.shape, closed.jaxpr.invars)
    number = flattening.run_calls(closed.jaxpr)
    if number not in flattening.wide:
        raise NotFlat
    return FlatProgram(tuple(flattening.steps), number), flattening.literals


class _Flattening:
    """The state of `flatten`: what was found so far.

    Args:
        shape: the shape that wide values have in the computation.
        inputs: the variables of the computation's arguments.
    """

    def __init__(self, shape: tuple[int, ...], inputs: Sequence[Any]) -> None:
        self.shape = shape
        self.steps: list[_Step] = []
        self.literals: list[Any] = []
        self.wide: set[Any] = set()
        # Values of one number, whatever their dimensions were; they have none here.
        self._scalars = {i for i, var in enumerate(inputs) if _has_number(var.aval)}
        self._arguments = len(inputs)

    def run_calls(self, jaxpr: Jaxpr) -> int:
        """Add the steps of a computation whose equations are calls of their own."""
        numbers: dict[Any, Any] = {var: i for i, var in enumerate(jaxpr.invars)}
        for literal in (a for eqn in jaxpr.eqns for a in eqn.invars if isinstance(a, Literal)):
            numbers[id(literal)] = self._arguments
            self._scalars.add(self._arguments)
            self._arguments += 1
            self.literals.append(_value(literal))
        for eqn in jaxpr.eqns:
            operands = [numbers[id(a) if isinstance(a, Literal) else a] for a in eqn.invars]
            numbers[eqn.outvars[0]] = self._run_call(eqn, operands)
        return numbers[jaxpr.outvars[0]]

    def _run_call(self, eqn: JaxprEqn, operands: Sequence[int]) -> int:
        first = len(self.steps)
        results = self._equation(eqn, operands)
        if len(results) != 1 or isinstance(results[0], _Constant):
            raise NotFlat
        adds = any(step.primitive.name in ("add", "sub") for step in self.steps[first:])
        if adds and any(self._is_number(x) and x >= self._arguments for x in operands):
            raise NotFlat
        last = results[0] - self._arguments
        if last >= 0:
            self.steps[last] = dataclasses.replace(self.steps[last], is_last=True)
        return results[0]

    def _run(self, jaxpr: Jaxpr, operands: Sequence[int | _Constant]) -> list[int | _Constant]:
        numbers: dict[Any, int | _Constant] = dict(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> int | _Constant:
            return _constant(atom) if isinstance(atom, Literal) else numbers[atom]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, [read(atom) for atom in eqn.invars])
            numbers.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(
        self, eqn: JaxprEqn, operands: Sequence[int | _Constant]
    ) -> Sequence[int | _Constant]:
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

    def _is_copy(self, eqn: JaxprEqn, operands: Sequence[int | _Constant]) -> bool:
        """Say whether only dimensions change that values do not have here."""
        if eqn.primitive.name not in ("broadcast_in_dim", "reshape") or len(operands) != 1:
            return False
        if eqn.params.get("dimensions") is not None:  # a reshape that transposes
            return False
        shape = _aval(eqn.outvars[0]).shape
        is_scalar = self._is_scalar(operands[0]) and math.prod(shape) == 1
        return is_scalar or (operands[0] in self.wide and shape == self.shape)

    def _add_wide(self, eqn: JaxprEqn, operands: Sequence[int | _Constant]) -> int:
        name, params = eqn.primitive.name, dict(eqn.params)
        if name == "broadcast_in_dim" and self._is_scalar(operands[0]):
            params |= {"shape": (), "broadcast_dimensions": ()}
        elif name == "random_bits" and _is_threefry(_aval(eqn.invars[0])):
            params |= {"shape": ()}
        elif name not in _ELEMENTWISE or not all(map(self._is_number, operands)):
            raise NotFlat
        number = self._add(eqn.primitive, params, operands, is_wide=True)
        self.wide.add(number)
        return number

    def _add_narrow(self, eqn: JaxprEqn, operands: Sequence[int | _Constant]) -> int:
        """Add a step between scalars, or one that knows nothing of wide values."""
        aval = _aval(eqn.outvars[0])
        is_scalar = eqn.primitive.name in _ELEMENTWISE and all(map(self._is_scalar, operands))
        have_lost = any(
            self._is_scalar(x) and _aval(a).shape for x, a in zip(operands, eqn.invars, strict=True)
        )
        if not is_scalar and (have_lost or any(x in self.wide for x in operands)):
            raise NotFlat
        number = self._add(eqn.primitive, eqn.params, operands, is_wide=False)
        if is_scalar or _has_number(aval):
            self._scalars.add(number)
        return number

    def _is_scalar(self, operand: int | _Constant) -> bool:
        return isinstance(operand, _Constant) or operand in self._scalars

    def _is_number(self, operand: int | _Constant) -> bool:
        return operand in self.wide or self._is_scalar(operand)

    def _add(
        self, primitive: Primitive, params: Any, operands: Sequence[Any], is_wide: bool
    ) -> int:
        step = _Step(primitive, tuple(sorted(params.items())), tuple(operands), is_wide, False)
        try:
            hash(step)
        except TypeError:
            raise NotFlat from None
        if params.get("sharding") is not None:
            raise NotFlat
        self.steps.append(step)
        return self._arguments + len(self.steps) - 1


def _aval(atom: Any) -> Any:
    """Give the shape and dtype of a variable or literal."""
    return atom.aval


def _has_number(aval: Any) -> bool:
    return aval.shape == () and not jnp.issubdtype(aval.dtype, jax.dtypes.extended)


def _value(literal: Literal) -> np.ndarray[Any, Any]:
    if _aval(literal).shape:
        raise NotFlat
    return np.asarray(literal.val, _aval(literal).dtype)


def _constant(literal: Literal) -> _Constant:
    value = _value(literal)
    return _Constant(value.dtype.name, value.tobytes())


def _is_threefry(aval: Any) -> bool:
    """Say whether something is one key, from which random bits go by their position."""
    return aval.shape == () and aval.dtype == _threefry()


@functools.cache
def _threefry() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype
