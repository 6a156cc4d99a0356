"""Errors of scopes and variables."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from linen_core.errors._base import LinenError, describe, listed, place


class ApplyScopeInvalidVariablesTypeError(LinenError, TypeError):
    """The variables are not a mapping from collection names to mappings."""

    def __init__(self, variables: Any) -> None:
        """Describe what was given."""
        if not isinstance(variables, Mapping):
            found = f"but got {describe(variables)}."
        else:
            wrong = {k: v for k, v in variables.items() if not isinstance(v, Mapping)}
            name, value = next(iter(wrong.items()))
            found = (
                f"but got keys {listed(variables)}, where {name!r} is {describe(value)}. "
                'If these are the parameters, did you mean {"params": ...}?'
            )
        super().__init__(
            "The variables must be a dict from collection names to nested dicts, such as "
            f'{{"params": {{...}}, "batch_stats": {{...}}}}, {found}'
        )


class ApplyScopeInvalidVariablesStructureError(LinenError, ValueError):
    """The collection "params" holds a "params" of its own."""

    def __init__(self) -> None:
        """Say which layer is too much."""
        super().__init__(
            'The variables are {"params": {"params": ...}}, with one layer too many. If you '
            'wrote {"params": variables}, pass the variables themselves, or {"params": variables["params"]}.'
        )


class ScopeVariableNotFoundError(LinenError, KeyError):
    """A variable that is needed does not exist and cannot be created here."""

    path: tuple[str, ...]
    collection: str
    name: str
    is_mutable: bool

    def __init__(
        self,
        path: Sequence[str],
        collection: str,
        name: str,
        found: Iterable[str] = (),
        is_mutable: bool = False,
    ) -> None:
        """Say where the variable was looked for and what is there."""
        self.path, self.collection, self.name = tuple(path), collection, name
        self.is_mutable = is_mutable
        names = list(found)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        there = f"only {listed(names)}" if names else "nothing"
        super().__init__(
            f'{place(path)} needs the {self._kind()} "{name}" in collection "{collection}", but '
            f"found {there} there.{hint} {self._remedy()}"
        )

    def __str__(self) -> str:
        # KeyError would show the text as a quoted string.
        return str(self.args[0])

    def _kind(self) -> str:
        return "variable"

    def _remedy(self) -> str:
        if self.is_mutable:
            return f'Say how to create it: variable("{self.collection}", "{self.name}", init_fn).'
        return (
            f'Pass variables that contain it, or mutable=["{self.collection}"] to have it created.'
        )


class ScopeParamNotFoundError(ScopeVariableNotFoundError):
    """A parameter that is needed is not in the variables."""

    def _kind(self) -> str:
        return "parameter"

    def _remedy(self) -> str:
        return (
            "The parameters are of another model, or of this one before it changed: compare them "
            "with model.init(...)."
        )


class ScopeCollectionNotFound(LinenError, KeyError):  # noqa: N818 - the name users know
    """A variable is needed from a collection that is missing or empty at this place."""

    path: tuple[str, ...]
    collection: str
    name: str

    def __init__(
        self,
        path: Sequence[str],
        collection: str,
        name: str,
        collections: Iterable[str],
        nearest: tuple[Sequence[str], Iterable[str]] | None = None,
    ) -> None:
        """Say what was looked for, and which collections or which siblings there are."""
        self.path, self.collection, self.name = tuple(path), collection, name
        keys = list(collections)
        if nearest is None:
            found = f"at all; got keys {listed(keys)}."
        else:
            siblings = [sibling for sibling in nearest[1] if sibling not in path]
            near = difflib.get_close_matches(path[len(nearest[0])], siblings, n=1)
            beside = f" {place(nearest[0])} has {listed(siblings)}." if siblings else ""
            found = f"here.{beside}" + (f" Did you mean {near[0]!r}?" if near else "")
        super().__init__(
            f'{place(path)} needs "{name}" from collection "{collection}", but there is nothing in '
            f"that collection {found} {self._remedy(collection, keys)}"
        )

    def _remedy(self, collection: str, keys: Sequence[str]) -> str:
        if collection != "params":
            return f'Pass it with the variables, or mutable=["{collection}"] to have it created.'
        if keys and "params" not in keys:
            return 'Did you mean {"params": ...}?'
        return "Pass what init returned: variables = model.init(key, x)."

    def __str__(self) -> str:
        return str(self.args[0])


class ParameterMismatch(NamedTuple):
    """One parameter that is not what its initializer makes.

    Attributes:
        path: the module path.
        name: the name of the parameter.
        expected: the shape, or the structure of shapes, that the initializer makes.
        found: the same of the parameter.
    """

    path: tuple[str, ...]
    name: str
    expected: str
    found: str


class ScopeParamShapeError(LinenError, ValueError):
    """Parameters do not have the shape or structure that their initializers make.

    Attributes:
        mismatches: the ones that are known.
        is_complete: whether others have been looked for.
    """

    rows_shown: int = 20
    mismatches: tuple[ParameterMismatch, ...]
    is_complete: bool

    def __init__(
        self, mismatches: Sequence[ParameterMismatch], inputs: str = "", is_complete: bool = False
    ) -> None:
        """Show every mismatch, and the shapes of the inputs if they are known."""
        self.mismatches = tuple(mismatches)
        self.is_complete = is_complete
        rows = [
            f'{place(m.path)}: the parameter "{m.name}" was found with {m.found}, but its '
            f"initializer makes {m.expected}."
            for m in self.mismatches[: self.rows_shown]
        ]
        if (more := len(self.mismatches) - self.rows_shown) > 0:
            rows.append(f"... and {more} more.")
        given = f" The inputs were {inputs}." if inputs else ""
        rows[-1] += (
            f"{given} Either the input has another size than at init, or the parameters are of "
            "another configuration of the model."
        )
        super().__init__("\n".join(rows))


class ModifyScopeVariableError(LinenError, ValueError):
    """A variable is changed or created in a collection that is immutable."""

    path: tuple[str, ...]
    collection: str
    name: str

    def __init__(self, path: Sequence[str], collection: str, name: str) -> None:
        """Say what to pass to make the collection mutable."""
        self.path, self.collection, self.name = tuple(path), collection, name
        super().__init__(
            f'{place(path)} changes "{name}" in collection "{collection}", which is immutable here. '
            f'Write y, updates = model.apply(variables, ..., mutable=["{collection}"]) and merge '
            "updates into the variables."
        )


class PerturbationMismatchError(LinenError, ValueError):
    """A perturbation does not have the structure and shapes of the value that it is added to."""

    def __init__(
        self, path: Sequence[str], collection: str, name: str, found: Any, expected: Any
    ) -> None:
        """Show the shapes of both."""
        super().__init__(
            f'{place(path)} adds the perturbation "{name}" of collection "{collection}" to a value '
            f"of shape {expected}, but found shape {found}. Create the perturbations with inputs of "
            f'the same shapes: model.init(key, x)["{collection}"].'
        )


class InvalidScopeError(LinenError, RuntimeError):
    """A scope is used after the `init` or `apply` that it belonged to has ended."""

    def __init__(self, path: Sequence[str]) -> None:
        """Name the scope."""
        super().__init__(
            f"{place(path)} is used after its init or apply has ended. Return values, not modules "
            "or scopes, from init and apply; to work with a module at leisure, write "
            "bound = model.bind(variables)."
        )


class InvalidNameError(LinenError, TypeError):
    """The name of a submodule or variable is no string."""

    path: tuple[str, ...]
    name: Any

    def __init__(self, path: Sequence[str], name: Any) -> None:
        """Name what was given."""
        self.path, self.name = tuple(path), name
        super().__init__(
            f"{place(path)} names a submodule or variable {describe(name)}, but names are strings. "
            f"Write {str(name)!r}."
        )


class FlagNotFoundError(LinenError, KeyError, ValueError):
    """A scope is asked for a flag that was not given to its `init`, `apply` or `bind`."""

    path: tuple[str, ...]
    flag: str

    def __init__(self, path: Sequence[str], flag: str, flags: Iterable[str]) -> None:
        """Say which flags there are."""
        self.path, self.flag = tuple(path), flag
        super().__init__(
            f'{place(path)} asks for the flag "{flag}"; the flags given are {listed(flags)}. Write '
            f'get_flag("{flag}", default), or pass flags={{"{flag}": ...}} to init, apply or bind.'
        )

    def __str__(self) -> str:
        return str(self.args[0])


class JaxTransformError(LinenError, RuntimeError):
    """Variables are created or changed inside a raw JAX transformation."""

    def __init__(self, path: Sequence[str], action: str) -> None:
        """Say what happened where, and what to use instead."""
        super().__init__(
            f"{place(path)} {action} inside a JAX transformation that began after the module was "
            "bound, where the result would be lost or leak a tracer. Use the lifted transformation "
            "instead of the raw one: linen_transforms.vmap, scan, jit, remat, grad, ... in place "
            "of jax.vmap, jax.lax.scan, jax.jit, jax.checkpoint, jax.grad, ..."
        )


class LazyInitError(LinenError, ValueError):
    """An initial value depends on the data of an argument that is only a shape and dtype."""

    @classmethod
    def of_value(cls, path: str, spec: Any) -> Self:
        """Name the variable and the argument."""
        return cls(
            f"The initial value of {path} depends on the values of an argument that was given as "
            f"{spec}. Pass a real array for this argument."
        )

    @classmethod
    def of_call(cls, reason: str, spec: Any) -> Self:
        """Say why the call has to run as it is."""
        return cls(
            f"This call has to run with real arrays, because {reason}, but an argument was given as "
            f"{spec}. Pass a real array for this argument."
        )
