"""A module as pure functions of variables: `init`, `apply`, and `bind`, which holds the variables.

Each of them works on a copy of the module over a new root scope; the module itself never changes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, overload

from linen_core import _functional
from linen_core._context import context
from linen_core._filters import CollectionFilter, DenyList, union_filters
from linen_core._module.copies import bound_copy, detached_copy
from linen_core._module.fields import ModuleBase, state_of
from linen_core._module.intercept import CaptureFilter, capturing
from linen_core._module.methods import resolve_method
from linen_core._module.variables import ModuleVariables
from linen_core._rngs import Rngs
from linen_core._scope import Scope
from linen_core.errors import (
    BindArgumentsError,
    CallUnbindOnUnboundModuleError,
    InvalidInstanceModuleError,
)
from linen_core.tracebacks import hide_frames

_NOT_INTERMEDIATES = DenyList("intermediates")


class PureFunctions(ModuleVariables):
    """What a module can do without being bound."""

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
        try:
            run = scope_function(self, "init", method, capture_intermediates)
            mutable = with_intermediates(mutable, capture_intermediates)
            return _functional.lazy_init(run, mutable)(rngs, *args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

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

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Scale(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
            >>> x = jax.ShapeDtypeStruct((1,), "float32")
            >>> Scale().lazy_init(jax.random.key(0), x)
            {'params': {'scale': Array([1.], dtype=float32)}}
        """
        try:
            run = scope_function(self, "lazy_init", method, False)
            return _functional.lazy_init(run, mutable)(rngs, *args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

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

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Scale(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x * self.param("scale", lambda key: 2.0)
            >>> Scale().init_with_output(jax.random.key(0), 3.0)
            (6.0, {'params': {'scale': 2.0}})
        """
        try:
            run = scope_function(self, "init_with_output", method, capture_intermediates)
            mutable = with_intermediates(mutable, capture_intermediates)
            return _functional.init(run, mutable)(rngs, *args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

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
        try:
            run = scope_function(self, "apply", method, capture_intermediates)
            mutable = with_intermediates(mutable, capture_intermediates)
            return _functional.call(run, variables, rngs, mutable, None, args, kwargs)
        except Exception as error:
            hide_frames(error)
            raise

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
        check_instance(self, "bind")
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


def check_instance(module: Any, method: str) -> None:
    """Refuse a method called on a class, and a module that was not constructed to the end.

    Raises:
        InvalidInstanceModuleError: `module` is no instance.
        IncorrectPostInitOverrideError: construction did not reach `Module.__post_init__`.
    """
    if not isinstance(module, ModuleBase):
        raise InvalidInstanceModuleError.of_method(method)
    state_of(module)


def with_intermediates(
    mutable: CollectionFilter, capture_intermediates: bool | CaptureFilter
) -> CollectionFilter:
    if capture_intermediates is False:
        return mutable
    return union_filters(mutable, "intermediates")


def scope_function(
    module: Any,
    caller: str,
    method: Callable[..., Any] | str | None,
    capture_intermediates: bool | CaptureFilter,
) -> Callable[..., Any]:
    """Give the function of a scope that calls a method of a module."""
    check_instance(module, caller)
    fn = resolve_method(module, method)

    def run(scope: Scope, /, *args: Any, **kwargs: Any) -> Any:
        if capture_intermediates is False and not context.interceptors:
            return fn(bound_copy(module, scope), *args, **kwargs)
        with capturing(capture_intermediates):
            return fn(bound_copy(module, scope), *args, **kwargs)

    return run
