"""Bodies: the jaxprs inside of an equation, and how often each of them runs."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class Body:
    """A jaxpr inside of an equation.

    Attributes:
        jaxpr: the jaxpr.
        primitive: the name of the equation's primitive.
        runs: how often it runs when the equation does; None if that is not known.
    """

    jaxpr: Jaxpr
    primitive: str
    runs: int | None


def bodies(eqn: JaxprEqn) -> list[Body]:
    """Give the jaxprs inside of an equation.

    The body of a `scan` runs once per step, and of the branches of a `cond` each may run. An
    equation with one body that takes and gives what the equation does is a call, whatever it
    is called: `jit`, `checkpoint`, a custom derivative.
    """
    name = eqn.primitive.name
    jaxprs = list(_jaxprs(eqn.params))
    if name == "scan":
        runs = eqn.params["length"]
    elif name == "cond" or [_types(jaxpr) for jaxpr in jaxprs] == [_types(eqn)]:
        runs = 1
    else:
        runs = None
    return [Body(jaxpr, name, runs) for jaxpr in jaxprs]


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _types(taker: JaxprEqn | Jaxpr) -> list[list[Any]]:
    return [
        [(getattr(v.aval, "shape", v.aval), getattr(v.aval, "dtype", None)) for v in variables]
        for variables in (taker.invars, taker.outvars)
    ]
