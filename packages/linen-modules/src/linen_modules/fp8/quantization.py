"""Quantization inside a differentiated function.

The derivative of rounding is taken to be 1. The derivative with respect to a scale or a history is
not one: it is the *next value* of that variable.

Functions with a trailing `_threaded` also return scale and history as they came in. If another use
is given those instead of the variables, its next values come back as their gradients, and the
larger ones go on. All next values are at least zero, which is what an unused output gets.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp

from linen_modules.fp8.scaling import dequantize, quantize, quantize_dequantize_update, update
from linen_modules.typing import Array, DTypeLike

__all__ = [
    "Meta",
    "WithGradients",
    "in_q",
    "in_q_threaded",
    "in_qdq",
    "in_qdq_threaded",
    "larger",
    "out_dq",
    "out_qdq",
    "out_qdq_threaded",
    "with_gradients",
]

Meta = tuple[Array, Array]
"""A scale, of shape (1,), and a history of largest magnitudes."""

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class WithGradients(Protocol[P, R]):
    """A function that defines its own gradients, as `jax.custom_vjp` makes it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function."""
        ...

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Defines the gradients."""
        ...


def with_gradients(static: int) -> Callable[[Callable[P, R]], WithGradients[P, R]]:
    """Decorates a function that defines its gradients; its first arguments are no arrays."""

    def decorate(function: Callable[P, R]) -> WithGradients[P, R]:
        decorated: Any = jax.custom_vjp(function, nondiff_argnums=tuple(range(static)))
        return decorated

    return decorate


def in_qdq(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> Array:
    """Rounds an operand to 8 bits on the way forward; passes gradients on.

    Args:
        compute_dtype: the dtype of the scale in the division.
        q_dtype: the 8-bit dtype.
        inp: the operand.
        scale: shape (1,); its gradient is its next value.
        amax_history: largest magnitudes of the steps before; its gradient is its next value.

    Returns:
        The rounded operand, of its own dtype.

    >>> import jax, jax.numpy as jnp
    >>> def loss(history):
    ...     x = jnp.array([3.0625, 2.0])
    ...     return in_qdq(jnp.float32, jnp.float8_e4m3fn, x, jnp.ones(1), history).sum()
    >>> loss(jnp.zeros(2)).item(), jax.grad(loss)(jnp.zeros(2)).tolist()
    (5.0, [3.0625, 0.0])
    """
    return in_qdq_threaded(compute_dtype, q_dtype, inp, (scale, amax_history))[0]


@with_gradients(static=2)
def in_qdq_threaded(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, meta: Meta
) -> tuple[Array, Meta]:
    """Does what `in_qdq` does; see above."""
    return quantize_dequantize_update(inp, q_dtype, *meta, compute_dtype)[0], meta


def _in_qdq_forward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, meta: Meta
) -> tuple[tuple[Array, Meta], Meta]:
    rounded, *updated = quantize_dequantize_update(inp, q_dtype, *meta, compute_dtype)
    return (rounded, meta), (updated[0], updated[1])


def _in_qdq_backward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, updated: Meta, gradients: tuple[Array, Meta]
) -> tuple[Array, Meta]:
    gradient, later = gradients
    return gradient, larger(updated, later)


in_qdq_threaded.defvjp(_in_qdq_forward, _in_qdq_backward)


def out_qdq(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, out: Array, scale: Array, amax_history: Array
) -> Array:
    """Passes an output on; rounds its gradient to 8 bits on the way back.

    Args:
        compute_dtype: the dtype of the scale in the division.
        q_dtype: the 8-bit dtype.
        out: the output.
        scale: shape (1,); its gradient is its next value.
        amax_history: largest magnitudes of the steps before; its gradient is its next value.

    Returns:
        The output.

    >>> import jax, jax.numpy as jnp
    >>> def loss(x):
    ...     y = out_qdq(jnp.float32, jnp.float8_e5m2, x, jnp.ones(1), jnp.zeros(2))
    ...     return (1.1 * y).sum()
    >>> jax.grad(loss)(jnp.ones(1)).tolist()
    [1.0]
    """
    return out_qdq_threaded(compute_dtype, q_dtype, out, (scale, amax_history))[0]


