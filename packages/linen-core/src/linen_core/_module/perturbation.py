"""Perturbations: variables that are zero, added to intermediate values to differentiate by them."""

from typing import TypeVar

import jax
import jax.numpy as jnp

from linen_core._scope import Scope
from linen_core.errors import PerturbationMismatchError, ScopeVariableNotFoundError

T = TypeVar("T")


def perturbed(scope: Scope, collection: str, name: str, value: T) -> T:
    """Add a variable to a value, and create it if that is possible.

    Raises:
        NameInUseError: something else at this place has the name.
        ScopeVariableNotFoundError: there are perturbations, but not this one.
        PerturbationMismatchError: the perturbation does not fit the value.
        JaxTransformError: it would be created inside a raw JAX transformation.
    """
    is_mutable = scope.is_mutable_collection(collection)
    if not is_mutable and scope.root.is_collection_empty(collection):
        return value
    scope.reserve_to_sow(name, collection)
    if not scope.has_variable(collection, name):
        if not is_mutable:
            found = scope.variables().get(collection, {})
            raise ScopeVariableNotFoundError(scope.debug_path, collection, name, found)
        scope.put_variable(collection, name, jax.tree.map(jnp.zeros_like, value))
    perturbation = scope.get_variable(collection, name)
    try:
        return jax.tree.map(jnp.add, value, perturbation)
    except (TypeError, ValueError):
        found, expected = (jax.tree.map(jnp.shape, tree) for tree in (perturbation, value))
        raise PerturbationMismatchError(
            scope.debug_path, collection, name, found, expected
        ) from None
