"""A cell with long short-term memory whose gates are convolutions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import compact, nowrap
from linen_core.extend import are_calls_observed
from linen_modules import initializers
from linen_modules._windows import (
    FOLLOWING_PADDINGS,
    XLA_PADDINGS,
    Padding,
    canonicalize_padding,
    output_sizes,
    per_dimension,
)
from linen_modules.activations import sigmoid, tanh
from linen_modules.conv import Conv, conv
from linen_modules.errors import PaddingError, WindowError, location
from linen_modules.linear import default_kernel_init
from linen_modules.recurrent.carry import initial_pair
from linen_modules.recurrent.cell import (
    RNNCellBase,
    call_once,
    check_carry_shapes,
    check_input_rank,
)
from linen_modules.recurrent.recurrence import Recurrence
from linen_modules.typing import Array, DTypeLike, Initializer, PaddingLike

__all__ = ["ConvLSTMCell", "ConvLSTMRecurrence"]


@dataclass(frozen=True)
class ConvLSTMRecurrence(Recurrence):
    """The arithmetic of `ConvLSTMCell`; the carry is a pair (memory, outputs).

    Attributes:
        padding: the padding of both convolutions, as a name or (low, high) for each dimension.
        dtype: the dtype of the convolutions; None infers it.

    >>> import jax.numpy as jnp
    >>> zero = jnp.zeros((3, 1))
    >>> carry, _ = ConvLSTMRecurrence().combine((zero, zero), [zero] * 4, [zero] * 4)
    >>> carry[0].shape
    (3, 1)
    """

    padding: Padding = "SAME"
    dtype: DTypeLike | None = None

    def project(self, parameters: Any, inputs: Array) -> tuple[Any, Any]:
        """Convolves the inputs."""
        of_inputs, of_carry = parameters
        return jnp.split(self._convolve(inputs, of_inputs), 4, -1), of_carry

    def step(self, recurrent: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        """Convolves the outputs of the step before, and combines."""
        of_carry = jnp.split(self._convolve(carry[1], recurrent), 4, -1)
        return self.combine(carry, projected, of_carry)

    def combine(
        self, carry: tuple[Array, Array], of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[tuple[Array, Array], Array]:
        """Makes the new carry and the outputs of the gates i, g, f and o."""
        i, g, f, o = (x + h for x, h in zip(of_inputs, of_carry, strict=True))
        memory = sigmoid(f + 1.0) * carry[0] + sigmoid(i) * tanh(g)
        outputs = sigmoid(o) * tanh(memory)
        return (memory, outputs), outputs

    def _convolve(self, inputs: Array, layer: tuple[Array, Array | None]) -> Array:
        ones = (1,) * (layer[0].ndim - 2)
        return conv(
            inputs,
            *layer,
            None,
            strides=ones,
            padding=self.padding,
            input_dilation=ones,
            kernel_dilation=ones,
            dtype=self.dtype,
        )


class ConvLSTMCell(RNNCellBase):
    r"""A cell with long short-term memory for sequences of images, or of other spatial arrays.

    .. math::

        i &= \sigma(W_{ii} \star x + W_{hi} \star h + b_i) \\
        f &= \sigma(W_{if} \star x + W_{hf} \star h + b_f + 1) \\
        g &= \tanh(W_{ig} \star x + W_{hg} \star h + b_g) \\
        o &= \sigma(W_{io} \star x + W_{ho} \star h + b_o) \\
        c' &= f * c + i * g \\
        h' &= o * \tanh(c')

    The carry is the pair (c, h), and the outputs are h'. One convolution of the inputs ("ih") and
    one of h ("hh") make all four gates. They must leave the spatial dimensions as they are.

    Attributes:
        features: the size of the last axis of outputs and carry.
        kernel_size: the window, one size for each spatial dimension; an int is a window over one
            spatial dimension.
        strides: 1 or None; the carry would shrink with others.
        padding: as in `Conv`.
        use_bias: whether both convolutions have a bias.
        dtype: the dtype of the convolutions; None infers it. The carry keeps the dtype it begins
            with if that is a wider one.
        param_dtype: the dtype of the parameters and of the first carry.
        carry_init: makes each part of the first carry.

    References:
        Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation
        nowcasting", 2015.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.ConvLSTMCell(features=4, kernel_size=(3, 3)))
    >>> video = jnp.ones((2, 5, 8, 8, 3))
    >>> layer.init_with_output(jax.random.key(0), video)[0].shape
    (2, 5, 8, 8, 4)
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = None
    padding: PaddingLike = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = initializers.zeros

    @compact
    def __call__(
        self, carry: tuple[Array, Array], inputs: Array
    ) -> tuple[tuple[Array, Array], Array]:
        """Does one step.

        Args:
            carry: what the step before has left, of the form that `initialize_carry` makes.
            inputs: shape (batch dimensions..., spatial dimensions..., input features).

        Returns:
            The new carry, and outputs of shape (batch dimensions..., spatial dimensions...,
            features).

        Raises:
            InputRankError: if the inputs have fewer axes than the window and the features need.
            CarryShapeError: if the carry is not one of this cell.
            WindowError: if the convolutions change the spatial dimensions.
            PaddingError: if the padding is unknown or does not fit the window.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        if not are_calls_observed():
            return call_once(self, carry, inputs)
        self.check_carry(carry, jnp.shape(inputs))
        arithmetic = ConvLSTMRecurrence(self._padding(jnp.shape(inputs)), self.dtype)
        layers = [
            Conv(
                4 * self.features,
                self._window(),
                padding=self.padding,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )
            for name in ("ih", "hh")
        ]
        of_inputs, of_carry = layers[0](inputs), layers[1](carry[1])
        return arithmetic.combine(carry, jnp.split(of_inputs, 4, -1), jnp.split(of_carry, 4, -1))

    @compact
    def recurrence(self, input_shape: tuple[int, ...]) -> tuple[Recurrence, Any]:
        """Gives the arithmetic and the parameters.

        Args:
            input_shape: the shape of the inputs of one step.

        Returns:
            The arithmetic and a pytree of parameters.

        Raises:
            WindowError: if the convolutions change the spatial dimensions.
            PaddingError: if the padding is unknown or does not fit the window.
        """
        arithmetic = ConvLSTMRecurrence(self._padding(input_shape), self.dtype)
        return arithmetic, (
            self._declare("ih", input_shape[-1]),
            self._declare("hh", self.features),
        )

    def _declare(self, name: str, size: int) -> tuple[Array, Array | None]:
        assert self.scope is not None  # called by a compact method
        layer, shape = self.scope.push(name), (*self._window(), size, 4 * self.features)
        kernel = layer.param("kernel", default_kernel_init, shape, self.param_dtype)
        if not self.use_bias:
            return kernel, None
        return kernel, layer.param("bias", initializers.zeros, shape[-1:], self.param_dtype)

    @nowrap
    def _window(self) -> tuple[int, ...]:
        size = self.kernel_size
        return (size,) if isinstance(size, int) else tuple(size)

    @nowrap
    def _padding(self, input_shape: tuple[int, ...]) -> Padding:
        """Brings the padding to tuples, and checks that the spatial dimensions stay."""
        window = self._window()
        names = (*XLA_PADDINGS, *FOLLOWING_PADDINGS)
        padding = canonicalize_padding(self.padding, len(window), self, names)
        if padding == "CAUSAL" and len(window) != 1:
            raise PaddingError(
                f'{location(self)}: found padding="CAUSAL" with {len(window)} spatial dimensions; '
                'expected one. Write padding="SAME".'
            )
        strides = per_dimension(self.strides, len(window), self, "strides")
        sizes, ones = input_shape[-1 - len(window) : -1], (1,) * len(window)
        found = output_sizes(
            sizes,
            window,
            strides=strides,
            padding=padding,
            input_dilation=ones,
            kernel_dilation=ones,
        )
        if found != sizes or set(strides) != {1}:
            raise WindowError(
                f"{location(self)}: found strides={strides} and padding={self.padding!r}, which "
                f"turn spatial dimensions {sizes} into {found}; expected them to stay, since the "
                'carry goes through the same window at every step. Write strides=1, padding="SAME".'
            )
        return padding

    @nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Makes the carry before the first step.

        Args:
            rng: a random key.
            input_shape: the shape of the inputs of one step, (batch dimensions..., spatial
                dimensions..., input features).

        Returns:
            Two arrays of shape (batch dimensions..., spatial dimensions..., features) and dtype
            `param_dtype`.
        """
        shape = (*input_shape[:-1], self.features)
        return initial_pair(self.carry_init, rng, shape, self.param_dtype)

    @nowrap
    def check_carry(self, carry: Any, input_shape: tuple[int, ...]) -> None:
        """Checks inputs and carry.

        Args:
            carry: a carry.
            input_shape: the shape of the inputs of one step.

        Raises:
            InputRankError: if the inputs have fewer axes than the window and the features need.
            CarryShapeError: if the carry is not one of this cell.
        """
        check_input_rank(self, input_shape)
        shapes = ((*input_shape[:-1], self.features),) * 2
        check_carry_shapes(self, carry, shapes, input_shape)

    @property
    def num_feature_axes(self) -> int:
        """One for each spatial dimension, and one for the features."""
        return len(self._window()) + 1
