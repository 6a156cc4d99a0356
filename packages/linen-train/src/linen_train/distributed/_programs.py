"""Evaluating a traced computation so that its results are born in parts, with the bits of eager evaluation.

Eager evaluation compiles each outermost equation for itself, and XLA rounds differently when it merges
equations: in one program for all, `normal(key, shape) * stddev` has other last bits. So equations are
compiled one by one here too, with numbers that Python wrote down as arguments, as they are eagerly.
Each program is told the sharding of its result, so that a device computes its own part alone.

For this, shardings go backwards, from the results of the computation to what they are computed from,
where shapes agree. Where they do not, as in front of a reshape, nothing is whole either: equations that
only move numbers, and round nothing, belong to the program that computes them.

Programs are kept: equal layers share theirs, and the next call finds them.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_core.extend.staging import is_initializer, needed_equations, read_by, variables_among

# They compute nothing, so that merging them into another program changes no bit.
_MOVES = frozenset(
    """
    broadcast_in_dim copy expand_dims reshape rev sharding_constraint slice squeeze stop_gradient
    transpose
    """.split()
)
_PROGRAMS = 2048


@dataclasses.dataclass(frozen=True)
class _Group:
    """Equations that are compiled together: one, and those that only move its result.

    Attributes:
        eqns: the equations, each of which reads the result of the one before.
    """

    eqns: tuple[JaxprEqn, ...]

    @property
    def outvars(self) -> Sequence[Any]:
        return self.eqns[-1].outvars


def opened(closed: ClosedJaxpr, outvars: Sequence[Any]) -> ClosedJaxpr:
    """Return what a computation needs for some of its variables, with initializers taken apart.

    It has the same arguments, and those variables as its results.
    """
    eqns = needed_equations(closed.jaxpr, outvars)

    def run(*args: Any) -> list[Any]:
        return _run(closed.jaxpr, eqns, outvars, closed.consts, args)

    return jax.make_jaxpr(run)(*closed.in_avals)


def _run(
    jaxpr: Jaxpr,
    eqns: Sequence[JaxprEqn],
    outvars: Sequence[Any],
    consts: Sequence[Any],
    args: Sequence[Any],
) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in eqns:
        if is_initializer(eqn):
            inner = eqn.params["jaxpr"]
            operands = [read(atom) for atom in eqn.invars]
            body = inner.jaxpr
            results = _run(body, body.eqns, body.outvars, inner.consts, operands)
        else:
            operands = variables_among(eqn.invars)
            alone = _alone(jaxpr, [eqn], operands)
            results = jaxpr_as_fun(ClosedJaxpr(alone, []))(*(values[var] for var in operands))
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in outvars]


def evaluate(
    closed: ClosedJaxpr,
    args: Sequence[Any],
    shardings: Sequence[NamedSharding],
    mesh: Mesh,
) -> list[jax.Array]:
    """Return the results of a computation, each with its sharding.

    Args:
        closed: the computation.
        args: the values of its arguments; those that are not read may be anything.
        shardings: the sharding of each result.
        mesh: the mesh of the shardings.
    """
    outvars = closed.jaxpr.outvars
    groups = _groups(closed.jaxpr.eqns, outvars)
    whole = NamedSharding(mesh, PartitionSpec())
    targets = _targets(groups, outvars, shardings)
    jaxpr = closed.jaxpr
    read = set(read_by(jaxpr.eqns, outvars))
    inputs = [
        *zip(jaxpr.constvars, closed.consts, strict=True),
        *zip(jaxpr.invars, args, strict=True),
    ]
    values = {
        var: placed(value, targets.get(var, whole))
        for var, value in inputs
        if not isinstance(var, Literal) and var in read
    }
    last = {var: i for i, group in enumerate(groups) for var in _inputs(group)}
    kept = set(variables_among(outvars))
    for index, group in enumerate(groups):
        program, operands = _program(jaxpr, group, [targets.get(v, whole) for v in group.outvars])
        results = program(*(x.val if isinstance(x, Literal) else values[x] for x in operands))
        values.update(zip(group.outvars, results, strict=True))
        for var in _inputs(group):
            if last[var] == index and var not in kept:
                del values[var]
    return _separate(outvars, values, shardings)


def placed(value: Any, sharding: NamedSharding) -> jax.Array:
    """Put a value that every process has onto a mesh, without a message between processes."""
    if isinstance(value, jax.Array) and (
        not value.is_fully_addressable or value.sharding.device_set == sharding.device_set
    ):
        return jax.device_put(value, sharding)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = placed(jax.random.key_data(value), NamedSharding(sharding.mesh, sharding.spec))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(value))
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _groups(eqns: Sequence[JaxprEqn], outvars: Sequence[Any]) -> list[_Group]:
    """Put each equation that only moves numbers together with the one that computes them."""
    readers: dict[Any, int] = dict.fromkeys(variables_among(outvars), 2)
    for eqn in eqns:
        for var in variables_among(eqn.invars):
            readers[var] = readers.get(var, 0) + 1
    groups: list[list[JaxprEqn]] = []
    made_by: dict[Any, list[JaxprEqn]] = {}
    for eqn in eqns:
        moved = variables_among(eqn.invars)
        group = made_by.get(moved[0]) if len(moved) == 1 else None
        if eqn.primitive.name in _MOVES and group is not None and readers[moved[0]] == 1:
            group.append(eqn)
        else:
            group = [eqn]
            groups.append(group)
        if len(eqn.outvars) == 1:
            made_by[eqn.outvars[0]] = group
    return [_Group(tuple(group)) for group in groups]


def _inputs(group: _Group) -> list[Any]:
    return variables_among(group.eqns[0].invars)


def _targets(
    groups: Sequence[_Group], outvars: Sequence[Any], shardings: Sequence[NamedSharding]
) -> dict[Any, NamedSharding]:
    """Return the shardings of variables: those asked for, and of what they are computed from."""
    targets: dict[Any, NamedSharding] = {}
    for var, sharding in zip(outvars, shardings, strict=True):
        if not isinstance(var, Literal):
            targets.setdefault(var, sharding)
    for group in reversed(groups):
        for out in group.outvars:
            for var in _inputs(group) if out in targets else ():
                if getattr(var.aval, "shape", None) == out.aval.shape:
                    targets.setdefault(var, targets[out])
    return targets


def _alone(jaxpr: Jaxpr, eqns: Sequence[JaxprEqn], invars: Sequence[Any]) -> Jaxpr:
    return jaxpr.replace(
        constvars=[],
        invars=list(invars),
        outvars=list(eqns[-1].outvars),
        eqns=list(eqns),
    )


def _program(
    jaxpr: Jaxpr, group: _Group, shardings: Sequence[NamedSharding]
) -> tuple[Any, list[Any]]:
    """Return a compiled function for a group, and its operands: variables and literals."""
    operands: list[Any] = variables_among(group.eqns[0].invars)
    operands += [atom for eqn in group.eqns for atom in eqn.invars if isinstance(atom, Literal)]
    key = _Key(jaxpr, group, tuple(shardings))
    try:
        return _compiled(key), operands
    except TypeError:  # a parameter that cannot be hashed
        return _compiled.__wrapped__(key), operands


class _Key:
    """A group by what it computes, without the identity of its variables."""

    def __init__(self, jaxpr: Jaxpr, group: _Group, shardings: tuple[NamedSharding, ...]) -> None:
        self.jaxpr = jaxpr
        self.group = group
        self.shardings = shardings
        numbers = {var: i for i, var in enumerate(_inputs(group))}
        for eqn in group.eqns:
            for var in eqn.outvars:
                numbers[var] = len(numbers)

        def operand(atom: Any) -> Any:
            kind = (atom.aval.shape, atom.aval.dtype)
            return kind if isinstance(atom, Literal) else (numbers[atom], *kind)

        self.value = (
            shardings,
            *(
                (
                    eqn.primitive,
                    tuple(sorted(eqn.params.items(), key=lambda item: item[0])),
                    tuple(map(operand, eqn.invars)),
                )
                for eqn in group.eqns
            ),
        )

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.value == other.value


@functools.lru_cache(maxsize=_PROGRAMS)
def _compiled(key: _Key) -> Any:
    """Compile a group as a function of its variables and its literals."""
    literals: list[Any] = []
    eqns: list[JaxprEqn] = []
    for eqn in key.group.eqns:
        invars: list[Any] = []
        for atom in eqn.invars:
            if isinstance(atom, Literal):
                atom = _variable_like(atom)
                literals.append(atom)
            invars.append(atom)
        eqns.append(eqn.replace(invars=invars))
    alone = _alone(key.jaxpr, eqns, [*_inputs(key.group), *literals])
    return jax.jit(jaxpr_as_fun(ClosedJaxpr(alone, [])), out_shardings=list(key.shardings))


def _variable_like(literal: Any) -> Any:
    (variable,) = jax.make_jaxpr(lambda x: x)(literal.val).jaxpr.invars
    return variable


def _separate(
    outvars: Sequence[Any], values: Mapping[Any, jax.Array], shardings: Sequence[NamedSharding]
) -> list[jax.Array]:
    """Give each result an array of its own, so that a step may donate all of them."""
    seen: set[Any] = set()
    results: list[jax.Array] = []
    for var, sharding in zip(outvars, shardings, strict=True):
        if isinstance(var, Literal):
            results.append(placed(var.val, sharding))
            continue
        value = values[var]
        if var in seen or value.sharding != sharding:
            value = jax.device_put(value, sharding, may_alias=False)
        seen.add(var)
        results.append(value)
    return results
