"""FLOPs: what each call of a traced model costs, alone and with its derivative.

Both come from the one trace of the model. The cost of a call is that of its region. The cost of
its *vjp* is that of the same equations with the vector-Jacobian product after them: from what
the call returns, back to every floating-point value that the region reads (its inputs, its
parameters and other variables).
"""

import functools
from typing import Any

import jax
import jax.core
from jax.extend.core import ClosedJaxpr

from linen_core._summary.costs import Cost, cost_of, is_floating
from linen_core._summary.regions import Region, regions

_NO_DERIVATIVE = Cost(0, frozenset({"no derivative"}))


def call_costs(closed: ClosedJaxpr, vjp: bool) -> dict[int, Cost]:
    """Give what each marked call in a jaxpr costs, by the number of the call.

    Args:
        closed: the trace of a model.
        vjp: whether the derivative belongs to it.

    Returns:
        The costs, with all loops that the calls are in.
    """
    costs: dict[int, Cost] = {}
    for region in regions(closed.jaxpr):
        cost = _vjp_cost(region) if vjp else cost_of(region.equations)
        for body in region.around:
            cost = cost.within(body)
        costs[region.index] = costs.get(region.index, Cost()) + cost
    return costs


def _vjp_cost(region: Region) -> Cost:
    jaxpr = region.alone()
    inputs = [var for var in jaxpr.invars if is_floating(var)]
    outputs = [is_floating(var) for var in jaxpr.outvars]
    if not inputs or not any(outputs):
        return _NO_DERIVATIVE

    def forward(others: list[Any], floats: list[Any]) -> list[Any]:
        given, differentiated = iter(others), iter(floats)
        values = [next(differentiated if is_floating(var) else given) for var in jaxpr.invars]
        results = jax.core.eval_jaxpr(jaxpr, [], *values)
        return [y for y, is_output in zip(results, outputs, strict=True) if is_output]

    def vjp(others: list[Any], floats: list[Any]) -> Any:
        results, pullback = jax.vjp(functools.partial(forward, others), floats)
        return pullback(results)

    try:
        others = [_spec(var) for var in jaxpr.invars if not is_floating(var)]
        closed = jax.make_jaxpr(vjp)(others, [_spec(var) for var in inputs])
    except Exception:  # whatever JAX, or a derivative that a user wrote, says against it
        return _NO_DERIVATIVE
    return cost_of(closed.jaxpr.eqns)


def _spec(var: Any) -> jax.ShapeDtypeStruct:
    aval = var.aval
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
