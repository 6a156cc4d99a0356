"""Matrix products whose operands have 8 bits."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linen_modules.fp8.quantization import Meta, larger, with_gradients
from linen_modules.fp8.scaling import dequantize, quantize, update
from linen_modules.typing import Array, DTypeLike, PrecisionLike

__all__ = [
    "DimensionNumbers",
    "canonicalize_dimension_numbers",
    "dot_general_with_precision",
    "quantized_dot",
    "quantized_dot_threaded",
    "static_dot_general_with_precision",
]

DimensionNumbers = tuple[
    tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]
]


def canonicalize_dimension_numbers(dimension_numbers: Any) -> DimensionNumbers:
    """Brings dimension numbers, as of `jax.lax.dot_general`, to tuples."""
    (lhs, rhs), (lhs_batch, rhs_batch) = dimension_numbers
    return (tuple(lhs), tuple(rhs)), (tuple(lhs_batch), tuple(rhs_batch))


def dot_general_with_precision(
    lhs: Array,
    rhs: Array,
    dimension_numbers: Any,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Multiplies with the least precision, and its derivatives with the highest.

    An 8-bit product may then be added up in few bits on the way forward, never on the way back.

    Args:
        lhs: an array.
        rhs: an array.
        dimension_numbers: ((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs)).
        precision: the precision on the way forward, as `jax.lax.Precision`; None is the least.
        preferred_element_type: the dtype in which products are added up, and of the result.

    Returns:
        An array, as of `jax.lax.dot_general`.

    >>> import jax.numpy as jnp
    >>> contract_last = (((1,), (0,)), ((), ()))
    >>> dot_general_with_precision(jnp.ones((2, 3)), jnp.ones((3, 1)), contract_last).tolist()
    [[3.0], [3.0]]
    """
    numbers = canonicalize_dimension_numbers(dimension_numbers)
    return static_dot_general_with_precision(numbers, precision, preferred_element_type, lhs, rhs)


def _static_dot_general(
    dimension_numbers: DimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    lhs: Array,
    rhs: Array,
) -> Array:
    precision = lax.Precision.DEFAULT if precision is None else precision
    return lax.dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)


# Does what `dot_general_with_precision` does, with what is static in front.
static_dot_general_with_precision: jax.custom_jvp[Array] = jax.custom_jvp(
    _static_dot_general, nondiff_argnums=(0, 1, 2)
)


