"""Lifted JAX transformations for Linen modules and scopes."""

from importlib.metadata import version as _version

from linen_transforms import axes_scan, errors, lift, partitioning
from linen_transforms._blocks import stack_blocks, unstack_blocks
from linen_transforms._capture import capture
from linen_transforms._modules import checkpoint, jit, remat, remat_scan, scan, vmap
from linen_transforms._modules_control_flow import cond, switch, while_loop
from linen_transforms._modules_gradients import custom_vjp, grad, jvp, value_and_grad, vjp
from linen_transforms._modules_variables import add_metadata_axis, fold_rngs, map_variables
from linen_transforms._named_call import named_call
from linen_transforms._purify import PureFunction, purify
from linen_transforms._stack import Stack

__version__ = _version("linen-transforms")

__all__ = [
    "PureFunction",
    "Stack",
    "__version__",
    "add_metadata_axis",
    "axes_scan",
    "capture",
    "checkpoint",
    "cond",
    "custom_vjp",
    "errors",
    "fold_rngs",
    "grad",
    "jit",
    "jvp",
    "lift",
    "partitioning",
    "map_variables",
    "named_call",
    "purify",
    "remat",
    "remat_scan",
    "scan",
    "stack_blocks",
    "switch",
    "unstack_blocks",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
