"""The functional core and Module system of Linen, a neural network API for JAX."""

from importlib.metadata import version as _version

from linen_core import config, cursor, errors, module, state_dict, struct, tracebacks, traverse_util
from linen_core._broadcast import broadcast
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
from linen_core._module.named_calls import (
    disable_named_call,
    enable_named_call,
    override_named_call,
)
from linen_core._module.scope_sharing import share_scope
from linen_core._module.wrapping import compact, compact_name_scope, nowrap
from linen_core._rngs import LazyRng, Rng, Rngs
from linen_core._scope import Scope
from linen_core._spmd.logical import (
    LogicallyPartitioned,
    RulesFallback,
    logical_to_mesh,
    logical_to_mesh_sharding,
    with_logical_constraint,
    with_logical_partitioning,
)
from linen_core._spmd.mesh import get_global_mesh, global_mesh_defined
from linen_core._spmd.partitioned import (
    PARTITION_NAME,
    Partitioned,
    get_partition_spec,
    get_sharding,
    with_partitioning,
)
from linen_core._spmd.rules import (
    get_logical_axis_rules,
    logical_axis_rules,
    logical_to_mesh_axes,
    set_logical_axis_rules,
)
from linen_core._spmd.table import ShardingRow, ShardingTable, explain_sharding
from linen_core._summary.functions import summary_rows, tabulate
from linen_core._summary.rows import SummaryRow
from linen_core._variable import Variable

__version__ = _version("linen-core")

__all__ = [
    # Modules
    "Module",
    "compact",
    "compact_name_scope",
    "nowrap",
    "merge_param",
    "share_scope",
    "enable_named_call",
    "disable_named_call",
    "override_named_call",
    "intercept_methods",
    "MethodContext",
    # The functional core
    "Scope",
    "Variable",
    "Variables",
    "apply",
    "bind",
    "broadcast",
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
    # Partitioned variables
    "PARTITION_NAME",
    "Partitioned",
    "get_global_mesh",
    "get_partition_spec",
    "get_sharding",
    "global_mesh_defined",
    "with_partitioning",
    # Logical axes
    "LogicallyPartitioned",
    "RulesFallback",
    "ShardingRow",
    "ShardingTable",
    "explain_sharding",
    "get_logical_axis_rules",
    "logical_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "logical_to_mesh_sharding",
    "set_logical_axis_rules",
    "with_logical_constraint",
    "with_logical_partitioning",
    # Summaries
    "SummaryRow",
    "summary_rows",
    "tabulate",
    # Modules of this package
    "config",
    "cursor",
    "errors",
    "module",
    "state_dict",
    "struct",
    "tracebacks",
    "traverse_util",
    "__version__",
]
