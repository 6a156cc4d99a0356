"""Costs: how many floating-point operations the equations of a jaxpr take.

* A matrix product or convolution takes two for each pair of elements that are multiplied; zeros
  that pad the input of a convolution are not.
* An elementwise operation takes one for each element of its result, be it an addition, a
  comparison, a conversion or a `tanh`. A reduction takes one for each element that it takes in,
  less one for each that it gives. A sort of n elements takes n log2(n) comparisons, a Fourier
  transform 5 n log2(n) operations.
* Moving data takes none, and neither do integers and random bits.
* A `scan` takes those of its body times its length, a `cond` those of its most expensive branch.

These are the numbers of XLA's own analysis, except that there transcendental functions are kept
apart, integers are counted, and the body of a loop is counted once.

What has no known cost is not counted as zero: a loop of unknown length, a callback, a kernel. The
**cost** then names the primitives that are not in it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from linen_core._summary.bodies import Body, bodies

_FREE = frozenset(
    """add_dependency bitcast_convert_type broadcast_in_dim broadcast_to concatenate copy copy_p
    debug_callback debug_print device_put dynamic_slice dynamic_update_slice empty empty2 gather
    imag iota layout_constraint linen_summary_mark name optimization_barrier pad pbroadcast pvary
    random_bits real reshape reshard rev scatter sharding_constraint slice split squeeze stack
    stop_gradient tie tile transpose unstack""".split()
)
_ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil
    clamp complex conj convert_element_type cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
    floor ge gt igamma igamma_grad_a igammac integer_pow is_finite le le_to lgamma log log1p
    logistic lt lt_to max min mul ne neg nextafter not or polygamma pow random_gamma_grad
    reduce_precision regularized_incomplete_beta rem round rsqrt select_n sign sin sinh sqrt square
    stochastic_round sub tan tanh xor zeta""".split()
)
_REDUCTIONS = frozenset(
    "argmax argmin reduce reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum".split()
)
_CUMULATIVE = frozenset("cumlogsumexp cummax cummin cumprod cumsum".split())
_WINDOWED = frozenset(
    """reduce_window reduce_window_max reduce_window_min reduce_window_sum
    select_and_gather_add""".split()
)
_SCATTERED = frozenset("scatter_add scatter_mul scatter_max scatter_min scatter_sub".split())


@dataclasses.dataclass(frozen=True)
class Cost:
    """A number of floating-point operations.

    Attributes:
        flops: those that are counted.
        uncounted: the names of the primitives that are not.
    """

    flops: int = 0
    uncounted: frozenset[str] = frozenset()

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.uncounted | other.uncounted)

    def within(self, body: Body) -> "Cost":
        """Give the cost of everything that a body's equation makes of this much work in it."""
        if self == Cost():
            return self
        if body.runs is None:
            return Cost(0, self.uncounted | {body.primitive})
        return Cost(self.flops * body.runs, self.uncounted)


def cost_of(equations: Iterable[JaxprEqn]) -> Cost:
    """Add up what equations cost."""
    return sum(map(_cost, equations), Cost())


def _cost(eqn: JaxprEqn) -> Cost:
    name = eqn.primitive.name.replace("-", "_")
    if name in _FREE:
        return Cost()
    if name in _RULES:
        return Cost(_RULES[name](eqn)) if _is_floating(eqn) else Cost()
    inside = [cost_of(body.jaxpr.eqns).within(body) for body in bodies(eqn)]
    if name == "cond":
        uncounted = frozenset().union(*(cost.uncounted for cost in inside))
        return Cost(max(cost.flops for cost in inside), uncounted)
    if inside:
        return sum(inside, Cost())
    return Cost(0, frozenset({eqn.primitive.name})) if _is_floating(eqn) else Cost()


def _is_floating(eqn: JaxprEqn) -> bool:
    return any(is_floating(var) for var in (*eqn.invars, *eqn.outvars))


def is_floating(var: Any) -> bool:
    """Say whether a variable of a jaxpr holds real or complex floating-point numbers."""
    return jnp.issubdtype(getattr(var.aval, "dtype", np.dtype(bool)), jnp.inexact)


def _shape(var: Any) -> tuple[int, ...]:
    return var.aval.shape


def _size(var: Any) -> int:
    return math.prod(_shape(var))


def _elementwise(eqn: JaxprEqn) -> int:
    return _size(eqn.outvars[0])


def _reduction(eqn: JaxprEqn) -> int:
    return _size(eqn.invars[0]) - _size(eqn.outvars[0])


def _cumulative(eqn: JaxprEqn) -> int:
    shape, axis = _shape(eqn.invars[0]), eqn.params["axis"]
    return _size(eqn.invars[0]) // max(shape[axis], 1) * max(shape[axis] - 1, 0)


def _windowed(eqn: JaxprEqn) -> int:
    return _size(eqn.outvars[0]) * (math.prod(eqn.params["window_dimensions"]) - 1)


def _scattered(eqn: JaxprEqn) -> int:
    return _size(eqn.invars[2])


def _select_and_scatter(eqn: JaxprEqn) -> int:
    # In each window: comparisons to find the place, and one addition there.
    return _size(eqn.invars[0]) * math.prod(eqn.params["window_dimensions"])


def _sorted(eqn: JaxprEqn) -> int:
    shape = _shape(eqn.invars[0])
    length = shape[eqn.params.get("dimension", len(shape) - 1)]
    return _size(eqn.invars[0]) * max(length - 1, 0).bit_length()


def _fourier(eqn: JaxprEqn) -> int:
    size = max(_size(eqn.invars[0]), _size(eqn.outvars[0]))
    return round(5 * size * math.log2(math.prod(eqn.params["fft_lengths"])))


def _dot_general(eqn: JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = _shape(eqn.invars[0])
    return 2 * _size(eqn.outvars[0]) * math.prod(shape[axis] for axis in contracted)


def _convolution(eqn: JaxprEqn) -> int:
    params, output = eqn.params, _shape(eqn.outvars[0])
    inputs, kernel = (_shape(var) for var in eqn.invars[:2])
    numbers = params["dimension_numbers"]
    pairs = 1
    for axis, (in_axis, kernel_axis, out_axis) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
    ):
        # Every position of the output meets every element of the kernel in one of the input...
        meets = (
            np.arange(output[out_axis])[:, None] * params["window_strides"][axis]
            + np.arange(kernel[kernel_axis]) * params["rhs_dilation"][axis]
            - params["padding"][axis][0]
        )
        # ... which is there, unless it is in the padding or between the dilated elements.
        position, gap = np.divmod(meets, params["lhs_dilation"][axis])
        is_there = (gap == 0) & (position >= 0) & (position < inputs[in_axis])
        pairs *= int(is_there.sum())
    batch, features = (output[axis] for axis in numbers.out_spec[:2])
    return 2 * pairs * batch * features * kernel[numbers.rhs_spec[1]]


_RULES: dict[str, Callable[[JaxprEqn], int]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_CUMULATIVE, _cumulative),
    **dict.fromkeys(_WINDOWED, _windowed),
    **dict.fromkeys(_SCATTERED, _scattered),
    "select_and_scatter_add": _select_and_scatter,
    "sort": _sorted,
    "top_k": _sorted,
    "fft": _fourier,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
}
