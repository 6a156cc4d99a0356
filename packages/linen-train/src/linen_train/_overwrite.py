"""Variables that are overwritten with their gradients, as those of 8-bit layers are.

The backward pass of such a layer returns, in the place of a gradient, the new value of the variable.
These variables are in a collection of their own, which is differentiated together with the
parameters and which no optimizer may see. It is kept in one of two places:

- in `params`, which then holds whole collections: `{"params": ..., "_overwrite_with_gradient": ...}`;
- among the other `collections` of the state.
"""

from collections.abc import Mapping
from typing import Any

import jax

from linen_train.errors import TrainStateError

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "holds_collections",
    "optimized",
    "separated",
    "with_optimized",
]

OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"


def holds_collections(params: Any) -> bool:
    """Say whether `params` holds whole collections, not parameters alone."""
    return isinstance(params, Mapping) and OVERWRITE_WITH_GRADIENT in params


def optimized(params: Any) -> Any:
    """Return the parameters that the optimizer changes."""
    return params["params"] if holds_collections(params) else params


def with_optimized(params: Any, new: Any, overwritten: Any = None) -> Any:
    """Return `params` with other parameters, and with what is overwritten, if that is given."""
    if not holds_collections(params):
        return new
    values = {**params, "params": new}
    if overwritten is not None:
        values[OVERWRITE_WITH_GRADIENT] = overwritten
    return type(params)(values)


def separated(grads: Any, params: Any, collections: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the gradients of the parameters, and the values that overwrite (None if there are none).

    Raises:
        TrainStateError: gradients and state do not hold the same kinds of variables.
    """
    given = holds_collections(grads)
    if given and "params" not in grads:
        raise TrainStateError(
            f"TrainState.apply_gradients: found gradients of {sorted(grads)}, expected those of "
            f"'params' beside {OVERWRITE_WITH_GRADIENT!r}. Differentiate both: jax.grad(loss)("
            "{'params': ..., '_overwrite_with_gradient': ...})."
        )
    if given and not holds_collections(params) and OVERWRITE_WITH_GRADIENT not in collections:
        raise TrainStateError(
            f"TrainState.apply_gradients: found gradients of {OVERWRITE_WITH_GRADIENT!r}, but the "
            "state does not carry that collection. Give it to TrainState.create, in collections=."
        )
    if not given and holds_collections(params):
        raise TrainStateError(
            "TrainState.apply_gradients: found gradients of parameters alone, but the state's params "
            f"hold {OVERWRITE_WITH_GRADIENT!r} as well. Differentiate with respect to state.params."
        )
    if not given:
        return grads, None
    overwritten = grads[OVERWRITE_WITH_GRADIENT]
    held = params if holds_collections(params) else collections
    if jax.tree.structure(overwritten) != jax.tree.structure(held[OVERWRITE_WITH_GRADIENT]):
        raise TrainStateError(
            f"TrainState.apply_gradients: found {jax.tree.structure(overwritten)} for "
            f"{OVERWRITE_WITH_GRADIENT!r}, expected the structure of the state, "
            f"{jax.tree.structure(held[OVERWRITE_WITH_GRADIENT])}. Differentiate with respect to all "
            "of the collection."
        )
    return grads["params"], overwritten
