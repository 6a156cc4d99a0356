"""Layers whose parameters are changed on their way from where they are stored to where they are used.

A *wrapper* calls a layer with parameters that it computes from the stored ones; the layer knows
nothing of it. Variables of the wrapper itself are named after the parameter that they belong to,
`layer/kernel/...`, with the name of the layer in front.

What is stored when a wrapper is initialised, or applied with mutable parameters, is what the layer
has seen: the changed parameters.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
from jax.tree_util import KeyPath, keystr

from linen_core import Module
from linen_modules.errors import NoParametersError, location
from linen_modules.typing import Array
from linen_transforms import map_variables

__all__ = [
    "call_with_changed_parameters",
    "evaluated_by",
]

P = ParamSpec("P")
R = TypeVar("R")


def call_with_changed_parameters(
    wrapper: Module,
    layer: Module,
    change: Callable[[str, Array], Array],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Calls a layer with changed parameters.

    Args:
        wrapper: the module that has the layer.
        layer: the layer to call.
        change: computes what the layer sees from a parameter's name and its stored value.
        args: what the layer is called with.
        kwargs: what the layer is called with.

    Returns:
        The output of the layer.

    Raises:
        NoParametersError: if the layer has no parameters.
    """
    results: dict[str, tuple[Array, Array]] = {}

    def changed(path: KeyPath, value: Array) -> Array:
        # The first key is that of the collection; a box around a value has the key "value".
        name = "/".join([str(layer.name), *(_name(key) for key in path[1:])])
        # In `init` the layer runs twice, and what exists already is mapped twice.
        if name not in results or results[name][0] is not value:
            results[name] = value, change(name, value)
        return results[name][1]

    outputs = map_variables(
        lambda layer: layer(*args, **kwargs),
        "params",
        lambda variables: jax.tree.map_with_path(changed, variables),
        init=wrapper.is_initializing(),
        mutable=True,
    )(layer)
    if not results:
        raise NoParametersError(
            f"{location(wrapper)}: found a layer without parameters, {location(layer)}; expected "
            f"one that has a kernel. Call the layer without {type(wrapper).__name__}."
        )
    return outputs


def evaluated_by(wrapper: Module, function: Callable[P, R]) -> Callable[P, R]:
    """Chooses how a cached function of parameters is evaluated: step by step in `init`.

    What it computes is stored there, and numbers that are stored do not depend on what XLA fuses.
    """
    return inspect.unwrap(function) if wrapper.is_initializing() else function


def _name(key: Any) -> str:
    return keystr((key,), simple=True)
