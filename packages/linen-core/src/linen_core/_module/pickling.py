"""Copying and pickling modules: `copy.copy`, `copy.deepcopy`, pickle and cloudpickle.

A module that stands alone is copied with all its attributes: the copy is equal to it, and modules
that it holds in two places are again one module in two places.

A bound module is copied as what it was bound from: the module, its own variables, its random
streams and what is mutable. The copy is bound to variables of its own and stands alone, as
`module.bind(*bound.unbind())` would; its random streams begin anew. An abstract module is copied by
tracing its model again.

JAX makes some functions, such as `jax.nn.relu`, objects that can neither be pickled nor copied
without becoming others. In the state of a module they are replaced by their names.
"""

import functools
import importlib
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any

from linen_core._frozen_dict import FrozenDict
from linen_core._module.containers import is_record, items_of, with_items
from linen_core._module.fields import ModuleBase
from linen_core._module.lifecycle import ModuleState

# What belongs to one life of a module and is made anew.
_NOT_COPIED = frozenset({"_state", "_parent", "scope"})


class Pickling(ModuleBase):
    """What Python asks of an object to copy it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.scope is None:
            return super().__reduce_ex__(protocol)
        if self._state.is_abstract:
            return self._state.reduce()
        module, variables = type(self).unbind(self)  # type: ignore[attr-defined]
        return _bind, (module, variables, dict(self.scope.rngs), self.scope.mutable)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in _NOT_COPIED}
        return {name: _map_functions(_by_name, value) for name, value in kept.items()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # A shallow copy comes with the names still in the place of the functions.
        attributes = {name: _map_functions(_by_value, value) for name, value in state.items()}
        vars(self).update(attributes, _parent=None, _state=ModuleState())
        self._state.is_frozen = True


def _bind(module: Any, variables: Any, rngs: Any, mutable: Any) -> Any:
    return module.bind(variables, rngs=rngs, mutable=mutable)


class _Name:
    """Stands for a function that is found by its name, and becomes that when it is copied."""

    __slots__ = ("function",)

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self) -> None:
        """Be callable, which is all that a partial asks for."""

    def __reduce__(self) -> Any:
        return _find, (self.function.__module__, self.function.__qualname__)


def _find(module: str, qualname: str) -> Any:
    return operator.attrgetter(qualname)(importlib.import_module(module))


def _by_name(value: Any) -> Any:
    """Replace a function that pickle does not take for one."""
    if not callable(value) or isinstance(value, (type, types.FunctionType, ModuleBase)):
        return value
    module, qualname = (getattr(value, a, None) for a in ("__module__", "__qualname__"))
    # A script is another module where the pickle is read.
    if not isinstance(module, str) or not isinstance(qualname, str) or module == "__main__":
        return value
    try:
        return _Name(value) if _find(module, qualname) is value else value
    except (ImportError, AttributeError):
        return value


def _by_value(value: Any) -> Any:
    return value.function if isinstance(value, _Name) else value


def _map_functions(fn: Callable[[Any], Any], value: Any) -> Any:
    """Replace what is in a value, alone or inside of containers."""
    if type(value) in (list, tuple, dict, FrozenDict) or is_record(value):
        old = items_of(value)
        new = {key: _map_functions(fn, item) for key, item in old.items()}
        return value if all(new[key] is old[key] for key in old) else with_items(value, new)
    if type(value) is functools.partial:
        func, args, keywords = (
            _map_functions(fn, part) for part in (value.func, value.args, value.keywords)
        )
        return functools.partial(func, *args, **keywords)
    return fn(value)
