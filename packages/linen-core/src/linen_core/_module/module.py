"""The Module class: thin methods over the functional core.

What happens when a module is constructed, adopted, set up and called is told in the files beside
this one; the README of this folder has the guarantees.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, overload

from typing_extensions import dataclass_transform

from linen_core import _functional
from linen_core._filters import CollectionFilter, DenyList, union_filters
from linen_core._module.fields import (
    RESERVED,
    UNSPECIFIED,
    ParentField,
    check_names,
    init_field_names,
    make_dataclass,
    state_of,
)
from linen_core._module.intercept import CaptureFilter, capturing
from linen_core._module.lifecycle import begin, set_up
from linen_core._module.methods import resolve_method
from linen_core._module.sharing import bound_copy, copy_fields, detached_copy, own
from linen_core._module.variables import ModuleVariables
from linen_core._module.wrapping import wrap_methods
from linen_core._rngs import Rngs
from linen_core._scope import Scope
from linen_core.errors import (
    BindArgumentsError,
    CallUnbindOnUnboundModuleError,
    DescriptorAttributeError,
    InvalidInstanceModuleError,
    MissingAttributeError,
    ReservedModuleAttributeError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
)

_NOT_INTERMEDIATES = DenyList("intermediates")


@dataclass_transform(field_specifiers=(dataclasses.field,))
class _DataclassBase(ModuleVariables):
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

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        make_dataclass(cls, kw_only)
        check_names(cls)
        wrap_methods(cls)
        cls._init_fields = init_field_names(cls)

    def __post_init__(self) -> None:
        begin(self)

    def setup(self) -> None:
        """Define submodules and variables as attributes. Subclasses override this.

        It runs once for each bound module, when something of the module is first needed. It may
        assign attributes, which at all other times is an error.
        """

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__.get("_state")
        if state is not None and state.in_setup:
            if name in type(self)._init_fields or name == "parent":
                raise SetAttributeInModuleSetupError(type(self).__name__, name)
            if name in RESERVED:
                raise ReservedModuleAttributeError(type(self).__name__, [name])
            value = own(self, name, value)
        elif state is not None and state.is_frozen:
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
        if state is not None and state.needs_setup and not name.startswith("__"):
            set_up(self)
            return getattr(self, name)
        if name.startswith("__"):
            raise AttributeError(name)
        # A property that raises AttributeError ends here too: its own error says more.
        if (descriptor := inspect.getattr_static(type(self), name, None)) is not None:
            try:
                return descriptor.__get__(self, type(self))
            except AttributeError as error:
                raise DescriptorAttributeError(type(self).__name__, name, error) from error
        raise MissingAttributeError(
            type(self).__name__, name, self.scope is not None, _own_names(self)
        )

    def __repr__(self) -> str:
        fields = [f for f in dataclasses.fields(self) if f.repr and f.name != "name"]
        shown = [f"{f.name}={inspect.getattr_static(self, f.name, None)!r}" for f in fields]
        shown += [f"name={self.name!r}"] if self.name is not None else []
        return f"{type(self).__name__}({', '.join(shown)})"

    # Pure functions of variables.

    def init(
        self,
        rngs: Rngs,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Create the variables, without running the forward pass.

        The call is traced once to find the variables, and only what their initial values depend
        on is evaluated. The values are those of an ordinary call, bit for bit. A model that cannot
        be traced, because its Python code needs concrete values, say, runs again as an ordinary
        call. As under `jax.jit`, arrays that a model keeps outside of its variables while it is
        traced (in a global cache) are tracers and of no use later.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method. Arrays may be given as `jax.ShapeDtypeStruct`.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            mutable: a filter of the collections to create and return.
            capture_intermediates: whether to store what methods return in "intermediates": True
                for every `__call__`, or a function of a module and a method name that says so.
            **kwargs: keyword arguments of the method.

        Returns:
            The variables: a dict from collections to nested dicts of arrays.

        Raises:
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            LazyInitError: an initial value depends on an argument that is a `ShapeDtypeStruct`.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Scale(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
            >>> Scale().init(jax.random.key(0), jax.ShapeDtypeStruct((1,), "float32"))
            {'params': {'scale': Array([1.], dtype=float32)}}
        """
        run = _scope_function(self, "init", method, capture_intermediates)
        mutable = _with_intermediates(mutable, capture_intermediates)
        return _functional.lazy_init(run, mutable)(rngs, *args, **kwargs)

    def lazy_init(
        self,
        rngs: Rngs,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Create the variables from arguments that may be `jax.ShapeDtypeStruct`s.

        The same as `init`, which also accepts them.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            mutable: a filter of the collections to create and return.
            **kwargs: keyword arguments of the method.

        Returns:
            The variables: a dict from collections to nested dicts of arrays.

        Raises:
            LazyInitError: an initial value depends on an argument that is a `ShapeDtypeStruct`.
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
        """
        run = _scope_function(self, "lazy_init", method, False)
        return _functional.lazy_init(run, mutable)(rngs, *args, **kwargs)

    def init_with_output(
        self,
        rngs: Rngs,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Create the variables and run the forward pass.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            mutable: a filter of the collections to create and return.
            capture_intermediates: whether to store what methods return in "intermediates".
            **kwargs: keyword arguments of the method.

        Returns:
            What the method returns, and the variables.

        Raises:
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
        """
        run = _scope_function(self, "init_with_output", method, capture_intermediates)
        mutable = _with_intermediates(mutable, capture_intermediates)
        return _functional.init(run, mutable)(rngs, *args, **kwargs)

    @overload
    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Rngs | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: Literal[False] = False,
        capture_intermediates: Literal[False] = False,
        **kwargs: Any,
    ) -> Any: ...

    @overload
    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Rngs | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]: ...

    @overload
    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Rngs | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = False,
        capture_intermediates: Literal[True] | CaptureFilter,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]: ...

    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Rngs | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = False,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> Any:
        """Call a method of the module with variables.

        Args:
            variables: a dict from collections to nested dicts of arrays. It is never changed.
            *args: arguments of the method.
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            mutable: a filter of the collections that may change.
            capture_intermediates: whether to store what methods return in "intermediates": True
                for every `__call__`, or a function of a module and a method name that says so.
                The collection is then mutable.
            **kwargs: keyword arguments of the method.

        Returns:
            What the method returns; if `mutable` is not False or intermediates are captured, a pair
            of that and the variables of the mutable collections.

        Raises:
            ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
            ApplyScopeInvalidVariablesStructureError: `variables` has a layer too many.
            ScopeCollectionNotFound: a variable is needed from a collection that is empty.
            ScopeParamNotFoundError: a parameter is missing.
            ScopeParamShapeError: a parameter has another shape than its initializer makes.
            ModifyScopeVariableError: the method changes a variable that is immutable.
            InvalidRngError: a random stream is missing or no key.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Counter(Module):
            ...     @compact
            ...     def __call__(self):
            ...         calls = self.variable("state", "calls", lambda: 0)
            ...         calls.value += 1
            ...         return calls.value
            >>> Counter().apply({"state": {"calls": 4}}, mutable=["state"])
            (5, {'state': {'calls': 5}})
        """
        run = _scope_function(self, "apply", method, capture_intermediates)
        mutable = _with_intermediates(mutable, capture_intermediates)
        return _functional.apply(run, mutable)(variables, *args, rngs=rngs, **kwargs)

    # Bound modules.

    def bind(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Rngs | None = None,
        mutable: CollectionFilter = False,
    ) -> Self:
        """Give a copy of the module that holds variables, to work with interactively.

        Args:
            variables: a dict from collections to nested dicts of arrays. It is never changed.
            *args: none can be given; flax.linen accepts them and ignores them.
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            mutable: a filter of the collections that may change.

        Returns:
            A bound module: its methods can be called, its submodules are attributes.

        Raises:
            ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
            ApplyScopeInvalidVariablesStructureError: `variables` has a layer too many.
            InvalidRngError: something in `rngs` is not a single key.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
            BindArgumentsError: positional arguments were given after the variables.

        Example:
            >>> from linen_core import Module, compact
            >>> class Scale(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x * self.param("scale", lambda key: 1.0)
            >>> Scale().bind({"params": {"scale": 2.0}})(3.0)
            6.0
        """
        _check_instance(self, "bind")
        if args:
            raise BindArgumentsError(len(args))
        return bound_copy(self, _functional.bind(variables, rngs, mutable))

    def unbind(self) -> tuple[Self, dict[str, Any]]:
        """Take a bound module apart into the module and its variables.

        Returns:
            A module that stands alone, equal to the one that was bound, and its variables.

        Raises:
            CallUnbindOnUnboundModuleError: the module is not bound.

        Example:
            >>> from linen_core import Module
            >>> model, variables = Module().bind({"params": {"w": 1.0}}).unbind()
            >>> variables
            {'params': {'w': 1.0}}
        """
        if self.scope is None:
            raise CallUnbindOnUnboundModuleError(type(self).__name__)
        return detached_copy(self), self.variables

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