@with_gradients(static=2)
def out_qdq_threaded(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, out: Array, meta: Meta
) -> tuple[Array, Meta]:
    """Does what `out_qdq` does; see above."""
    return out, meta


def _out_qdq_forward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, out: Array, meta: Meta
) -> tuple[tuple[Array, Meta], Meta]:
    return (out, meta), meta


def _out_qdq_backward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, meta: Meta, gradients: tuple[Array, Meta]
) -> tuple[Array, Meta]:
    gradient, later = gradients
    rounded, *updated = quantize_dequantize_update(gradient, q_dtype, *meta, compute_dtype)
    return rounded, larger((updated[0], updated[1]), later)


out_qdq_threaded.defvjp(_out_qdq_forward, _out_qdq_backward)


def in_q(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, Array]:
    """Quantizes an operand. No gradient flows back to it: `quantized_dot` gives that itself.

    Args:
        compute_dtype: the dtype of the scale in the division.
        q_dtype: the 8-bit dtype.
        inp: the operand.
        scale: shape (1,); its gradient is its next value.
        amax_history: largest magnitudes of the steps before; its gradient is its next value.

    Returns:
        The operand in 8 bits, and the scale it was divided by.

    >>> import jax.numpy as jnp
    >>> history = jnp.array([896.0, 0.0])
    >>> q, scale = in_q(jnp.float32, jnp.float8_e4m3fn, jnp.array([448.0]), jnp.ones(1), history)
    >>> q.astype(jnp.float32).tolist(), scale.tolist()
    ([224.0], [2.0])
    """
    return in_q_threaded(compute_dtype, q_dtype, inp, (scale, amax_history))[0]


@with_gradients(static=2)
def in_q_threaded(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, meta: Meta
) -> tuple[tuple[Array, Array], Meta]:
    """Does what `in_q` does; see above."""
    return _in_q_forward(compute_dtype, q_dtype, inp, meta)[0]


def _in_q_forward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, inp: Array, meta: Meta
) -> tuple[tuple[tuple[Array, Array], Meta], Meta]:
    updated = update(inp, q_dtype, *meta)
    quantized = quantize(inp, q_dtype, updated[0], compute_dtype)
    return ((quantized, updated[0]), meta), updated


def _in_q_backward(
    compute_dtype: DTypeLike, q_dtype: DTypeLike, updated: Meta, gradients: tuple[Any, Meta]
) -> tuple[None, Meta]:
    return None, larger(updated, gradients[1])


in_q_threaded.defvjp(_in_q_forward, _in_q_backward)


def out_dq(dq_type: DTypeLike, lhs_scale: Array, rhs_scale: Array, out: Array) -> Array:
    """Multiplies a product of quantized operands by both scales; passes gradients on.

    Args:
        dq_type: the dtype of the result.
        lhs_scale: the scale of one operand, of shape (1,).
        rhs_scale: the scale of the other operand.
        out: the product.

    Returns:
        An array of the shape of the product.

    >>> import jax.numpy as jnp
    >>> out_dq(jnp.float32, jnp.array([2.0]), jnp.array([3.0]), jnp.ones(1)).tolist()
    [6.0]
    """
    return _out_dq(dq_type, lhs_scale, rhs_scale, out)


@with_gradients(static=1)
def _out_dq(dq_type: DTypeLike, lhs_scale: Array, rhs_scale: Array, out: Array) -> Array:
    return dequantize(out, dq_type, lhs_scale * rhs_scale)


def _out_dq_forward(
    dq_type: DTypeLike, lhs_scale: Array, rhs_scale: Array, out: Array
) -> tuple[Array, Array]:
    # An empty array says what dtype the gradient of the product must have.
    return dequantize(out, dq_type, lhs_scale * rhs_scale), jnp.zeros(0, out.dtype)


def _out_dq_backward(
    dq_type: DTypeLike, of_dtype: Array, gradient: Array
) -> tuple[Any, Any, Array]:
    return None, None, gradient.astype(of_dtype.dtype)


_out_dq.defvjp(_out_dq_forward, _out_dq_backward)


def larger(updated: Meta, later: Meta) -> Meta:
    """Takes the next values of this use or of the later ones, whichever are larger."""
    return jnp.maximum(updated[0], later[0]), jnp.maximum(updated[1], later[1])