@static_dot_general_with_precision.defjvp
def _dot_general_jvp(
    dimension_numbers: DimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    (lhs, rhs), (lhs_dot, rhs_dot) = primals, tangents
    options = (dimension_numbers, lax.Precision.HIGHEST, preferred_element_type)
    out = static_dot_general_with_precision(
        dimension_numbers, precision, preferred_element_type, lhs, rhs
    )
    tangent = lax.dot_general(lhs_dot, rhs, *options) + lax.dot_general(lhs, rhs_dot, *options)
    return out, tangent


def quantized_dot(
    lhs: Array,
    q_lhs: Array,
    lhs_scale: Array,
    rhs: Array,
    q_rhs: Array,
    rhs_scale: Array,
    out_grad_scale: Array,
    out_grad_amax_history: Array,
    dimension_numbers: Any,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Multiplies quantized operands; the gradients of the operands come from 8-bit products too.

    Args:
        lhs: the left operand, which gets the gradient.
        q_lhs: the left operand in 8 bits.
        lhs_scale: its scale, of shape (1,).
        rhs: the right operand, which gets the gradient.
        q_rhs: the right operand in 8 bits.
        rhs_scale: its scale, of shape (1,).
        out_grad_scale: the scale of the gradient of the output; its gradient is its next value.
        out_grad_amax_history: largest magnitudes of earlier gradients; likewise.
        dimension_numbers: ((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs)).
        preferred_element_type: the dtype in which products are added up, and of the result.

    Returns:
        The product of the 8-bit operands, which is still to be multiplied by both scales.

    >>> import jax.numpy as jnp
    >>> x, one, history = jnp.ones((1, 2)), jnp.ones(1), jnp.zeros(4)
    >>> q = x.astype(jnp.float8_e4m3fn)
    >>> contract_last = (((1,), (1,)), ((), ()))
    >>> quantized_dot(x, q, one, x, q, one, one, history, contract_last, jnp.float32).tolist()
    [[2.0]]
    """
    out, _ = quantized_dot_threaded(
        canonicalize_dimension_numbers(dimension_numbers),
        None,
        preferred_element_type,
        jnp.float8_e5m2,
        (lhs, q_lhs, lhs_scale),
        (rhs, q_rhs, rhs_scale),
        (out_grad_scale, out_grad_amax_history),
    )
    return out


_Operand = tuple[Array, Array, Array]


@with_gradients(static=4)
def quantized_dot_threaded(
    dimension_numbers: DimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    gradient_dtype: DTypeLike,
    lhs: _Operand,
    rhs: _Operand,
    output_grad: Meta,
) -> tuple[Array, Meta]:
    """Does what `quantized_dot` does, and returns its last argument; see `quantization`."""
    precision = lax.Precision.DEFAULT if precision is None else precision
    out = lax.dot_general(lhs[1], rhs[1], dimension_numbers, precision, preferred_element_type)
    return out, output_grad


def _quantized_dot_forward(
    dimension_numbers: DimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    gradient_dtype: DTypeLike,
    lhs: _Operand,
    rhs: _Operand,
    output_grad: Meta,
) -> tuple[tuple[Array, Meta], Any]:
    outputs = quantized_dot_threaded(
        dimension_numbers, precision, preferred_element_type, gradient_dtype, lhs, rhs, output_grad
    )
    # Empty arrays say what dtypes the gradients must have.
    of_dtypes = jnp.zeros(0, lhs[0].dtype), jnp.zeros(0, rhs[0].dtype)
    return outputs, (of_dtypes, lhs[1:], rhs[1:], output_grad)


def _quantized_dot_backward(
    dimension_numbers: DimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike | None,
    gradient_dtype: DTypeLike,
    residuals: Any,
    gradients: tuple[Array, Meta],
) -> tuple[Any, Any, Meta]:
    gradient, later = gradients
    of_dtypes, (q_lhs, lhs_scale), (q_rhs, rhs_scale), output_grad = residuals
    updated = update(gradient, gradient_dtype, *output_grad)
    scale = updated[0]
    q_gradient = quantize(gradient, gradient_dtype, scale, gradient.dtype)
    products = (
        (0, q_rhs, q_lhs.ndim, rhs_scale * scale),
        (1, q_lhs, q_rhs.ndim, lhs_scale * scale),
    )
    of_operands = []
    for side, other, ndim, factor in products:
        product = _times_gradient(q_gradient, other, ndim, side, dimension_numbers, gradient.dtype)
        product = dequantize(product, gradient.dtype, factor)
        of_operands.append((product.astype(of_dtypes[side].dtype), None, None))
    return of_operands[0], of_operands[1], larger(updated, later)


quantized_dot_threaded.defvjp(_quantized_dot_forward, _quantized_dot_backward)


def _times_gradient(
    gradient: Array,
    other: Array,
    ndim: int,
    side: int,
    dimension_numbers: DimensionNumbers,
    dtype: DTypeLike,
) -> Array:
    """Multiplies the gradient of a product with an operand: the gradient of the other operand.

    Args:
        gradient: the gradient of the product.
        other: the operand that multiplied the one whose gradient is wanted.
        ndim: the number of axes of the result.
        side: 0 if that is of the left operand, 1 if it is of the right one.
        dimension_numbers: those of the product.
        dtype: the dtype of the result.
    """
    contracted, batch = dimension_numbers
    own_contracted, other_contracted = contracted[side], contracted[1 - side]
    own_batch, other_batch = batch[side], batch[1 - side]
    own_kept = _left(ndim, own_contracted, own_batch)
    other_kept = _left(other.ndim, other_contracted, other_batch)
    first = len(own_batch) + (0 if side else len(own_kept))
    positions = tuple(range(first, first + len(other_kept)))
    numbers = ((positions, other_kept), (tuple(range(len(own_batch))), other_batch))
    product = lax.dot_general(gradient, other, numbers, lax.Precision.HIGHEST, dtype)
    # The contracted axes come in the order in which the other operand has them.
    in_order = sorted(range(len(other_contracted)), key=other_contracted.__getitem__)
    axes = (*own_batch, *own_kept, *(own_contracted[i] for i in in_order))
    return jnp.transpose(product, sorted(range(ndim), key=axes.__getitem__))


def _left(ndim: int, *taken: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(ndim) if not any(axis in axes for axes in taken))