make_dataclass(Module, kw_only=False)
# Only now: dataclasses take the attribute of a field for its default.
Module.parent = ParentField()  # pyright: ignore[reportAttributeAccessIssue]


def _check_instance(module: Any, method: str) -> None:
    if not isinstance(module, Module):
        raise InvalidInstanceModuleError.of_method(method)
    state_of(module)


def _with_intermediates(
    mutable: CollectionFilter, capture_intermediates: bool | CaptureFilter
) -> CollectionFilter:
    if capture_intermediates is False:
        return mutable
    return union_filters(mutable, "intermediates")


def _own_names(module: Module) -> list[str]:
    """Name what the user has given a module: fields, attributes and methods."""
    classes = type(module).__mro__[: type(module).__mro__.index(Module)]
    names = [*vars(module), *(name for cls in classes for name in vars(cls))]
    return [name for name in names if not name.startswith("_") and name not in ("name", "scope")]


def _scope_function(
    module: Module,
    caller: str,
    method: Callable[..., Any] | str | None,
    capture_intermediates: bool | CaptureFilter,
) -> Callable[..., Any]:
    """Give the function of a scope that calls a method of a module."""
    _check_instance(module, caller)
    fn = resolve_method(module, method)

    @functools.wraps(fn)
    def run(scope: Scope, /, *args: Any, **kwargs: Any) -> Any:
        if capture_intermediates is False:
            return fn(bound_copy(module, scope), *args, **kwargs)
        with capturing(capture_intermediates):
            return fn(bound_copy(module, scope), *args, **kwargs)

    return run
