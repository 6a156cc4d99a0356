"""Lifted transformations over functions of scopes.

Everything here takes a function whose first argument is a `linen_core.Scope`, or a pytree of scopes,
and gives a function of the same form. The transformations of `linen_transforms` itself are made of
these; they take Modules in the place of scopes.
"""

from linen_transforms._control_flow import cond, switch, while_loop
from linen_transforms._custom_vjp import custom_vjp
from linen_transforms._fold_rngs import fold_rngs
from linen_transforms._gradients import jvp, value_and_grad, vjp
from linen_transforms._jit import jit
from linen_transforms._map_variables import map_variables, swap_collection
from linen_transforms._pack import pack
from linen_transforms._remat import checkpoint
from linen_transforms._remat_scan import remat_scan
from linen_transforms._scan import scan
from linen_transforms._vmap import vmap

remat = checkpoint

__all__ = [
    "checkpoint",
    "cond",
    "custom_vjp",
    "fold_rngs",
    "jit",
    "jvp",
    "map_variables",
    "pack",
    "remat",
    "remat_scan",
    "scan",
    "swap_collection",
    "switch",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
