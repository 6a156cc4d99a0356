"""Two loops over the same sequences, in both directions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import Module
from linen_modules._cached_jit import cached_jit
from linen_modules.errors import CarryShapeError, DirectionError, location
from linen_modules.recurrent.carry import split_key
from linen_modules.recurrent.rnn import RNN
from linen_modules.typing import Array

__all__ = ["Bidirectional"]


@cached_jit()
def concatenate_features(forward: Array, backward: Array) -> Array:
    """Puts the outputs of two directions side by side on the last axis.

    Args:
        forward: shape (..., features).
        backward: shape (..., features).

    Returns:
        Shape (..., sum of features).

    >>> import jax.numpy as jnp
    >>> concatenate_features(jnp.ones((5, 2)), jnp.ones((5, 3))).shape
    (5, 5)
    """
    return jnp.concatenate([forward, backward], -1)


class Bidirectional(Module):
    """Runs one `RNN` from the beginning of sequences and another one from their end.

    The outputs of both stand where their inputs do, and are merged. Options of the two layers that
    are given in the call, or are fields here, are overridden.

    Attributes:
        forward_rnn: the layer that runs forwards.
        backward_rnn: the layer that runs backwards.
        merge_fn: makes the outputs of those of both directions; puts them side by side by default.
        time_major: whether inputs and outputs have time first and not after the batch dimensions.
        return_carry: whether to return the last carries too.

    References:
        Schuster, Paliwal, "Bidirectional recurrent neural networks", 1997.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(3)))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 6)))
    >>> outputs.shape, sorted(variables["params"])
    ((2, 5, 7), ['backward_rnn', 'forward_rnn'])
    """

    forward_rnn: RNN
    backward_rnn: RNN
    merge_fn: Callable[[Any, Any], Any] = concatenate_features
    time_major: bool = False
    return_carry: bool = False

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
        """Runs both layers.

        Args:
            inputs: shape (batch dimensions..., time, features...), or (time, batch dimensions...,
                features...) if `time_major`.
            initial_carry: a pair of the carries before the first steps; None lets the cells make
                them.
            init_key: split into the keys the cells make them with; None is ``jax.random.key(0)``
                for both.
            seq_lengths: integers of the shape of the batch dimensions: how many steps of each
                sequence count. None counts all steps.
            return_carry: overrides the field.
            time_major: overrides the field.
            reverse: must be False or None: both directions are run.
            keep_order: must be True or None: the two outputs of a step belong together.

        Returns:
            The merged outputs; with `return_carry` a pair of the pair of carries and the outputs.

        Raises:
            DirectionError: if `reverse` or `keep_order` ask for something else.
            InputRankError: if the inputs have no axis of time.
            SequenceLengthsError: if `seq_lengths` does not have the shape of the batch dimensions.
            InputDtypeError: if `seq_lengths` are not integers.
            CarryShapeError: if `initial_carry` is no pair, or one does not fit its cell.
        """
        if reverse or keep_order is False:
            raise DirectionError(
                f"{location(self)}: found reverse={reverse} and keep_order={keep_order}; expected "
                "neither, since both directions are run and their outputs belong together. Write "
                "jnp.flip(outputs, axis) after the call, or use RNN for one direction."
            )
        if initial_carry is not None and not (
            isinstance(initial_carry, tuple | list) and len(initial_carry) == 2
        ):
            raise CarryShapeError(
                f"{location(self)}: found an initial_carry of shape "
                f"{jax.tree.map(jnp.shape, initial_carry)}; expected a pair, one carry for each "
                "direction. Write initial_carry=(forward, backward)."
            )
        keys = (None, None) if init_key is None else split_key(init_key)
        carries = (None, None) if initial_carry is None else initial_carry
        options = {
            "seq_lengths": seq_lengths,
            "return_carry": True,
            "time_major": self.time_major if time_major is None else time_major,
        }
        forward_carry, forward = self.forward_rnn(
            inputs, initial_carry=carries[0], init_key=keys[0], reverse=False, **options
        )
        backward_carry, backward = self.backward_rnn(
            inputs,
            initial_carry=carries[1],
            init_key=keys[1],
            reverse=True,
            keep_order=True,
            **options,
        )
        outputs = jax.tree.map(self.merge_fn, forward, backward)
        if self.return_carry if return_carry is None else return_carry:
            return (forward_carry, backward_carry), outputs
        return outputs
