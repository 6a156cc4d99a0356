"""What packages built on linen-core may use beyond the API for models.

For layer libraries, lifted transformations and frameworks. It is documented and tested as the public
API is, but it may change with a minor version. `linen_core.extend.staging` is apart, since it imports
`jax.extend`, which takes as long as importing all of linen-core.
"""

from linen_core._fingerprint import fingerprint
from linen_core._lifting import (
    are_calls_observed,
    bookkeeping,
    changed_collections,
    collections_at,
    creating,
    guard,
    inner_scope,
    is_rehearsing,
    put_collections,
    rehearsal_in,
    restore_bookkeeping,
    sowable,
    withheld_streams,
)
from linen_core._module.containers import map_items, map_modules
from linen_core._module.copies import arguments_of
from linen_core._module.lifting import (
    Names,
    current_module,
    names_in_use,
    rebound,
    standing_alone,
    standing_in,
)
from linen_core._parameter import PureInitializer, WrappingInitializer
from linen_core._rehearsal import Rehearsal

__all__ = [
    # Initializers and values
    "PureInitializer",
    "WrappingInitializer",
    "fingerprint",
    # Lifted transformations
    "Names",
    "Rehearsal",
    "are_calls_observed",
    "arguments_of",
    "bookkeeping",
    "changed_collections",
    "collections_at",
    "creating",
    "current_module",
    "guard",
    "inner_scope",
    "is_rehearsing",
    "map_items",
    "map_modules",
    "names_in_use",
    "put_collections",
    "rebound",
    "rehearsal_in",
    "restore_bookkeeping",
    "sowable",
    "standing_alone",
    "standing_in",
    "withheld_streams",
]
