"""What packages built on linen-core may use beyond the API for models.

For layer libraries, lifted transformations and frameworks. It is documented and tested as the public
API is, but it may change with a minor version.
"""

from linen_core._fingerprint import fingerprint
from linen_core._lifting import (
    are_calls_observed,
    bookkeeping,
    changed_collections,
    collections_at,
    guard,
    inner_scope,
    is_rehearsing,
    put_collections,
    rehearsal_in,
    restore_bookkeeping,
    sowable,
)
from linen_core._module.containers import map_modules
from linen_core._module.copies import arguments_of
from linen_core._module.lifting import (
    Names,
    current_module,
    names_in_use,
    rebound,
    standing_alone,
    standing_in,
)
from linen_core._parameter import PureInitializer
from linen_core._rehearsal import Rehearsal

__all__ = [
    # Initializers and values
    "PureInitializer",
    "fingerprint",
    # Lifted transformations
    "Names",
    "Rehearsal",
    "are_calls_observed",
    "arguments_of",
    "bookkeeping",
    "changed_collections",
    "collections_at",
    "current_module",
    "guard",
    "inner_scope",
    "is_rehearsing",
    "map_modules",
    "names_in_use",
    "put_collections",
    "rebound",
    "rehearsal_in",
    "restore_bookkeeping",
    "sowable",
    "standing_alone",
    "standing_in",
]
