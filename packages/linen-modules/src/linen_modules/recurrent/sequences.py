"""Sequences of different lengths in one array, padded at the end."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from linen_modules._cached_jit import cached_jit
from linen_modules.errors import CarryShapeError
from linen_modules.typing import Array

__all__ = ["Order", "flip_sequences", "is_within", "keep_where"]


@cached_jit("num_batch_dims", "time_major")
def flip_sequences(
    inputs: Array, seq_lengths: Array | None, num_batch_dims: int, time_major: bool
) -> Array:
    """Reverses sequences along time, and leaves the padding at their ends.

    Args:
        inputs: shape (batch dimensions..., time, features...), or (time, batch dimensions...,
            features...) if `time_major`.
        seq_lengths: integers of the shape of the batch dimensions, how many steps of each sequence
            count; None reverses all of time.
        num_batch_dims: how many batch dimensions there are.
        time_major: whether time is the first axis.

    Returns:
        An array of the shape of the inputs. The padding, in reversed order, follows the steps that
        count.

    >>> import jax.numpy as jnp
    >>> flip_sequences(jnp.array([[1, 2, 3, 0], [1, 2, 0, 0]]), jnp.array([3, 2]), 1, False).tolist()
    [[3, 2, 1, 0], [2, 1, 0, 0]]
    """
    time_axis = 0 if time_major else num_batch_dims
    if seq_lengths is None:
        return jnp.flip(inputs, time_axis)
    length = inputs.shape[time_axis]
    backwards = jnp.arange(length - 1, -1, -1, dtype=seq_lengths.dtype)
    batch_axes = tuple(range(1, 1 + num_batch_dims)) if time_major else tuple(range(num_batch_dims))
    steps = jnp.expand_dims(backwards, batch_axes)
    steps = (steps + jnp.expand_dims(seq_lengths, time_axis)) % length
    feature_axes = range(num_batch_dims + 1, inputs.ndim)
    return jnp.take_along_axis(inputs, jnp.expand_dims(steps, feature_axes), time_axis)


@cached_jit("length")
def is_within(seq_lengths: Array, length: int) -> Array:
    """Says which steps of sequences count.

    Args:
        seq_lengths: integers of the shape of the batch dimensions.
        length: the number of steps.

    Returns:
        Booleans of shape (length, batch dimensions...).

    >>> import jax.numpy as jnp
    >>> is_within(jnp.array([2, 0]), 3).T.tolist()
    [[True, True, False], [False, False, False]]
    """
    steps = jnp.expand_dims(jnp.arange(length), range(1, 1 + seq_lengths.ndim))
    return steps < seq_lengths[None]


@dataclass(frozen=True)
class Order:
    """How a loop goes through an array of sequences.

    Attributes:
        time_axis: which axis is time: 0, or the number of batch dimensions.
        num_batch_dims: how many batch dimensions there are.
        reverse: whether to begin at the end of the sequences.
        keep_order: whether outputs stand where their inputs do, though the order is reversed.
        return_carry: whether the last carry is of interest.
    """

    time_axis: int
    num_batch_dims: int
    reverse: bool = False
    keep_order: bool = False
    return_carry: bool = True

    def step_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Gives a shape without the axis of time."""
        return (*shape[: self.time_axis], *shape[self.time_axis + 1 :])

    def flip(self, tree: Any, seq_lengths: Array | None, time_axis: int | None = None) -> Any:
        """Reverses the sequences in a pytree of arrays."""
        is_first = (self.time_axis if time_axis is None else time_axis) == 0
        flip = partial(
            flip_sequences,
            seq_lengths=seq_lengths,
            num_batch_dims=self.num_batch_dims,
            time_major=is_first,
        )
        return jax.tree.map(flip, tree)

    def valid(self, inputs: Array, seq_lengths: Array | None) -> Array | None:
        """Says which steps count, (time, batch dimensions...), where the last carry depends on it."""
        if seq_lengths is None or not self.return_carry:
            return None
        return is_within(seq_lengths, jnp.shape(inputs)[self.time_axis])


@cached_jit()
def keep_where(is_new: Array, new: Any, old: Any) -> Any:
    """Chooses between two carries, for each sequence of a batch.

    Args:
        is_new: booleans of the shape of the batch dimensions.
        new: a pytree of arrays of shape (batch dimensions..., features...).
        old: another one of the same form.

    Returns:
        A pytree of that form.

    Raises:
        CarryShapeError: if an array does not begin with the batch dimensions.
    """

    def choose(new: Array, old: Array) -> Array:
        batch = is_new.shape
        if new.shape[: len(batch)] != batch:
            raise CarryShapeError(
                f"found a carry of shape {new.shape}; expected the batch dimensions {batch} first, "
                "so that each sequence has a last step of its own. Write return_carry=False, or "
                "leave seq_lengths out."
            )
        return jnp.where(jnp.expand_dims(is_new, range(len(batch), new.ndim)), new, old)

    return jax.tree.map(choose, new, old)
