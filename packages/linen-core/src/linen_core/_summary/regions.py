"""Regions: which equations of a jaxpr belong to which call.

While a model is traced, *marks* are written into the jaxpr where a call begins and where it ends:
equations of a primitive that gives nothing and does nothing. What lies between the two is the
*region* of the call, that of the calls which it makes included. The first mark has no inputs
and the last has what the call returns, so that both end up in the same jaxpr as the equations of the
call: the innermost that is being written, below `jax.vmap` and `jax.grad`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Primitive
from jax.interpreters import ad, batching, mlir

from linen_core._summary.bodies import Body, bodies
from linen_core._summary.specs import tracers_in

_MARK = Primitive("linen_summary_mark")
_MARK.multiple_results = True
_MARK.def_abstract_eval(lambda *values, **params: [])
# A function that JAX traced once and remembers may run with its marks later.
_MARK.def_impl(lambda *values, **params: [])
mlir.register_lowering(_MARK, lambda context, *values, **params: [])


def _mark(values: Sequence[Any], others: Sequence[Any], **params: Any) -> tuple[Any, Any]:
    """Mark what is below a transformation, whose tangents or mapped axes do not matter."""
    del others
    return _MARK.bind(*values, **params), []


ad.primitive_jvps[_MARK] = _mark
batching.primitive_batchers[_MARK] = _mark


def mark_begin(index: int) -> None:
    """Mark that a call begins here."""
    _MARK.bind(index=index, begins=True)


def mark_end(index: int, result: Any) -> None:
    """Mark that a call ends here and returns something."""
    _MARK.bind(*tracers_in(result), index=index, begins=False)


@dataclasses.dataclass(frozen=True)
class Region:
    """The equations of one call.

    Attributes:
        index: the number of the call.
        jaxpr: the jaxpr that the equations are in.
        begin: the position of the first of them.
        end: the position of the mark behind the last of them.
        around: the bodies that the jaxpr is inside of, innermost first.
    """

    index: int
    jaxpr: Jaxpr
    begin: int
    end: int
    around: tuple[Body, ...]

    @property
    def equations(self) -> Sequence[JaxprEqn]:
        """The equations."""
        return self.jaxpr.eqns[self.begin : self.end]

    def alone(self) -> Jaxpr:
        """Give a jaxpr of the equations, from what they read to what the call returns."""
        outvars = self.jaxpr.eqns[self.end].invars
        defined = {var for eqn in self.equations for var in eqn.outvars}
        read = (atom for eqn in self.equations for atom in eqn.invars)
        inputs = [
            atom
            for atom in dict.fromkeys((*_variables(read), *_variables(outvars)))
            if atom not in defined
        ]
        return self.jaxpr.replace(
            constvars=[], invars=inputs, outvars=outvars, eqns=list(self.equations)
        )


def _variables(atoms: Iterable[Any]) -> Iterator[Any]:
    return (atom for atom in atoms if not isinstance(atom, Literal))


def regions(jaxpr: Jaxpr, around: tuple[Body, ...] = ()) -> Iterator[Region]:
    """Yield every marked region of a jaxpr and of the jaxprs inside it.

    A call whose function JAX traced once and runs several times has several regions.
    """
    begins: dict[int, int] = {}
    for position, eqn in enumerate(jaxpr.eqns):
        if eqn.primitive is not _MARK:
            for body in bodies(eqn):
                yield from regions(body.jaxpr, (body, *around))
        elif eqn.params["begins"]:
            begins[eqn.params["index"]] = position + 1
        elif (begin := begins.pop(eqn.params["index"], None)) is not None:
            yield Region(eqn.params["index"], jaxpr, begin, position, around)
