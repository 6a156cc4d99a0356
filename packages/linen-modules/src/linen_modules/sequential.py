"""Layers one after another."""

from collections.abc import Callable, Sequence
from typing import Any

from linen_core import Module, compact
from linen_modules.errors import LayerSequenceError, location

__all__ = ["Sequential"]


class Sequential(Module):
    """Calls layers one after another, each with what the one before it returned.

    A tuple is passed on as positional arguments and a dict as keyword arguments; anything else is
    the only argument. The parameters of the layer at an index are under ``layers_<index>``.

    Attributes:
        layers: modules and other callables, at least one.

    Raises:
        LayerSequenceError: when it is made, if `layers` is no sequence or an element of it cannot
            be called.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    >>> y, variables = model.init_with_output(jax.random.key(0), jnp.ones((1, 3)))
    >>> y.shape, sorted(variables["params"])
    ((1, 2), ['layers_0', 'layers_2'])
    >>> swap = nn.Sequential([lambda x: (x, 2 * x), lambda a, b: {"high": a, "low": b}])
    >>> swap.apply({}, 1)
    {'high': 1, 'low': 2}
    """

    layers: Sequence[Callable[..., Any]]

    def __post_init__(self) -> None:
        """Checks that the layers can be called one after another."""
        super().__post_init__()
        if not isinstance(self.layers, Sequence):
            raise LayerSequenceError(
                f"{location(self)}: found layers of type {type(self.layers).__name__}; expected a "
                "sequence of callables. Write nn.Sequential([first, second])."
            )
        for index, layer in enumerate(self.layers):
            if isinstance(layer, type) and issubclass(layer, Module):
                raise LayerSequenceError(
                    f"{location(self)}: found the class {layer.__name__} in layers[{index}]; "
                    f"expected a layer. Write {layer.__name__}(...) with its arguments."
                )
            if not callable(layer):
                raise LayerSequenceError(
                    f"{location(self)}: found {layer!r} in layers[{index}]; expected a module or "
                    "another callable. Write a function that returns it, if it is a constant."
                )

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layers.

        Args:
            *args: positional arguments of the first layer.
            **kwargs: keyword arguments of the first layer.

        Returns:
            What the last layer returns.

        Raises:
            LayerSequenceError: if there are no layers.
        """
        if not self.layers:
            raise LayerSequenceError(
                f"{location(self)}: found no layers; expected at least one. Write "
                "nn.Sequential([lambda x: x]) for a model that changes nothing."
            )
        first, *others = self.layers
        outputs = first(*args, **kwargs)
        for layer in others:
            if isinstance(outputs, tuple):
                outputs = layer(*outputs)
            elif isinstance(outputs, dict):
                outputs = layer(**outputs)
            else:
                outputs = layer(outputs)
        return outputs
