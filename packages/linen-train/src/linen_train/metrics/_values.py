"""What users hand in, as arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linen_train.errors import MetricValueError

__all__ = ["as_array", "as_real"]


def as_array(name: str, values: Any, where: str) -> jax.Array | np.ndarray:
    """Return an array of JAX if there is one in the values, else one of NumPy.

    Integers of 64 bits wrap around when they become an array of JAX, and do not in one of NumPy.
    """
    try:
        if type(values) is int and values.bit_length() > 63:
            values = float(values)
        return jnp.asarray(values) if _needs_jax(values) else np.asarray(values)
    except jax.errors.JAXTypeError:  # of a traced array, of which JAX says more
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise MetricValueError(
            f"{where}: found {name}={values!r:.80}, expected one array of real numbers or booleans. "
            "Write np.concatenate(arrays) for several."
        ) from error


def as_real(name: str, values: Any, where: str) -> jax.Array:
    """Return booleans as int32, and real numbers as float32, or float64 where they are that."""
    array = as_array(name, values, where)
    kind = array.dtype
    if kind == jnp.bool_:
        return jnp.asarray(array, jnp.int32)
    if jnp.issubdtype(kind, jnp.integer):  # a sum of integers could wrap around
        return jnp.asarray(array.astype(jnp.float32))
    if jnp.issubdtype(kind, jnp.floating) and kind.itemsize <= 8:
        array = jnp.asarray(array)
        return array.astype(jnp.promote_types(array.dtype, jnp.float32))
    raise MetricValueError(f"{where}: found {name} of {kind}, expected real numbers or booleans.")


def _needs_jax(values: Any) -> bool:
    return any(
        isinstance(leaf, jax.Array) or hasattr(leaf, "__jax_array__")
        for leaf in jax.tree.leaves(values)
    )
