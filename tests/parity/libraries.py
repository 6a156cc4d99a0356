"""The two libraries that are compared, behind the same attributes.

A `Library` is what a case may use: `nn` (modules and layers), `core` (functions of a scope), `errors`
and the tree functions. `PEER` is flax.linen, the oracle; `SUBJECT` is this repository. Both are
imported by name so that type checkers need neither.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Library:
    """One implementation of the API under comparison.

    Attributes:
        name: what reports call it.
        nn: the module a model imports as `nn`.
        core: has `init`, `apply` and `bind` on functions of a scope.
        lift: has the lifted transformations of functions of a scope.
        functional: has the layers as functions of a scope.
        errors: the module of error classes.
        trees: has `to_state_dict` and `from_state_dict`.
    """

    name: str
    nn: Any
    core: Any
    lift: Any
    functional: Any
    errors: Any
    trees: Any

    def __repr__(self) -> str:
        return self.name


PEER = Library(
    name="flax.linen",
    nn=import_module("flax.linen"),
    core=import_module("flax.core"),
    lift=import_module("flax.core.lift"),
    functional=import_module("flax.core.nn"),
    errors=import_module("flax.errors"),
    trees=import_module("flax.serialization"),
)

SUBJECT = Library(
    name="linen",
    nn=import_module("linen_modules"),
    core=import_module("linen_core"),
    lift=import_module("linen_transforms.lift"),
    functional=import_module("linen_modules.functional"),
    errors=import_module("linen_core.errors"),
    trees=import_module("linen_core.state_dict"),
)
