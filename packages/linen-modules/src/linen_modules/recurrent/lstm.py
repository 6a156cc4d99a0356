"""Cells with long short-term memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import nowrap
from linen_modules import initializers
from linen_modules.activations import sigmoid, tanh
from linen_modules.linear import default_kernel_init
from linen_modules.recurrent.carry import initial_pair
from linen_modules.recurrent.gates import (
    Gate,
    GatedCell,
    GatedRecurrence,
    Gates,
    default_recurrent_kernel_init,
)
from linen_modules.typing import Array, DTypeLike, Initializer

__all__ = ["LSTMCell", "LSTMRecurrence", "OptimizedLSTMCell"]


@dataclass(frozen=True)
class LSTMRecurrence(GatedRecurrence):
    """The arithmetic of `LSTMCell`; the carry is a pair (memory, outputs).

    Attributes:
        gate_fn: the activation of the gates.
        activation_fn: the activation of the candidate and of the memory.
        dtype: the dtype of the affine maps; None infers it.

    >>> import jax.numpy as jnp
    >>> zero = jnp.zeros(1)
    >>> (memory, outputs), _ = LSTMRecurrence().combine((zero + 4, zero), [zero] * 4, [zero] * 4)
    >>> memory.tolist()
    [2.0]
    """

    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    dtype: DTypeLike | None = None

    def hidden(self, carry: tuple[Array, Array]) -> Array:
        """Gives the outputs of the step before."""
        return carry[1]

    def combine(
        self, carry: tuple[Array, Array], of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[tuple[Array, Array], Array]:
        """Makes the new carry and the outputs of the gates i, f, g and o."""
        i, f, g, o = (x + h for x, h in zip(of_inputs, of_carry, strict=True))
        memory = self.gate_fn(f) * carry[0] + self.gate_fn(i) * self.activation_fn(g)
        outputs = self.gate_fn(o) * self.activation_fn(memory)
        return (memory, outputs), outputs


class LSTMCell(GatedCell):
    r"""A cell with long short-term memory.

    .. math::

        i &= \sigma(W_{ii} x + W_{hi} h + b_{hi}) \\
        f &= \sigma(W_{if} x + W_{hf} h + b_{hf}) \\
        g &= \tanh(W_{ig} x + W_{hg} h + b_{hg}) \\
        o &= \sigma(W_{io} x + W_{ho} h + b_{ho}) \\
        c' &= f * c + i * g \\
        h' &= o * \tanh(c')

    The carry is the pair (c, h), and the outputs are h'. Each gate has its own kernels in the tree
    of parameters; those for h are put side by side for one product.

    Attributes:
        features: the size of the last axis of outputs and carry.
        gate_fn: the activation of the gates.
        activation_fn: the activation of the candidate and of the memory. `RNN` projects the inputs
            of all steps at once if both activations are functions that a Python module defines by
            name.
        kernel_init: makes the kernels of the inputs, each of shape (input features, features).
        recurrent_kernel_init: makes the kernels of h, each of shape (features, features).
        bias_init: makes the biases, each of shape (features,).
        dtype: the dtype of the products; None infers it. The carry keeps the dtype it begins with
            if that is a wider one.
        param_dtype: the dtype of the parameters and of the first carry.
        carry_init: makes each part of the first carry.

    References:
        Hochreiter, Schmidhuber, "Long short-term memory", 1997.
        Gers, Schmidhuber, Cummins, "Learning to forget: continual prediction with LSTM", 2000.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> cell = nn.LSTMCell(features=4)
    >>> inputs = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), inputs.shape)
    >>> variables = cell.init(jax.random.key(1), carry, inputs)
    >>> carry, outputs = cell.apply(variables, carry, inputs)
    >>> outputs.shape
    (2, 4)
    >>> jax.tree.map(jnp.shape, variables["params"]["hi"])
    {'bias': (4,), 'kernel': (4, 4)}
    """

    features: int
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = initializers.zeros

    @nowrap
    def gates(self) -> Gates:
        """Says which layers there are."""
        return Gates(
            of_inputs=[Gate(f"i{gate}", self.kernel_init) for gate in "ifgo"],
            of_carry=[
                Gate(f"h{gate}", self.recurrent_kernel_init, self.bias_init) for gate in "ifgo"
            ],
            features=self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    @nowrap
    def arithmetic(self) -> LSTMRecurrence:
        """Gives the arithmetic without the parameters."""
        return LSTMRecurrence(self.gate_fn, self.activation_fn, self.dtype)

    @nowrap
    def carry_shapes(self, input_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Gives the shapes of c and of h."""
        return ((*input_shape[:-1], self.features),) * 2

    @nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Makes the carry before the first step.

        Args:
            rng: a random key.
            input_shape: the shape of the inputs of one step, (batch dimensions..., input features).

        Returns:
            Two arrays of shape (batch dimensions..., features) and dtype `param_dtype`.
        """
        return initial_pair(
            self.carry_init, rng, self.carry_shapes(input_shape)[0], self.param_dtype
        )


class OptimizedLSTMCell(LSTMCell):
    """The same cell as `LSTMCell`, under the name that other libraries use for fused gates.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.OptimizedLSTMCell(features=4))
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """
