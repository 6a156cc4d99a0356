"""Abstract modules: a model with shapes and dtypes in the place of arrays.

`model.abstract(*args)` traces one call of the model and keeps the tree of modules that the call has
made, with a **spec** (`jax.ShapeDtypeStruct`) wherever the call had an array: in the variables, in
the attributes that `setup` computed, in what each module returned. Nothing is computed. The tree is
for reading: its collections are immutable and it has no random streams.

Specs do not compute, so a method of an abstract module cannot run as it is. Its call is traced
instead, in a **replay**: a trace makes the whole tree anew, by the same call of the model, and then
calls the method of the module in the same place. It takes the time of a trace, and gives specs.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import jax

from linen_core import _functional
from linen_core._context import intercepting
from linen_core._dicts import map_in_order
from linen_core._filters import CollectionFilter, DenyList
from linen_core._module.copies import bound_copy
from linen_core._module.fields import RESERVED
from linen_core._module.intercept import MethodContext
from linen_core._module.lifecycle import ModuleState
from linen_core._module.methods import resolve_method
from linen_core._module.pure import PureFunctions, check_instance
from linen_core._rngs import Rngs, as_streams
from linen_core._scope import Scope
from linen_core._trace import NEEDS_VALUES
from linen_core._variable import Variable
from linen_core.errors import AbstractValueError, NoOutputSpecsError
from linen_core.tracebacks import hide_frames

_NOT_INTERMEDIATES = DenyList("intermediates")


class AbstractModules(PureFunctions):
    """What a module can do with shapes and dtypes alone."""

    def abstract(
        self,
        *args: Any,
        rngs: Rngs | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        **kwargs: Any,
    ) -> Self:
        """Give a copy of the module that holds shapes and dtypes, to look at a model of any size.

        The variables are those that `init` would create with the same arguments. Submodules are
        attributes, those of `@compact` methods under their names; each has `variables`, `path` and
        `output_specs`. Calling a method gives the specs of what it returns. Nothing can be changed.

        Args:
            *args: arguments of the method. Arrays may be given as `jax.ShapeDtypeStruct`.
            rngs: a key, for the stream "params", or a dict from stream names to keys. What the
                keys are makes no difference, only which streams there are; None stands for
                "params" alone.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            mutable: a filter of the collections to create.
            **kwargs: keyword arguments of the method.

        Returns:
            A bound module whose variables are `jax.ShapeDtypeStruct`s.

        Raises:
            AbstractValueError: the model needs the values of arrays, as a Python `if` on one does.
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.

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
            ...     @compact
            ...     def __call__(self, x):
            ...         x = Dense(1000)(x)
            ...         return Dense(3)(jax.nn.relu(x))
            >>> model = MLP().abstract(jax.ShapeDtypeStruct((8, 500), "float32"))
            >>> model.Dense_0.variables["params"]["kernel"]
            ShapeDtypeStruct(shape=(500, 1000), dtype=float32)
            >>> model.Dense_0.output_specs
            ShapeDtypeStruct(shape=(8, 1000), dtype=float32)
            >>> model(jax.ShapeDtypeStruct((1, 500), "float32"))
            ShapeDtypeStruct(shape=(1, 3), dtype=float32)
        """
        try:
            check_instance(self, "abstract")
            key = {"params": jax.eval_shape(jax.random.key, 0)}
            streams = key if rngs is None else as_streams(rngs, "rngs")
            args, kwargs, streams = _specs((args, kwargs, streams))
            return Recipe(self, method, args, kwargs, streams, mutable).module()
        except Exception as error:
            hide_frames(error)
            raise

    @property
    def output_specs(self) -> Any:
        """What an abstract module returned when the model was traced, with specs for arrays.

        Of several calls of its methods it is the last one to end.

        Raises:
            NoOutputSpecsError: the module is not abstract, or the model has not called it.
        """
        state = self._state
        if not state.is_abstract:
            raise NoOutputSpecsError.of_concrete(type(self).__name__)
        if not state.was_called:
            raise NoOutputSpecsError.of_uncalled(type(self).__name__, self.path)
        return state.output_specs


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A call of a model, with specs for arrays: all that its abstract tree is made of."""

    model: Any
    method: Callable[..., Any] | str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    streams: dict[str, Any]
    mutable: CollectionFilter

    def module(self, place: tuple[str, ...] = ()) -> Any:
        """Trace the call and give the abstract module in a place."""
        # With the modules, so that no other one gets the id of one that is gone.
        outputs: dict[int, tuple[Any, Any]] = {}

        def record(
            next_fun: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            called: MethodContext,
        ) -> Any:
            y = next_fun(*args, **kwargs)
            if called.method_name != "setup":
                outputs[id(called.module)] = called.module, _specs(y)
            return y

        def run(*inputs: Any) -> Any:
            with intercepting(record, outermost=True):
                bound = self._call(*inputs)
            _move(bound, _functional.bind(_specs(bound.scope.variables())), _spec)
            for place, module in dict(_places(bound)).items():
                module.__dict__["_state"] = AbstractState(self, place, module, outputs)
            return bound

        bound = self._trace(run, self.streams, self.args, self.kwargs)
        return _at(bound, place)

    def call(
        self,
        place: tuple[str, ...],
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Replay the call, and give the specs of what a method of the module in a place returns."""

        def run(streams: Any, own: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            bound = self._call(streams, *own)
            _move(bound, Scope(bound.scope.variables(), streams, mutable=self.mutable))
            return _specs(method(_at(bound, place), *args, **kwargs))

        return self._trace(run, self.streams, (self.args, self.kwargs), args, kwargs)

    def _call(self, streams: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the model as `init` does; give the bound module."""
        scope = Scope({}, streams, mutable=self.mutable, flags={"initializing": True})
        bound = bound_copy(self.model, scope)
        resolve_method(self.model, self.method)(bound, *args, **kwargs)
        return bound

    def _trace(self, run: Callable[..., Any], *inputs: Any) -> Any:
        """Call a function with tracers for the arrays and specs in its arguments."""
        arrays: list[Any] = []
        map_in_order(lambda leaf: arrays.append(leaf) if _is_array(leaf) else None, inputs)
        results: list[Any] = []
        errors: list[Exception] = []

        def traced(*tracers: Any) -> tuple[()]:
            remaining = iter(tracers)
            try:
                results.append(
                    run(*map_in_order(lambda x: next(remaining) if _is_array(x) else x, inputs))
                )
            except Exception as error:
                # Not through JAX, which would add its own word to it.
                errors.append(error)
            return ()

        jax.eval_shape(traced, *arrays)
        if not errors:
            return results.pop()
        error = errors.pop()
        if isinstance(error, NEEDS_VALUES):
            explained = AbstractValueError(type(self.model).__name__, error)
            raise explained.with_traceback(error.__traceback__) from None
        raise error


class AbstractState(ModuleState):
    """The state of an abstract module."""

    __slots__ = ("_recipe", "output_specs", "place", "was_called")

    is_abstract: ClassVar[bool] = True

    def __init__(
        self,
        recipe: Recipe,
        place: tuple[str, ...],
        module: Any,
        outputs: Mapping[int, tuple[Any, Any]],
    ) -> None:
        for name in ModuleState.__slots__:
            setattr(self, name, getattr(module._state, name))
        self._recipe = recipe
        self.place = place
        self.was_called = id(module) in outputs
        self.output_specs = outputs[id(module)][1] if self.was_called else None
        # Before a method may run there is something to do, as there is before `setup` has run.
        self.needs_setup = True

    def call(self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """Call a method of the module, abstractly."""
        return self._recipe.call(self.place, method, args, kwargs)

    def reduce(self) -> tuple[Any, ...]:
        """Say how to make the module again, to pickle."""
        return self._recipe.module, (self.place,)


def _places(module: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all modules of a tree with the names of the submodules that lead there."""
    yield place, module
    for name, child in module._state.children.items():
        yield from _places(child, (*place, name))


def _at(module: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        module = module._state.children[name]
    return module


def _move(module: Any, root: Scope, leaf: Callable[[Any], Any] = lambda leaf: leaf) -> None:
    """Give all modules of a tree scopes at the same paths below another root.

    Args:
        module: the top-level module.
        root: the other root.
        leaf: gives what the leaves of the modules' attributes become.
    """
    scopes = _Scopes(root)

    def moved(value: Any) -> Any:
        if isinstance(value, Variable):
            scope = scopes.at(value.scope.path)
            return Variable(scope, value.collection, value.name, value.unbox)
        return leaf(value)

    for _, one in _places(module):
        attributes = vars(one)
        scope = attributes["scope"] = scopes.at(one.scope.path)
        scope.owner = type(one).__name__
        for name in attributes.keys() - RESERVED - {"name"}:
            attributes[name] = map_in_order(moved, attributes[name])


class _Scopes:
    """The scopes of one tree, by path."""

    def __init__(self, root: Scope) -> None:
        self._known: dict[tuple[str, ...], Scope] = {(): root}

    def at(self, path: tuple[str, ...]) -> Scope:
        if path not in self._known:
            self._known[path] = self.at(path[:-1]).push(path[-1], reuse=True)
        return self._known[path]


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, jax.ShapeDtypeStruct))


def _specs(tree: Any) -> Any:
    return map_in_order(_spec, tree)


def _spec(x: Any) -> Any:
    """Give the spec of a JAX array; everything else stays what it is."""
    if not isinstance(x, jax.Array):
        return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=jax.typeof(x).weak_type)
