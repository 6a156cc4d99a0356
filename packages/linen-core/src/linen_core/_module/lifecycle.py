"""The life of a module: constructed, owned by a parent or a scope, set up, called.

* **Constructed**: the dataclass fields are there. A module constructed while a method of another
  module runs has that module as its parent; otherwise it stands alone.
* **Attached**: it has a scope. A submodule is attached by its parent under a name; a top-level
  module is attached when `init`, `apply` or `bind` construct a copy of it over a root scope.
  Submodules among its fields are adopted at once, so that names do not depend on who runs first.
* **Set up**: `setup` has run. This happens once, on first need: a method call or a look-up of an
  attribute that is not there yet.

Names come from the attribute that a submodule is assigned to in `setup`, or, in a `@compact`
method, from its class and a number.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from linen_core._context import context
from linen_core._module.fields import UNSPECIFIED, ModuleBase, state_of
from linen_core._module.sharing import adopt_fields
from linen_core._scope import Scope
from linen_core.errors import AssignSubModuleError, InvalidInstanceModuleError


class ModuleState:
    """What a module remembers of its own life."""

    __slots__ = (
        "autoname_counts",
        "children",
        "compact_depth",
        "given",
        "in_setup",
        "is_frozen",
        "needs_setup",
        "origin",
    )

    is_abstract: ClassVar[bool] = False

    def __init__(self) -> None:
        self.is_frozen = False
        self.needs_setup = False
        self.in_setup = False
        self.compact_depth = 0
        self.autoname_counts: dict[str, int] = {}
        # Owned, so that a submodule that nothing else refers to lives as long as this one.
        self.children: dict[str, Any] = {}
        # The module that this one is a bound copy of, and the values that fields had before the
        # submodules in them were owned.
        self.origin: Any = None
        self.given: dict[str, Any] = {}

    @property
    def awaits_setup(self) -> bool:
        """Whether an attribute that is not there may come into being by `setup`."""
        return self.needs_setup and not self.is_abstract

    @property
    def may_create(self) -> bool:
        """Whether submodules and variables may be made now."""
        return self.in_setup or self.compact_depth > 0


def begin(module: Any) -> None:
    """Find the parent of a module that was just constructed, and attach it where possible."""
    state = module.__dict__["_state"] = ModuleState()
    parent = module.__dict__.get("_parent")
    if parent is UNSPECIFIED:
        parent = context.modules[-1]
        module.__dict__["_parent"] = None if parent is None else weakref.ref(parent)
    elif isinstance(parent, weakref.ref):
        parent = parent()
    if isinstance(parent, Scope):
        attach(module, parent)
    elif parent is not None:
        if not isinstance(parent, ModuleBase):
            raise InvalidInstanceModuleError.of_parent(parent)
        _begin_submodule(module, parent)
    state.is_frozen = True


def _begin_submodule(module: Any, parent: Any) -> None:
    state = state_of(parent)
    attributes = module.__dict__
    if parent.scope is None or not state.may_create:
        path = parent.scope.debug_path if parent.scope is not None else ()
        raise AssignSubModuleError(type(module).__name__, path, type(parent).__name__)
    if attributes["name"] is None:
        if state.compact_depth == 0:
            return  # in setup: the attribute that it is assigned to will name it
        attributes["name"] = _automatic_name(state, type(module).__name__)
    attach_to_parent(module, parent)


def _automatic_name(state: ModuleState, class_name: str) -> str:
    count = state.autoname_counts.get(class_name, 0)
    state.autoname_counts[class_name] = count + 1
    return f"{class_name}_{count}"


def attach_to_parent(module: Any, parent: Any) -> None:
    """Give a named submodule its place below its parent.

    Raises:
        NameInUseError: something else has the name.
    """
    parent._state.children[module.name] = module
    attach(module, parent.scope.push(module.name))


def attach(module: Any, scope: Scope) -> None:
    """Give a module its scope."""
    cls = type(module)
    module.__dict__["scope"] = scope
    scope.owner = cls.__name__
    module._state.needs_setup = cls.setup is not cls._no_setup
    adopt_fields(module)


def set_up(module: Any) -> None:
    """Run `setup`, once."""
    state = module._state
    state.needs_setup = False
    state.in_setup = True
    undo = _undoing(module)
    context.modules.append(module)
    try:
        module.setup()
    except BaseException:
        # What went wrong once goes wrong again: the next use shows the same error.
        undo()
        raise
    finally:
        context.modules.pop()
        state.in_setup = False


@contextlib.contextmanager
def ready(module: Any) -> Iterator[None]:
    """Keep a module set up for the length of a `with` block.

    In a JAX trace that began after the module was bound, `setup` may make arrays that are of no use
    once the trace has ended. Then nothing of it is kept, and the next use sets the module up again.
    """
    if not module._state.needs_setup:
        yield
    elif module.scope._tree.is_own_trace():
        set_up(module)
        yield
    else:
        undo = _undoing(module)
        set_up(module)
        try:
            yield
        finally:
            undo()


def _undoing(module: Any) -> Callable[[], None]:
    """Give a function that makes a module again what it is now, not yet set up."""
    state = module._state
    reservations = module.scope.reservations()
    attributes, children = dict(vars(module)), dict(state.children)

    def undo() -> None:
        state.needs_setup = True
        module.scope.restore_reservations(reservations)
        vars(module).clear()
        vars(module).update(attributes)
        state.children = children

    return undo
