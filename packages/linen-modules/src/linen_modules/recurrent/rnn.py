"""A cell looped over sequences."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import CollectionFilter, FrozenDict, Module, in_filter, nowrap
from linen_core.extend import are_calls_observed
from linen_modules.errors import (
    CarryShapeError,
    InputDtypeError,
    InputRankError,
    SequenceLengthsError,
    location,
)
from linen_modules.recurrent.carry import check_same_carry, default_key
from linen_modules.recurrent.cell import RNNCellBase
from linen_modules.recurrent.recurrence import Recurrence, is_constant, run_sequence
from linen_modules.recurrent.sequences import Order, keep_where
from linen_modules.typing import Array
from linen_transforms import scan

__all__ = ["RNN"]


class RNN(Module):
    """Loops a cell over sequences.

    The parameters are those of the cell. If the cell gives its arithmetic as pure functions, as all
    cells here do, the part that does not depend on the carry is done for all steps at once. The
    other way is a lifted `scan` over the cell, which serves every cell; it is taken as well while
    parameters are made, where `variable_axes` or `variable_carry` are about the parameters, where
    the class of the cell has a `__call__` of its own (such as one under `remat`), where
    an activation is no function that a Python module defines by name, and where calls of methods
    are observed. The numbers are the same but for the order of sums in a product.

    Attributes:
        cell: the cell.
        time_major: whether inputs and outputs have time first and not after the batch dimensions.
        return_carry: whether to return the last carry too.
        reverse: whether to begin at the end of the sequences.
        keep_order: whether outputs stand where their inputs do, though the order is reversed.
        unroll: how many steps are one iteration of the compiled order.
        variable_axes: as in `scan`: variables of which each step has its own.
        variable_broadcast: as in `scan`: the collections that all steps share.
        variable_carry: as in `scan`: the collections that a step hands on to the next.
        split_rngs: as in `scan`: which random streams give each step a key of its own.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.LSTMCell(features=4), return_carry=True)
    >>> inputs, lengths = jnp.ones((2, 5, 3)), jnp.array([5, 2])
    >>> variables = layer.init(jax.random.key(0), inputs)
    >>> (memory, last), outputs = layer.apply(variables, inputs, seq_lengths=lengths)
    >>> outputs.shape, last.shape
    ((2, 5, 4), (2, 4))
    >>> bool((last[1] == outputs[1, 1]).all())
    True
    """

    cell: RNNCellBase
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    variable_axes: Mapping[Any, Any] = FrozenDict()
    variable_broadcast: CollectionFilter = "params"
    variable_carry: CollectionFilter = False
    split_rngs: Mapping[Any, bool] = FrozenDict({"params": False})

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs the cell.

        Args:
            inputs: shape (batch dimensions..., time, features...), or (time, batch dimensions...,
                features...) if `time_major`. The cell says how many axes are features.
            initial_carry: the carry before the first step; None lets the cell make it.
            init_key: the key the cell makes it with; None is ``jax.random.key(0)``.
            seq_lengths: integers of the shape of the batch dimensions: how many steps of each
                sequence count. They stand first; what follows is padding, whose outputs have no
                meaning. None counts all steps.
            return_carry: overrides the field.
            time_major: overrides the field.
            reverse: overrides the field.
            keep_order: overrides the field.

        Returns:
            The outputs, with an axis of time where that of the inputs is; with `return_carry` a
            pair of the carry after the last step that counts and the outputs. A sequence of length
            0 has the initial carry.

        Raises:
            InputRankError: if the inputs have no axis of time.
            SequenceLengthsError: if `seq_lengths` does not have the shape of the batch dimensions.
            InputDtypeError: if `seq_lengths` are not integers.
            CarryShapeError: if the carry does not fit the cell, or a step changes its form.
            CellMethodError: if the cell lacks a method or `num_feature_axes`.
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        num_batch_dims = self._num_batch_dims(inputs)
        order = Order(
            time_axis=0 if time_major else num_batch_dims,
            num_batch_dims=num_batch_dims,
            reverse=self.reverse if reverse is None else reverse,
            keep_order=self.keep_order if keep_order is None else keep_order,
            return_carry=return_carry,
        )
        step_shape = order.step_shape(jnp.shape(inputs))
        seq_lengths = self._check_lengths(seq_lengths, step_shape[:num_batch_dims])
        if initial_carry is None:
            key = default_key() if init_key is None else init_key
            initial_carry = self.cell.initialize_carry(key, step_shape)
        else:
            self.cell.check_carry(initial_carry, step_shape)
        found = self._recurrence(step_shape)
        if found is None:
            carry, outputs = self._scan(initial_carry, inputs, seq_lengths, order)
        else:
            with _naming(self.cell):
                carry, outputs = run_sequence(
                    found[1],
                    initial_carry,
                    inputs,
                    seq_lengths,
                    recurrence=found[0],
                    order=order,
                    unroll=self.unroll,
                )
        return (carry, outputs) if return_carry else outputs

    @nowrap
    def _num_batch_dims(self, inputs: Array) -> int:
        shape, features = jnp.shape(inputs), self.cell.num_feature_axes
        if len(shape) < features + 1:
            raise InputRankError(
                f"{location(self)}: found inputs of shape {shape}; expected an axis of time and "
                f"the axes of features of the cell, num_feature_axes={features}. Write "
                "inputs[None] for a sequence of one step."
            )
        return len(shape) - features - 1

    @nowrap
    def _check_lengths(
        self, seq_lengths: Array | None, batch_shape: tuple[int, ...]
    ) -> Array | None:
        if seq_lengths is None:
            return None
        seq_lengths = jnp.asarray(seq_lengths)
        if seq_lengths.shape != batch_shape:
            raise SequenceLengthsError(
                f"{location(self)}: found seq_lengths of shape {seq_lengths.shape}; expected that "
                f"of the batch dimensions, {batch_shape}. Write "
                f"jnp.broadcast_to(seq_lengths, {batch_shape}) if all have one length, and "
                "time_major=True if time is the first axis of the inputs."
            )
        if not jnp.issubdtype(seq_lengths.dtype, jnp.integer):
            raise InputDtypeError(
                f"{location(self)}: found seq_lengths of dtype {seq_lengths.dtype}; expected "
                "integers, the numbers of steps that count. Write seq_lengths.astype(jnp.int32), "
                "and mask.sum(time_axis) for a mask."
            )
        return seq_lengths

    @nowrap
    def _recurrence(self, step_shape: tuple[int, ...]) -> tuple[Recurrence, Any] | None:
        """Gives the cell as pure functions, where it has them and nothing asks for the scan."""
        if (
            not _agrees_with_call(type(self.cell))
            or self.is_mutable_collection("params")
            or are_calls_observed()
            or not in_filter(self.variable_broadcast, "params")
            or in_filter(self.variable_carry, "params")
            or any(in_filter(collections, "params") for collections in self.variable_axes)
        ):
            return None
        found = self.cell.recurrence(step_shape)
        return found if found is not None and is_constant(found[0]) else None

    def _scan(
        self, carry: Any, inputs: Array, seq_lengths: Array | None, order: Order
    ) -> tuple[Any, Any]:
        """Loops the cell itself."""

        def body(cell: RNNCellBase, state: Any, inputs: Array, valid: Any) -> tuple[Any, Any]:
            carry, last = state
            new, outputs = cell(carry, inputs)
            with _naming(cell):
                check_same_carry(carry, new)
                return (new, None if valid is None else keep_where(valid, new, last)), outputs

        run = scan(
            body,
            in_axes=(order.time_axis, 0),
            out_axes=order.time_axis,
            unroll=self.unroll,
            variable_axes=self.variable_axes,
            variable_broadcast=self.variable_broadcast,
            variable_carry=self.variable_carry,
            split_rngs=self.split_rngs,
        )
        valid = order.valid(inputs, seq_lengths)
        inputs = order.flip(inputs, seq_lengths) if order.reverse else inputs
        first = (carry, None if valid is None else carry)
        (carry, last), outputs = run(self.cell, first, inputs, valid)
        if order.reverse and order.keep_order:
            outputs = order.flip(outputs, seq_lengths)
        return (carry if valid is None else last), outputs


def _agrees_with_call(cls: type[RNNCellBase]) -> bool:
    """Whether no class that is more special than that of `recurrence` defines `__call__`."""
    defined = [
        name for base in cls.__mro__ for name in ("recurrence", "__call__") if name in vars(base)
    ]
    return defined[0] == "recurrence"


@contextmanager
def _naming(cell: RNNCellBase) -> Iterator[None]:
    """Adds to errors which cell it is."""
    try:
        yield
    except CarryShapeError as error:
        raise CarryShapeError(f"{location(cell)}: {error}") from None
