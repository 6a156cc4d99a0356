"""Lifted transformations over functions of scopes.

Everything here takes a function whose first argument is a `linen_core.Scope`, or a pytree of scopes,
and gives a function of the same form. The transformations of `linen_transforms` itself are made of
these; they take Modules in the place of scopes.
"""

from linen_transforms._jit import jit
from linen_transforms._pack import pack
from linen_transforms._remat import checkpoint
from linen_transforms._remat_scan import remat_scan
from linen_transforms._scan import scan
from linen_transforms._vmap import vmap

remat = checkpoint

__all__ = ["checkpoint", "jit", "pack", "remat", "remat_scan", "scan", "vmap"]
