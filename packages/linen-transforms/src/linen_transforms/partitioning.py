"""Partitioning with named axes, as models of the t5x era are written.

Variables come with the logical names of their axes, which are variables too: those of "params" are in
the collection "params_axes". Lifted transformations add the name of the axis that they add. Logical
axis rules map the names to a mesh. Models that are written today rather put names into boxes:
`linen_core.with_logical_partitioning`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from linen_core import CollectionFilter, RulesFallback, logical_to_mesh, logical_to_mesh_axes
from linen_core import get_logical_axis_rules as get_axis_rules
from linen_core import logical_axis_rules as axis_rules
from linen_core import set_logical_axis_rules as set_axis_rules
from linen_core import with_logical_constraint as with_sharding_constraint
from linen_transforms._in_out import ScanIn, ScanOut
from linen_transforms._modules import Methods
from linen_transforms._named_axes import (
    AxisMetadata,
    PartitionedVariable,
    get_axis_names,
    param_with_axes,
    variable_with_axes,
)
from linen_transforms._over_modules import over_modules
from linen_transforms._remat import checkpoint as core_remat_static
from linen_transforms._scan_with_axes import scan_with_axes, vmap_with_axes
from linen_transforms._static import Numbers

Target = TypeVar("Target", bound=Callable[..., Any])

__all__ = [
    "AxisMetadata",
    "PartitionedVariable",
    "RulesFallback",
    "ScanIn",
    "ScanOut",
    "axis_rules",
    "core_remat_static",
    "get_axis_names",
    "get_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "param_with_axes",
    "remat",
    "scan_with_axes",
    "set_axis_rules",
    "variable_with_axes",
    "vmap_with_axes",
    "with_sharding_constraint",
]


def remat(
    target: Target,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: Numbers = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
) -> Target:
    """Lift `jax.checkpoint`, as `linen_transforms.remat` does; only the class is named otherwise.

    Args:
        target: a Module class, a method, or a function whose first argument is a Module.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.
        concrete: not supported by JAX any more: it must be False.
        prevent_cse: whether the compiler must not merge the two computations.
        static_argnums: which arguments, counted from 0 without the module, are no arrays.
        policy: which intermediate results are kept, as for `jax.checkpoint`.
        methods: which methods of a class are lifted; `__call__` if None.

    Returns:
        A class, or a function, that is called as the target is.

    Raises:
        UnsupportedArgumentError: `concrete` is True.
        TransformTargetError: `target` is nothing that can be lifted.
        LiftedMethodError: `methods` names something that is no method.

    Example:
        >>> from linen_core import Module
        >>> from linen_transforms.partitioning import remat
        >>> remat(Module).__name__
        'Core_remat_staticModule'
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "concrete": concrete,
        "prevent_cse": prevent_cse,
        "static_argnums": static_argnums,
        "policy": policy,
    }
    return over_modules(
        "core_remat_static",
        target,
        lambda **own: partial(core_remat_static, **options | own),
        methods,
    )
