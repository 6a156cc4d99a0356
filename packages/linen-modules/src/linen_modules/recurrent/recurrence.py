"""The arithmetic of cells as pure functions, and the loop over a sequence.

A step of a cell has a part that depends on the carry, and often a larger one that does not: the
products of the inputs with the kernels. A `Recurrence` is a cell split there. Its *projection* takes
inputs with any number of leading axes, so that one call serves a whole sequence; its *step* does
the rest, with parameters that the projection has put in the form in which they are used at every
step.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linen_modules._cached_jit import cached_jit
from linen_modules.recurrent.carry import check_same_carry
from linen_modules.recurrent.sequences import Order, keep_where
from linen_modules.typing import Array

__all__ = ["Recurrence", "is_constant", "run_sequence", "run_step"]


class Recurrence(ABC):
    """A cell as two pure functions of arrays.

    It is configuration, a part of the key under which compiled functions are found: a subclass is a
    frozen dataclass with static fields, which hash and compare by value.

    >>> import dataclasses
    >>> import jax.numpy as jnp
    >>> import linen_modules as nn
    >>> @dataclasses.dataclass(frozen=True)
    ... class Average(nn.Recurrence):
    ...     def project(self, parameters, inputs):
    ...         kernel, decay = parameters
    ...         return inputs @ kernel, decay
    ...     def step(self, recurrent, carry, projected):
    ...         carry = recurrent * carry + projected
    ...         return carry, carry
    >>> class AverageCell(nn.RNNCellBase):
    ...     features: int
    ...     @nn.compact
    ...     def recurrence(self, input_shape):
    ...         init = nn.initializers.ones
    ...         kernel = self.param("kernel", init, (input_shape[-1], self.features))
    ...         return Average(), (kernel, self.param("decay", init, (self.features,)))
    ...     def initialize_carry(self, rng, input_shape):
    ...         return jnp.zeros((*input_shape[:-1], self.features))
    ...     num_feature_axes = 1
    >>> import jax
    >>> sequence = jnp.ones((3, 2))
    >>> nn.RNN(AverageCell(1)).init_with_output(jax.random.key(0), sequence)[0][:, 0].tolist()
    [2.0, 4.0, 6.0]
    """

    @abstractmethod
    def project(self, parameters: Any, inputs: Array) -> tuple[Any, Any]:
        """Does all that needs no carry.

        Args:
            parameters: the parameters of the cell.
            inputs: shape (time, batch dimensions..., features...), or those of one step, without
                the axis of time.

        Returns:
            A pytree of arrays with the leading axes of the inputs, of which each step is given its
            part, and a pytree of what all steps share.
        """

    @abstractmethod
    def step(self, recurrent: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        """Does the rest of one step.

        Args:
            recurrent: what all steps share.
            carry: what the step before has left.
            projected: the part of this step, without the axis of time.

        Returns:
            The new carry, with the shapes and dtypes of the one before, and the outputs.
        """


def is_constant(recurrence: Recurrence) -> bool:
    """Whether every function among the fields is one that a Python module defines by name.

    Others may be made anew at each call, which would fill the cache, or may hold a bound module,
    which must run where its variables are.

    Args:
        recurrence: a recurrence.

    Returns:
        True if the recurrence may be a key of a cache.
    """
    if not is_dataclass(recurrence):
        return True
    values = (getattr(recurrence, field.name) for field in fields(recurrence))
    return all(
        _is_named(value) for value in values if callable(value) and not isinstance(value, type)
    )


def _is_named(function: Any) -> bool:
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(module, getattr(function, "__qualname__", ""), None) is function


def run_step(
    parameters: Any, carry: Any, inputs: Array, *, recurrence: Recurrence
) -> tuple[Any, Any]:
    """Does one step of a cell.

    Args:
        parameters: the parameters of the cell.
        carry: what the step before has left.
        inputs: shape (batch dimensions..., features...).
        recurrence: the cell.

    Returns:
        The new carry and the outputs.
    """
    run = _cached_step if is_constant(recurrence) else _step
    return run(parameters, carry, inputs, recurrence=recurrence)


def _step(parameters: Any, carry: Any, inputs: Array, *, recurrence: Recurrence) -> tuple[Any, Any]:
    projected, recurrent = recurrence.project(parameters, inputs)
    return recurrence.step(recurrent, carry, projected)


_cached_step = cached_jit()(_step)


@cached_jit()
def run_sequence(
    parameters: Any,
    carry: Any,
    inputs: Array,
    seq_lengths: Array | None,
    *,
    recurrence: Recurrence,
    order: Order,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """Loops a cell over sequences.

    Args:
        parameters: the parameters of the cell.
        carry: the carry before the first step.
        inputs: an array of batch dimensions, time and features, as `order` says.
        seq_lengths: integers of the shape of the batch dimensions, or None if all steps count.
        recurrence: the cell.
        order: how the loop goes through the inputs.
        unroll: how many steps are one iteration of the compiled loop.

    Returns:
        The carry after the last step that counts, and the outputs with an axis of time where that
        of the inputs is.

    Raises:
        CarryShapeError: if a step does not keep the form of the carry.
    """
    valid = order.valid(inputs, seq_lengths)
    steps = jnp.moveaxis(inputs, order.time_axis, 0)
    # Without lengths the loop itself runs backwards, which leaves the outputs where they belong.
    is_flipped = order.reverse and seq_lengths is not None
    if is_flipped:
        steps = order.flip(steps, seq_lengths, time_axis=0)
    projected, recurrent = recurrence.project(parameters, steps)
    carry, outputs = _loop(
        partial(recurrence.step, recurrent),
        carry,
        projected,
        valid,
        reverse=order.reverse and not is_flipped,
        unroll=unroll,
    )
    if order.reverse and is_flipped == order.keep_order:
        outputs = order.flip(outputs, seq_lengths, time_axis=0)
    return carry, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, order.time_axis), outputs)


def _loop(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    projected: Any,
    valid: Array | None,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[Any, Any]:
    """Loops over axis 0; gives the last carry of which `valid` is true."""

    def body(state: Any, slices: Any) -> tuple[Any, Any]:
        (carry, last), (projected, valid) = state, slices
        new, outputs = step(carry, projected)
        check_same_carry(carry, new)
        return (new, None if valid is None else keep_where(valid, new, last)), outputs

    first = (carry, None if valid is None else carry)
    (carry, last), outputs = lax.scan(
        body, first, (projected, valid), reverse=reverse, unroll=unroll
    )
    return (carry if valid is None else last), outputs
