"""The Module class: thin methods over the functional core.

What happens when a module is constructed, adopted, set up and called is told in the files beside
this one; the README of this folder has the guarantees.
"""

import dataclasses
import inspect
from typing import Any, ClassVar, Self

from typing_extensions import dataclass_transform

from linen_core._context import context
from linen_core._module.abstract import AbstractModules
from linen_core._module.copies import copy_fields, independent_copy
from linen_core._module.display import Display
from linen_core._module.fields import (
    RESERVED,
    UNSPECIFIED,
    ParentField,
    check_names,
    has_plain_construction,
    init_field_names,
    make_dataclass,
    remember_init_only,
)
from linen_core._module.lifecycle import begin, ready
from linen_core._module.pickling import Pickling
from linen_core._module.sharing import own
from linen_core._module.summaries import Summaries
from linen_core._module.wrapping import add_name_scopes, wrap_methods
from linen_core._scope import Scope
from linen_core.errors import (
    DescriptorAttributeError,
    MissingAttributeError,
    ReservedModuleAttributeError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
)
from linen_core.tracebacks import hide_frames


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _DataclassBase(Summaries, AbstractModules, Display, Pickling):
    """Tells type checkers that modules are dataclasses."""


class Module(_DataclassBase):
    """Base class of all layers and models.

    A subclass is a dataclass: its annotated attributes are arguments of its constructor. Its
    submodules and variables are defined in `setup`, or where they are used in one method that is
    decorated with `@compact`. The module itself holds no arrays: `init` creates the variables, and
    `apply` calls the module with them.

    Args:
        parent: the module that owns this one; by default the module whose method runs. None
            makes a module that stands alone.
        name: its name among the submodules of its parent; by default made from the attribute that
            it is assigned to, or from its class.

    Raises:
        NameInUseError: the parent has something else of that name.
        AssignSubModuleError: made in a method of another module that is neither `setup` nor
            `@compact`.
        ReservedModuleAttributeError: (on definition) a field has a name that Module needs.
        IncorrectPostInitOverrideError: (on use) `__post_init__` was overridden without calling
            that of Module.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> class Dense(Module):
        ...     features: int
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return x @ self.param("kernel", init, (x.shape[-1], self.features))
        >>> class MLP(Module):
        ...     widths: tuple[int, ...]
        ...     def setup(self):
        ...         self.layers = [Dense(width) for width in self.widths]
        ...     def __call__(self, x):
        ...         for layer in self.layers:
        ...             x = jax.nn.relu(layer(x))
        ...         return x
        >>> model = MLP((4, 3))
        >>> x = jax.numpy.ones((8, 2))
        >>> variables = model.init(jax.random.key(0), x)
        >>> jax.tree.map(jax.numpy.shape, variables)
        {'params': {'layers_0': {'kernel': (2, 4)}, 'layers_1': {'kernel': (4, 3)}}}
        >>> model.apply(variables, x).shape
        (8, 3)
    """

    parent: "Module | Scope | None" = dataclasses.field(
        default=UNSPECIFIED, kw_only=True, repr=False, compare=False
    )
    name: str | None = dataclasses.field(default=None, kw_only=True)

    _init_fields: ClassVar[tuple[str, ...]] = ()
    _name_scopes: ClassVar[tuple[str, ...]] = ()
    # The constructor, if bound copies can do without: it does nothing but store its arguments.
    _plain_init: ClassVar[Any] = None

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        has_own_init = "__init__" in vars(cls)
        make_dataclass(cls, kw_only)
        check_names(cls)
        remember_init_only(cls)
        wrap_methods(cls)
        cls._init_fields = init_field_names(cls)
        add_name_scopes(cls)
        is_plain = not has_own_init and has_plain_construction(cls, Module)
        cls._plain_init = vars(cls)["__init__"] if is_plain else None

    def __post_init__(self) -> None:
        begin(self)

    def setup(self) -> None:
        """Define submodules and variables as attributes. Subclasses override this.

        It runs once for each bound module, when something of the module is first needed. It may
        assign attributes, which at all other times is an error.
        """

    # What a class that does not override `setup` has: nothing to run.
    _no_setup: ClassVar[Any] = setup

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__.get("_state")
        if state is None:
            pass  # while it is constructed
        elif state.in_setup:
            if name in type(self)._init_fields or name == "parent":
                raise SetAttributeInModuleSetupError(type(self).__name__, name)
            if name in RESERVED:
                raise ReservedModuleAttributeError(type(self).__name__, [name])
            value = own(self, name, value)
        elif state.is_frozen:
            raise SetAttributeFrozenModuleError(type(self).__name__, name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        state = self.__dict__.get("_state")
        if state is not None and state.is_frozen and not state.in_setup:
            raise SetAttributeFrozenModuleError(type(self).__name__, name)
        object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there. Python asks for dunder names when it copies objects.
        state = self.__dict__.get("_state")
        if state is not None and state.awaits_setup and not name.startswith("__"):
            try:
                with ready(self):
                    return getattr(self, name)
            except Exception as error:
                if context.modules[-1] is None:  # not in a method
                    hide_frames(error)
                raise
        if name.startswith("__"):
            raise AttributeError(name)
        # A property that raises AttributeError ends here too: its own error says more.
        if (descriptor := inspect.getattr_static(type(self), name, None)) is not None:
            try:
                return descriptor.__get__(self, type(self))
            except AttributeError as error:
                raise DescriptorAttributeError(type(self).__name__, name, error) from error
        if state is not None and name in state.children:
            return state.children[name]  # a submodule that a @compact method has made
        raise MissingAttributeError(
            type(self).__name__, name, self.scope is not None, _own_names(self)
        )

    def clone(self, *, parent: "Module | Scope | None" = None, **updates: Any) -> Self:
        """Copy the module, with other values for some fields.

        Args:
            parent: the parent of the copy; by default it stands alone.
            **updates: new values of fields, by name.

        Returns:
            A new module.

        Raises:
            TypeError: there is no field of such a name.

        Example:
            >>> from linen_core import Module
            >>> class Layer(Module):
            ...     features: int
            >>> Layer(3).clone(features=4)
            Layer(features=4)
        """
        return copy_fields(self, {"parent": parent, **updates})

    def copy(
        self,
        *,
        parent: "Module | Scope | None" = UNSPECIFIED,
        name: str | None = None,
        **updates: Any,
    ) -> Self:
        """Make another module like this one, with variables of its own.

        Unlike a clone, the copy belongs to the module whose method runs, gets a name of its own, and
        the submodules in its fields are copied too.

        Args:
            parent: the parent of the copy; by default the module whose method runs.
            name: its name; by default made as for every new module.
            **updates: new values of fields, by name.

        Returns:
            A new module.

        Raises:
            TypeError: there is no field of such a name.
            NameInUseError: the parent has something else of that name.
            AssignSubModuleError: called in a method that is neither `setup` nor `@compact`.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Scale(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
            >>> class Twice(Module):
            ...     def setup(self):
            ...         self.first = Scale()
            ...         self.second = self.first.copy()
            ...     def __call__(self, x):
            ...         return self.second(self.first(x))
            >>> sorted(Twice().init(jax.random.key(0), jax.numpy.ones(2))["params"])
            ['first', 'second']
        """
        return independent_copy(self, {"parent": parent, "name": name, **updates})


make_dataclass(Module, kw_only=False)
# Only now: dataclasses take the attribute of a field for its default.
Module.parent = ParentField()  # pyright: ignore[reportAttributeAccessIssue]


def _own_names(module: Module) -> list[str]:
    """Name what the user has given a module: fields, attributes and methods."""
    classes = type(module).__mro__[: type(module).__mro__.index(Module)]
    names = [*vars(module), *(name for cls in classes for name in vars(cls))]
    return [name for name in names if not name.startswith("_") and name not in ("name", "scope")]
