"""The functional core and Module system of Linen, a neural network API for JAX."""

from importlib.metadata import version as _version

from linen_core import config, errors, state_dict, struct, traverse_util
from linen_core._filters import (
    CollectionFilter,
    DenyList,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    subtract_filters,
    union_filters,
)
from linen_core._frozen_dict import FrozenDict, copy, freeze, pop, pretty_repr, unfreeze
from linen_core._functional import Variables, apply, bind, init, lazy_init
from linen_core._meta import (
    AxisMetadata,
    add_axis,
    is_axis_metadata,
    map_axis_meta,
    remove_axis,
    replace_boxed,
    unbox,
)
from linen_core._module.intercept import MethodContext, intercept_methods
from linen_core._module.merging import merge_param
from linen_core._module.module import Module
from linen_core._module.wrapping import compact, nowrap
from linen_core._rngs import LazyRng, Rng, Rngs
from linen_core._scope import Scope
from linen_core._variable import Variable

__version__ = _version("linen-core")

__all__ = [
    # Modules
    "Module",
    "compact",
    "nowrap",
    "merge_param",
    "intercept_methods",
    "MethodContext",
    # The functional core
    "Scope",
    "Variable",
    "Variables",
    "apply",
    "bind",
    "init",
    "lazy_init",
    # Random streams
    "LazyRng",
    "Rng",
    "Rngs",
    # Filters
    "CollectionFilter",
    "DenyList",
    "group_collections",
    "in_filter",
    "intersect_filters",
    "is_filter_empty",
    "subtract_filters",
    "union_filters",
    # Frozen dicts
    "FrozenDict",
    "copy",
    "freeze",
    "pop",
    "pretty_repr",
    "unfreeze",
    # Boxes
    "AxisMetadata",
    "add_axis",
    "is_axis_metadata",
    "map_axis_meta",
    "remove_axis",
    "replace_boxed",
    "unbox",
    # Modules of this package
    "config",
    "errors",
    "state_dict",
    "struct",
    "traverse_util",
    "__version__",
]
