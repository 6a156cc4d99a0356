"""Purifying: from bound modules to a pure function, and back.

A bound module reads and changes variables of a scope, and draws from its random streams. JAX's own
transformations, and libraries built on them, want a function of arrays instead: a solver of
differential equations calls it in a loop that no lifted transformation knows of.

`purify` takes a module, or a function that uses modules, apart into such a function and its
**variables**. Calling it makes scopes of its own, which end with the call, and copies of the modules
in them. Random streams are keys that the caller gives. What the function has changed is part of its
result; **putting back** means to store that in the scopes that the modules were bound to.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from linen_core import CollectionFilter, Rngs, Scope, Variables
from linen_core.extend import standing_alone
from linen_transforms._bind import Binding, is_module
from linen_transforms.errors import PurifyError


class PureFunction:
    """What `purify` makes of modules: a function of variables and arguments.

    The same variables, arguments and keys give the same result, whatever was called before.
    """

    def __init__(self, target: Callable[..., Any], mutable: CollectionFilter) -> None:
        """Take a bound module, or a function that uses some."""
        self._target = target
        self._mutable = mutable
        self._binding = Binding(target)
        self._place = _common_place(target, self._binding.scopes)
        depth = len(self._place.path)
        self._paths = [scope.path[depth:] for scope in self._binding.scopes]

    def __repr__(self) -> str:
        return f"<pure function of {self._target!r}, with variables of {self._place.path_text}>"

    def __call__(
        self, variables: Variables, /, *args: Any, rngs: Rngs | None = None, **kwargs: Any
    ) -> Any:
        """Call it.

        Args:
            variables: nested dicts like those that `purify` gave.
            *args: arguments of what was purified.
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            **kwargs: keyword arguments of what was purified.

        Returns:
            The result; if anything is mutable, a pair of that and the variables of the mutable
            collections.

        Raises:
            PurifyError: the first argument is not a dict of collections, or an argument holds a
                bound module.
            InvalidRngError: something draws from a stream that is not in `rngs`.
        """
        if not isinstance(variables, Mapping) or not all(map(_is_mapping, variables.values())):
            raise PurifyError.of_variables(variables)
        if Binding(args, kwargs).scopes:
            raise PurifyError.of_argument()
        place = self._place
        scope = Scope(
            variables,
            rngs,
            name=place.name,
            mutable=self._mutable,
            path=place.path,
            debug_path=place.debug_path,
            flags=place.flags,
        )
        scope.owner = place.owner
        with scope.temporary(), standing_alone():
            inside = self._binding.inside([_below(scope, path) for path in self._paths])
            y = inside(self._target)(*args, **kwargs)
            return y if self._mutable is False else (y, scope.mutable_variables())

    def variables(self) -> dict[str, Any]:
        """Give the variables that the modules have now.

        Returns:
            A dict from collections to nested dicts. Paths begin at the place of the module, or at
            the innermost place that all modules in use have in common.
        """
        variables: dict[str, Any] = {}
        for path in sorted(set(self._paths), key=len):
            for col, tree in _below(self._place, path).variables().items():
                if tree:
                    _insert(variables.setdefault(col, {}), path, tree)
        return variables

    def put_back(self, updates: Variables) -> None:
        """Store variables in the scopes that the modules are bound to.

        Args:
            updates: nested dicts like those that a call gives for mutable collections. What they do
                not name stays as it is.

        Raises:
            ModifyScopeVariableError: a collection is immutable there.
            JaxTransformError: called inside a raw JAX transformation.
            InvalidScopeError: the `init` or `apply` that the modules belong to has ended.
            PurifyError: `updates` is not a dict of collections.
        """
        if not isinstance(updates, Mapping) or not all(map(_is_mapping, updates.values())):
            raise PurifyError.of_variables(updates)
        for col, tree in updates.items():
            _put(self._place, col, tree)


def purify(target: Any, mutable: CollectionFilter = False) -> tuple[PureFunction, dict[str, Any]]:
    """Take a bound module, or a function that uses some, apart into a pure function and variables.

    It works on what `model.bind(...)` gives, and inside of methods. There, the variables must exist
    already: during `init`, call the module once before. The function does not make new submodules.
    Modules are found in closures, in `functools.partial` and as owners of methods, but not among
    global variables.

    Args:
        target: a bound module, for its `__call__`, one of its methods, or a function that has such
            modules captured.
        mutable: a filter of the collections that the function may change.

    Returns:
        A pair: the function of the variables and the arguments, and the variables.

    Raises:
        PurifyError: no bound module is in use, or modules that are bound to different variables.
        InvalidScopeError: the `init` or `apply` that the modules belong to has ended.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_transforms import purify
        >>> class Decay(Module):
        ...     @compact
        ...     def __call__(self, y):
        ...         return -self.param("rate", jax.nn.initializers.ones, ()) * y
        >>> class Integral(Module):
        ...     @compact
        ...     def __call__(self, y):
        ...         decay = Decay()
        ...         decay(y)  # makes the parameter
        ...         pure, variables = purify(decay)
        ...         step = lambda _, y: y + 0.5 * pure(variables, y)
        ...         return jax.lax.fori_loop(0, 3, step, y)
        >>> Integral().init_with_output(jax.random.key(0), 8.0)[0].item()
        1.0

        State goes out, and comes back:

        >>> class Count(Module):
        ...     @compact
        ...     def __call__(self):
        ...         calls = self.variable("state", "calls", lambda: 0)
        ...         calls.value += 1
        >>> count = Count().bind({"state": {"calls": 4}}, mutable=["state"])
        >>> pure, variables = purify(count, mutable=["state"])
        >>> _, updates = pure(variables)
        >>> pure.put_back(updates)
        >>> count.variables
        {'state': {'calls': 5}}
    """
    if not callable(target):
        raise PurifyError.of_nothing(target)
    pure = PureFunction(target, mutable)
    return pure, pure.variables()


def _common_place(target: Any, scopes: Sequence[Scope]) -> Scope:
    """Give the innermost scope that is around some scopes."""
    if not scopes:
        raise (
            PurifyError.of_unbound(target) if is_module(target) else PurifyError.of_nothing(target)
        )
    first = scopes[0]
    if not all(first.is_same_tree(scope) for scope in scopes):
        raise PurifyError.of_different_trees()
    levels = zip(*(scope.path for scope in scopes), strict=False)
    depth = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    place: Any = first
    while len(place.path) > depth:
        place = place.parent
    return place


def _below(scope: Scope, path: Sequence[str]) -> Scope:
    for name in path:
        scope = scope.push(name, reuse=True)
    return scope


def _insert(tree: dict[str, Any], path: Sequence[str], branch: dict[str, Any]) -> None:
    for name in path:
        tree = tree.setdefault(name, {})
    tree.update(branch)


def _put(scope: Scope, col: str, tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            _put(scope.push(name, reuse=True), col, value)
        else:
            scope.put_variable(col, name, value)


def _is_mapping(tree: Any) -> bool:
    return isinstance(tree, Mapping)
