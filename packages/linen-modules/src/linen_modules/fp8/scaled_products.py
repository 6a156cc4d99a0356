"""Matrix products with delayed scaling: quantize, multiply, and update the scales."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from linen_modules._cached_jit import cached_jit
from linen_modules.errors import MissingArgumentError
from linen_modules.fp8.products import (
    DimensionNumbers,
    canonicalize_dimension_numbers,
    quantized_dot_threaded,
    static_dot_general_with_precision,
)
from linen_modules.fp8.quantization import (
    Meta,
    in_q_threaded,
    in_qdq_threaded,
    out_dq,
    out_qdq_threaded,
)
from linen_modules.typing import Array, DTypeLike, PrecisionLike

__all__ = [
    "Metas",
    "direct_dot_general",
    "fp8_scaled_dot_general",
    "rounded_dot_general",
]


class Metas(NamedTuple):
    """The scales and histories of a product.

    Attributes:
        input: those of the left operand.
        kernel: those of the right operand.
        output_grad: those of the gradient of the output.
    """

    input: Meta
    kernel: Meta
    output_grad: Meta


@cached_jit()
def direct_dot_general(
    lhs: Array,
    rhs: Array,
    metas: Metas,
    *,
    dimension_numbers: DimensionNumbers,
    value_dtype: DTypeLike,
    gradient_dtype: DTypeLike,
    compute_dtype: DTypeLike,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike,
) -> tuple[Array, Metas]:
    """Quantizes two arrays and multiplies them in 8 bits.

    Args:
        lhs: an array.
        rhs: an array.
        metas: the scales and histories.
        dimension_numbers: those of the product.
        value_dtype: the 8-bit dtype of the operands.
        gradient_dtype: the 8-bit dtype of the gradient of the output.
        compute_dtype: the dtype of the scales in the divisions.
        precision: the precision on the way forward; None is the least.
        preferred_element_type: the dtype of the result.

    Returns:
        The product, and the scales and histories for a later use in the same step.
    """
    (q_lhs, lhs_scale), of_input = in_q_threaded(compute_dtype, value_dtype, lhs, metas.input)
    (q_rhs, rhs_scale), of_kernel = in_q_threaded(compute_dtype, value_dtype, rhs, metas.kernel)
    out, of_gradient = quantized_dot_threaded(
        dimension_numbers,
        precision,
        preferred_element_type,
        gradient_dtype,
        (lhs, q_lhs, lhs_scale),
        (rhs, q_rhs, rhs_scale),
        metas.output_grad,
    )
    out = out_dq(preferred_element_type, lhs_scale, rhs_scale, out)
    return out, Metas(of_input, of_kernel, of_gradient)


@cached_jit()
def rounded_dot_general(
    lhs: Array,
    rhs: Array,
    metas: Metas,
    *,
    dimension_numbers: DimensionNumbers,
    value_dtype: DTypeLike,
    gradient_dtype: DTypeLike,
    compute_dtype: DTypeLike,
    precision: PrecisionLike,
    preferred_element_type: DTypeLike,
) -> tuple[Array, Metas]:
    """Rounds two arrays to 8 bits and multiplies them; as `direct_dot_general`."""
    lhs, of_input = in_qdq_threaded(compute_dtype, value_dtype, lhs, metas.input)
    rhs, of_kernel = in_qdq_threaded(compute_dtype, value_dtype, rhs, metas.kernel)
    out = static_dot_general_with_precision(
        dimension_numbers, precision, preferred_element_type, lhs, rhs
    )
    out, of_gradient = out_qdq_threaded(
        preferred_element_type, gradient_dtype, out, metas.output_grad
    )
    return out, Metas(of_input, of_kernel, of_gradient)


def fp8_scaled_dot_general(
    lhs: Array,
    rhs: Array,
    dimension_numbers: Any,
    precision: PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    *,
    lhs_scale: Array | None = None,
    rhs_scale: Array | None = None,
    grad_scale: Array | None = None,
    lhs_amax_history: Array | None = None,
    rhs_amax_history: Array | None = None,
    grad_amax_history: Array | None = None,
    quantize_compute_type: DTypeLike = jnp.float32,
) -> Array:
    """Quantizes two arrays with delayed scaling and multiplies them in 8 bits.

    Args:
        lhs: an array.
        rhs: an array.
        dimension_numbers: ((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs)).
        precision: the precision on the way forward, as `jax.lax.Precision`; None is the least.
        preferred_element_type: the dtype of the result; None is `quantize_compute_type`.
        lhs_scale: the scale of lhs, of shape (1,); as the next five, it must be given, and its
            gradient is its next value.
        rhs_scale: the scale of rhs.
        grad_scale: the scale of the gradient of the output.
        lhs_amax_history: largest magnitudes of lhs in the steps before.
        rhs_amax_history: largest magnitudes of rhs.
        grad_amax_history: largest magnitudes of the gradient of the output.
        quantize_compute_type: the dtype of the scales in the divisions.

    Returns:
        An array, as of `jax.lax.dot_general`.

    Raises:
        MissingArgumentError: if a scale or a history is missing.

    >>> import jax.numpy as jnp
    >>> scales = dict.fromkeys(["lhs_scale", "rhs_scale", "grad_scale"], jnp.ones(1))
    >>> names = ["lhs_amax_history", "rhs_amax_history", "grad_amax_history"]
    >>> histories = dict.fromkeys(names, jnp.zeros(16))
    >>> numbers = (((1,), (0,)), ((), ()))
    >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 1))
    >>> fp8_scaled_dot_general(x, kernel, numbers, **scales, **histories).tolist()
    [[3.0], [3.0]]
    """
    given = {
        "lhs_scale": lhs_scale,
        "lhs_amax_history": lhs_amax_history,
        "rhs_scale": rhs_scale,
        "rhs_amax_history": rhs_amax_history,
        "grad_scale": grad_scale,
        "grad_amax_history": grad_amax_history,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise MissingArgumentError(
            f"fp8_scaled_dot_general: found no {', '.join(missing)}; expected scales of shape (1,) "
            "and histories of any length. Write lhs_scale=jnp.ones(1), "
            "lhs_amax_history=jnp.zeros(1024), and so on, or use nn.Fp8DotGeneral, which has them."
        )
    arrays: list[Any] = list(given.values())
    out, _ = direct_dot_general(
        lhs,
        rhs,
        Metas((arrays[0], arrays[1]), (arrays[2], arrays[3]), (arrays[4], arrays[5])),
        dimension_numbers=canonicalize_dimension_numbers(dimension_numbers),
        value_dtype=jnp.float8_e4m3fn,
        gradient_dtype=jnp.float8_e5m2,
        compute_dtype=quantize_compute_type,
        precision=precision,
        preferred_element_type=preferred_element_type or quantize_compute_type,
    )
    return out
