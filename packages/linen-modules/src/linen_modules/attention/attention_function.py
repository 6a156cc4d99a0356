"""Calls of the function that a layer attends with, which a user may replace.

A replacement need not have all parameters of `dot_product_attention`. What it has none for is left
out where the layers of users rely on it: mask, dropout, dtypes, precision and operators. What a
function must not ignore is an error: sown weights, and the fields that only `dot_product_attention`
has.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from linen_core import Module
from linen_modules.attention.dot_product import dot_product_attention
from linen_modules.errors import AttentionFunctionError, location
from linen_modules.typing import Array

__all__ = ["call_attention_function"]


def call_attention_function(
    layer: Any,
    arrays: tuple[Array, Array, Array],
    arguments: Mapping[str, Any],
    required: Mapping[str, Any],
) -> Array:
    """Calls an attention function with the arguments that it takes.

    Args:
        layer: the layer that calls its `attention_fn`.
        arrays: queries, keys and values.
        arguments: left out where the function does not take them.
        required: an error where the function does not take them.

    Returns:
        What the function returns.

    Raises:
        AttentionFunctionError: if the function does not take a required argument.
    """
    function = layer.attention_fn
    names = None if function is dot_product_attention else _parameters(function)
    if names is None:
        return function(*arrays, **arguments, **required)
    for name, value in required.items():
        if name not in names:
            shown = name if isinstance(value, Module) else f"{name}={value!r}"
            raise AttentionFunctionError(
                f"{location(layer)}: found {shown} and an attention_fn with the parameters "
                f"({', '.join(names)}); expected one that takes it. Write a parameter {name} into "
                "the function, or attention_fn=nn.dot_product_attention."
            )
    taken = {name: value for name, value in arguments.items() if name in names}
    return function(*arrays, **taken, **required)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names the parameters of a function; None if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)
