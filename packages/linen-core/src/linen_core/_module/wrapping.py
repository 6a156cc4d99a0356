"""Wrapping: what happens around a method call.

Methods are wrapped once, when their class is made. Around a call of a method of an attached
module, the wrapper sets the module up if that is still to do, puts it on the module stack, so that
modules constructed in the method find their parent, and opens a `jax.named_scope`. A `@compact`
method may also make submodules and variables; when the outermost one returns, the names that
it used are free again, so that a second call reuses the same submodules. A method decorated with
`@compact_name_scope` is called as the method of a submodule, its name scope.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from linen_core._context import context
from linen_core._module.fields import state_of
from linen_core._module.intercept import call_intercepted
from linen_core._module.lifecycle import ready, set_up
from linen_core.config import config
from linen_core.errors import CallCompactUnboundModuleError, CallSetupUnboundModuleError
from linen_core.tracebacks import hide_frames

F = TypeVar("F", bound=Callable[..., Any])

# Python calls these at times when a module cannot run: while it is made, copied or shown.
_NEVER_WRAPPED = frozenset(
    {
        "__init__", "__new__", "__post_init__", "__init_subclass__", "__class_getitem__",
        "__getattr__", "__getattribute__", "__setattr__", "__delattr__", "__dir__", "__eq__",
        "__ne__", "__hash__", "__repr__", "__str__", "__format__", "__copy__", "__deepcopy__",
        "__replace__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__",
        "__getnewargs__", "__getnewargs_ex__", "__del__", "__sizeof__", "__treescope_repr__",
    }
)  # fmt: skip


def compact(fun: F) -> F:
    """Let a method define submodules and variables where it uses them.

    Submodules are named by their class and a number ("Dense_0"), unless they are given a name.

    Args:
        fun: a method of a Module class.

    Returns:
        The method, marked.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
        >>> Scale().init(jax.random.key(0), jax.numpy.ones(2))["params"]["scale"].shape
        (2,)
    """
    vars(fun)["compact"] = True
    return fun


def compact_name_scope(fun: F) -> F:
    """Make a method compact and put what it constructs under the method's name.

    Several methods of one class can be decorated so; their submodules do not meet. Parameters
    that the method makes with `self.param` are those of the module itself, and so is what other
    methods construct that it calls.

    Args:
        fun: a method of a Module class.

    Returns:
        The method, marked.

    Raises:
        CallCompactUnboundModuleError: (when called) the module is not bound.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact, compact_name_scope
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
        >>> class Autoencoder(Module):
        ...     @compact_name_scope
        ...     def encode(self, x):
        ...         return Scale()(x)
        ...     @compact_name_scope
        ...     def decode(self, x):
        ...         return Scale()(x)
        ...     def __call__(self, x):
        ...         return self.decode(self.encode(x))
        >>> variables = Autoencoder().init(jax.random.key(0), jax.numpy.ones(2))
        >>> {name: list(params) for name, params in variables["params"].items()}
        {'encode': ['Scale_0'], 'decode': ['Scale_0']}
    """
    vars(fun)["compact_name_scope"] = True
    return fun


def nowrap(fun: F) -> F:
    """Leave a method as it is: calls neither set the module up nor make it a parent.

    Modules that the method constructs belong to whoever calls it.

    Args:
        fun: a method of a Module class.

    Returns:
        The method, marked.

    Example:
        >>> from linen_core import Module, nowrap
        >>> class Stem(Module):
        ...     width: int = 3
        ...     @nowrap
        ...     def doubled(self):
        ...         return 2 * self.width
        >>> Stem().doubled()
        6
    """
    vars(fun)["nowrap"] = True
    return fun


def wrap_methods(cls: type) -> None:
    """Wrap the methods that a class body defines."""
    fields = getattr(cls, "__dataclass_fields__", {})
    bodies: dict[str, Any] = {}
    for name, value in list(vars(cls).items()):
        if not isinstance(value, types.FunctionType) or name in fields or name in _NEVER_WRAPPED:
            continue
        if not hasattr(value, "nowrap") and not hasattr(value, "method_handler_wrapped"):
            bodies[name] = value
            setattr(cls, name, _wrapper_of(name, value)(name, value))
    # The autoreload of notebooks updates the functions that it finds in a class and the classes in
    # it. It cannot look into the wrappers, but finds what they call here.
    names = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}._bodies"}
    setattr(cls, "_bodies", type("_bodies", (), bodies | names))  # noqa: B010


def add_name_scopes(cls: Any) -> None:
    """Let `setup` make the name scopes of a class first, so that their names are taken."""
    own = [name for name, value in vars(cls).items() if hasattr(value, "compact_name_scope")]
    inherited = [name for base in cls.__bases__ for name in getattr(base, "_name_scopes", ())]
    cls._name_scopes = tuple(dict.fromkeys(inherited + own))
    if not cls._name_scopes:
        return
    set_up_rest = cls.setup

    @functools.wraps(set_up_rest)
    def setup(self: Any) -> None:
        # Here, since name scopes are modules.
        from linen_core._module.name_scopes import make_name_scopes

        make_name_scopes(self)
        set_up_rest(self)

    cls.setup = setup


def _wrapper_of(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
    if name == "setup":
        return _wrap_setup
    return _wrap_name_scope if hasattr(fun, "compact_name_scope") else _wrap


def _wrap(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
    is_compact = hasattr(fun, "compact")
    suffix = "" if name == "__call__" else f".{name}"

    @functools.wraps(fun)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self)
        scope = self.scope
        modules = context.modules
        try:
            if scope is None:
                if is_compact:
                    raise CallCompactUnboundModuleError(type(self).__name__, name)
            elif state.needs_setup:
                if state.is_abstract:
                    return state.call(call, args, kwargs)
                if not scope._tree.is_own_trace():
                    with ready(self):
                        return call(self, *args, **kwargs)
                set_up(self)
            modules.append(self)
            reservations = _enter_compact(state, scope) if is_compact else None
            try:
                run = fun
                if context.interceptors:
                    run = functools.partial(call_intercepted, fun, name)
                if scope is None or not config.profile:
                    return run(self, *args, **kwargs)
                with jax.named_scope((self.name or type(self).__name__) + suffix):
                    return run(self, *args, **kwargs)
            finally:
                if is_compact:
                    _leave_compact(self, reservations)
                modules.pop()
        except Exception as error:
            if modules[-1] is None:  # the outermost call
                hide_frames(error)
            raise

    vars(call)["method_handler_wrapped"] = True
    return call


def _wrap_name_scope(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fun)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self)
        try:
            if self.scope is None:
                raise CallCompactUnboundModuleError(type(self).__name__, name)
            if state.needs_setup and state.is_abstract:
                return state.call(call, args, kwargs)
            return run(self, args, kwargs)
        except Exception as error:
            if context.modules[-1] is None:  # the outermost call
                hide_frames(error)
            raise

    def run(self: Any, args: Any, kwargs: Any) -> Any:
        state = self._state

        @compact
        def method(name_scope: Any, /, *args: Any, **kwargs: Any) -> Any:
            del name_scope  # it is on the module stack, and owns what is constructed
            return fun(self, *args, **kwargs)

        with ready(self):
            reservations = _enter_compact(state, self.scope)
            try:
                return _wrap("__call__", method)(state.children[name], *args, **kwargs)
            finally:
                _leave_compact(self, reservations)

    vars(call)["method_handler_wrapped"] = True
    return call


def _enter_compact(state: Any, scope: Any) -> Any:
    state.compact_depth += 1
    return scope.reservations() if state.compact_depth == 1 else None


def _leave_compact(module: Any, reservations: Any) -> None:
    state = module._state
    state.compact_depth -= 1
    if state.compact_depth == 0:
        # By now the module may have moved to another scope, by `share_scope`.
        module.scope.restore_reservations(reservations)
        state.autoname_counts = {}


def _wrap_setup(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fun)
    def setup(self: Any) -> None:
        if self.scope is None:
            raise CallSetupUnboundModuleError(type(self).__name__)
        if context.interceptors:
            call_intercepted(fun, name, self)
        else:
            fun(self)

    vars(setup)["method_handler_wrapped"] = True
    return setup
