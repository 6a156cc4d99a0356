"""The simplest recurrent cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import nowrap
from linen_modules import initializers
from linen_modules.activations import tanh
from linen_modules.linear import default_kernel_init
from linen_modules.recurrent.carry import initial_carry
from linen_modules.recurrent.gates import (
    Gate,
    GatedCell,
    GatedRecurrence,
    Gates,
    default_recurrent_kernel_init,
)
from linen_modules.typing import Array, DTypeLike, Initializer

__all__ = ["SimpleCell", "SimpleRecurrence"]


@dataclass(frozen=True)
class SimpleRecurrence(GatedRecurrence):
    """The arithmetic of `SimpleCell`; the carry is the outputs of the step before.

    Attributes:
        activation_fn: the activation.
        dtype: the dtype of the affine maps; None infers it.
        residual: whether the carry is added before the activation.

    >>> import jax.numpy as jnp
    >>> zero = jnp.zeros(1)
    >>> SimpleRecurrence(residual=True).combine(zero, [zero], [zero])[0].tolist()
    [0.0]
    """

    activation_fn: Callable[[Array], Array] = tanh
    dtype: DTypeLike | None = None
    residual: bool = False

    def combine(
        self, carry: Array, of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[Array, Array]:
        """Makes the new carry and the outputs."""
        total = of_inputs[0] + of_carry[0]
        outputs = self.activation_fn(total + carry if self.residual else total)
        return outputs, outputs


class SimpleCell(GatedCell):
    r"""A layer that also sees its own last outputs: :math:`h' = \tanh(W_i x + b_i + W_h h)`.

    With `residual`, h itself is added before the activation. The carry is h, and the outputs are
    h'.

    Attributes:
        features: the size of the last axis of outputs and carry.
        activation_fn: the activation. `RNN` projects the inputs of all steps at once if it is a
            function that a Python module defines by name.
        kernel_init: makes the kernel of the inputs, of shape (input features, features).
        recurrent_kernel_init: makes the kernel of h, of shape (features, features).
        bias_init: makes the bias, of shape (features,).
        dtype: the dtype of the computation; None infers it. The carry has it too: in `RNN` with
            another dtype than that of the parameters, give `initial_carry`.
        param_dtype: the dtype of the parameters and of the first carry.
        carry_init: makes the first carry.
        residual: whether h is added before the activation.

    References:
        Elman, "Finding structure in time", 1990.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.SimpleCell(features=4))
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """

    features: int
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = initializers.zeros
    residual: bool = False

    @nowrap
    def gates(self) -> Gates:
        """Says which layers there are."""
        return Gates(
            of_inputs=[Gate("i", self.kernel_init, self.bias_init)],
            of_carry=[Gate("h", self.recurrent_kernel_init)],
            features=self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    @nowrap
    def arithmetic(self) -> SimpleRecurrence:
        """Gives the arithmetic without the parameters."""
        return SimpleRecurrence(self.activation_fn, self.dtype, self.residual)

    @nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Array:
        """Makes the carry before the first step.

        Args:
            rng: a random key.
            input_shape: the shape of the inputs of one step, (batch dimensions..., input features).

        Returns:
            An array of shape (batch dimensions..., features) and dtype `param_dtype`.
        """
        shape = self.carry_shapes(input_shape)
        return initial_carry(self.carry_init, rng, shape, self.param_dtype)
