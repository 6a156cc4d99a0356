"""Specs: what a summary keeps of a value, so that it holds neither data nor tracers.

The *spec* of an array is its `jax.ShapeDtypeStruct`; a plain Python value is its own spec. The spec
of a pytree is the same pytree of specs, boxes included. Dataclasses that JAX does not know as
pytrees become dicts of their fields, and everything else a short text.
"""

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linen_core._dicts import map_in_order
from linen_core._module.fields import ModuleBase
from linen_core._trace import is_tracer
from linen_core.errors._base import describe

_ARRAYS = (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)
_NUMBERS = (bool, int, float, complex)
_PLAIN = (*_NUMBERS, str, bytes, enum.Enum)


def specs_of(tree: Any) -> Any:
    """Give the spec of a value, whatever it is."""
    try:
        return map_in_order(_spec_of_leaf, tree)
    except (TypeError, ValueError):  # a pytree whose class refuses other leaves
        return describe(tree)


def array_specs_of(tree: Any) -> Any:
    """Replace the arrays in a pytree by their specs, and nothing else."""
    return map_in_order(_spec_of_array, tree)


def _spec_of_array(leaf: Any) -> Any:
    if not isinstance(leaf, _ARRAYS):
        return leaf
    weak_type = getattr(leaf, "weak_type", False)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=weak_type)


def _spec_of_leaf(leaf: Any) -> Any:
    if isinstance(leaf, _ARRAYS):
        return _spec_of_array(leaf)
    if isinstance(leaf, _PLAIN):
        return leaf
    if isinstance(leaf, ModuleBase):
        return type(leaf).__name__
    if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
        return {f.name: specs_of(getattr(leaf, f.name, None)) for f in dataclasses.fields(leaf)}
    return getattr(leaf, "__name__", None) or describe(leaf)


def tracers_in(tree: Any) -> list[Any]:
    """Give the traced arrays in a pytree, whose dicts may have keys that cannot be sorted."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Mapping))
    inside = [tracers_in(list(leaf.values())) for leaf in leaves if isinstance(leaf, Mapping)]
    return [leaf for leaf in leaves if is_tracer(leaf)] + [x for found in inside for x in found]


def array_spec(spec: Any) -> Any:
    """Give the spec of the array that JAX makes of a number; other specs stay what they are."""
    if isinstance(spec, _NUMBERS):
        return jax.ShapeDtypeStruct((), jnp.result_type(spec), weak_type=True)
    return spec


def size_of(spec: Any) -> tuple[int, int]:
    """Count the elements of the arrays in a spec, and their bytes."""
    arrays = [x for x in jax.tree.leaves(spec) if isinstance(x, jax.ShapeDtypeStruct)]
    sizes = [math.prod(array.shape) for array in arrays]
    widths = [array.dtype.itemsize for array in arrays]
    return sum(sizes), sum(size * width for size, width in zip(sizes, widths, strict=True))
