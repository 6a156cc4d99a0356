"""The errors of linen-core: one class per condition.

```
LinenError
├─ ConfigError (ValueError)                                a setting that does not exist, or a bad value
├─ InvalidFilterError (TypeError)                          something that is no filter
├─ InvalidRngError (ValueError)                            not a key, or a stream that was not given
├─ scopes and variables
│  ├─ ApplyScopeInvalidVariablesTypeError (TypeError)      `variables` is no mapping of collections
│  ├─ ApplyScopeInvalidVariablesStructureError (ValueError)  `variables` has a layer too many
│  ├─ ScopeCollectionNotFound (KeyError)                   a collection is missing or empty
│  ├─ ScopeVariableNotFoundError (KeyError)                a variable is missing
│  │  └─ ScopeParamNotFoundError                           a parameter is missing
│  ├─ ScopeParamShapeError (ValueError)                    a parameter is not what its initializer makes
│  ├─ ModifyScopeVariableError (ValueError)                a change in an immutable collection
│  ├─ InvalidScopeError (RuntimeError)                     a scope is used after its `init` or `apply`
│  ├─ JaxTransformError (RuntimeError)                     variables change inside a raw JAX transformation
│  └─ LazyInitError (ValueError)                           an initial value needs data that is not there
├─ modules
│  ├─ NameInUseError (ValueError)                          two things of one name
│  ├─ AssignSubModuleError (ValueError)                    a submodule made outside `setup` and `@compact`
│  ├─ AssignVariableError (ValueError)                     the same for a parameter or variable
│  ├─ SetAttributeFrozenModuleError (AttributeError, TypeError)  an attribute set outside `setup`
│  ├─ SetAttributeInModuleSetupError (TypeError)           a dataclass field set in `setup`
│  ├─ ReservedModuleAttributeError (TypeError)             a class uses a name that Module needs
│  ├─ IncorrectPostInitOverrideError (TypeError)           `super().__post_init__()` was not called
│  ├─ UnboundModuleError (RuntimeError)                    something that needs variables, on a bare module
│  │  ├─ CallCompactUnboundModuleError
│  │  ├─ CallSetupUnboundModuleError
│  │  └─ CallUnbindOnUnboundModuleError
│  ├─ MissingAttributeError (AttributeError)               an attribute is not there, or not yet
│  ├─ DescriptorAttributeError (AttributeError)            a property raises AttributeError
│  ├─ ApplyModuleInvalidMethodError (TypeError)            `method=` is no method
│  ├─ BindArgumentsError (TypeError)                       `bind` is given arguments of the model
│  ├─ HashBoundModuleError (TypeError)                     a module that has variables is hashed
│  ├─ InvalidInstanceModuleError (TypeError)               a class where an instance is needed
│  └─ MergeParamError (ValueError)                         an argument given twice, or not at all
└─ trees and state dicts
   ├─ StructDefinitionError (TypeError)                    a class that JAX could not rebuild
   ├─ UnknownStructFieldError (TypeError)                  `replace` with a name that is no field
   ├─ FrozenDictMutationError (TypeError, ValueError)      an entry of a FrozenDict set or deleted
   ├─ NotADictError (TypeError)                            a function over nested dicts given something else
   ├─ TraverseTreeError (ValueError)                       paths that do not describe a nested dict
   ├─ StateDictKeyError (ValueError)                       keys that are no strings, or the same as strings
   ├─ DuplicateSerializationError (ValueError)             a type registered twice
   └─ StateDictMismatchError (ValueError)                  a state dict that does not fit its target
```

A text says where (the module path, as in `encoder/Dense_0`), what was found, what was expected and,
where there is one, the line to write instead.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self


class LinenError(Exception):
    """Base of every error that Linen raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Their constructors take what they tell of, not the text that pickle would pass.
        return _rebuild, (type(self), self.args, vars(self))


def _rebuild(cls: type[LinenError], args: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


class ConfigError(LinenError, ValueError):
    """There is no setting of that name, or the value is not one that it can have."""


class InvalidFilterError(LinenError, TypeError):
    """Something that is no filter was given as one."""

    def __init__(self, filter_like: Any) -> None:
        """Name what was given."""
        super().__init__(
            f"{filter_like!r} is no filter. A filter is True, False, a name, a sequence of names, "
            'or DenyList(filter), for example mutable=["batch_stats"].'
        )


class InvalidRngError(LinenError, ValueError):
    """Something is not a random key, or a random stream is needed that was not given."""

    @classmethod
    def not_a_key(cls, what: str, stream: Any, found: Any) -> Self:
        """Make the error for a value that is not a single key."""
        return cls(
            f"{what} must be a key, or a dict from stream names to keys, made by jax.random.key(seed), "
            f"but stream {stream!r} is {_describe(found)}."
        )

    @classmethod
    def missing_stream(
        cls, path: Sequence[str], stream: str, streams: Iterable[str], initializing: bool
    ) -> Self:
        """Make the error for a draw from a stream that was not given."""
        given = sorted(streams)
        has = f"The streams given are {given}" if given else "No streams were given"
        key = f'"{stream}": jax.random.key(0)'
        call = "init" if initializing else "apply"
        return cls(
            f'{place(path)} draws from the random stream "{stream}", but it was not given. {has}. '
            f"Write {'' if initializing else 'rngs='}{{{key}}} in the call of {call}."
        )


class ApplyScopeInvalidVariablesTypeError(LinenError, TypeError):
    """The variables are not a mapping from collection names to mappings."""

    def __init__(self, variables: Any) -> None:
        """Describe what was given."""
        if not isinstance(variables, Mapping):
            found = f"but got {_describe(variables)}."
        else:
            wrong = {k: v for k, v in variables.items() if not isinstance(v, Mapping)}
            name, value = next(iter(wrong.items()))
            found = (
                f"but got keys {_names(variables)}, where {name!r} is {_describe(value)}. "
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
        near = difflib.get_close_matches(name, list(found), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(
            f'{place(path)} needs the {self._kind()} "{name}" in collection "{collection}", but '
            f"found only {_names(found)} there.{hint} {self._remedy()}"
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
            found = f"at all; got keys {_names(keys)}."
        else:
            siblings = [sibling for sibling in nearest[1] if sibling not in path]
            near = difflib.get_close_matches(path[len(nearest[0])], siblings, n=1)
            beside = f"; {place(nearest[0])} has {_names(siblings)}" if siblings else ""
            found = f"here{beside}." + (f" Did you mean {near[0]!r}?" if near else "")
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

    rows_shown = 20

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

    def __init__(self, path: Sequence[str], collection: str, name: str) -> None:
        """Say what to pass to make the collection mutable."""
        self.path, self.collection, self.name = tuple(path), collection, name
        super().__init__(
            f'{place(path)} changes "{name}" in collection "{collection}", which is immutable here. '
            f'Write y, updates = model.apply(variables, ..., mutable=["{collection}"]) and merge '
            "updates into the variables."
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

    def __init__(self, path: str, spec: Any) -> None:
        """Name the variable and the argument."""
        super().__init__(
            f"The initial value of {path} depends on the values of an argument that was given as "
            f"{spec}. Pass a real array for this argument."
        )


class NameInUseError(LinenError, ValueError):
    """A submodule, parameter or variable has a name that something else at this place has."""

    def __init__(self, kind: str, name: str, path: Sequence[str], owner: str) -> None:
        """Name both sides."""
        self.kind, self.name, self.path = kind, name, tuple(path)
        super().__init__(
            f'{place(path)} ({owner}) already has something named "{name}", so it cannot have a '
            f"{kind} of that name. Give one of them another name; a submodule that is meant to be "
            "shared is made once and called twice."
        )


class AssignSubModuleError(LinenError, ValueError):
    """A submodule is made where its parent cannot own it."""

    def __init__(self, submodule: str, path: Sequence[str], owner: str) -> None:
        """Say where it was made."""
        super().__init__(
            f"{place(path)} ({owner}) makes a submodule {submodule} outside setup() and @compact. "
            f"Write self.layer = {submodule}(...) in setup(), or decorate the method with @compact; "
            f"{submodule}(..., parent=None) makes a module that stands alone."
        )


class AssignVariableError(LinenError, ValueError):
    """A parameter or variable is made where its module cannot own it."""

    def __init__(self, kind: str, name: str, path: Sequence[str], owner: str) -> None:
        """Say where it was made."""
        super().__init__(
            f'{place(path)} ({owner}) makes the {kind} "{name}" outside setup() and @compact. '
            f"Write self.{name} = self.{kind if kind == 'param' else 'variable'}(...) in setup(), "
            "or decorate the method with @compact."
        )


class SetAttributeFrozenModuleError(LinenError, AttributeError, TypeError):
    """An attribute of a module is set after construction and outside `setup`."""

    def __init__(self, owner: str, name: str) -> None:
        """Say what to do instead."""
        super().__init__(
            f"{owner} is frozen outside setup(), so {name!r} cannot be set. Set it in setup(), or make "
            f"a changed copy: module.clone({name}=...). State that changes belongs in a variable: "
            'self.variable("state", ...).'
        )


class SetAttributeInModuleSetupError(LinenError, TypeError):
    """A dataclass field is set in `setup`."""

    def __init__(self, owner: str, name: str) -> None:
        """Say what to do instead."""
        super().__init__(
            f"{owner}.setup() sets {name!r}, which is a field given to the constructor. Fields do not "
            f"change: store the result under another name, for example self.{name}_ = ..."
        )


class ReservedModuleAttributeError(LinenError, TypeError):
    """A module class uses a name that `Module` needs for itself."""

    def __init__(self, owner: str, names: Iterable[str]) -> None:
        """Name them."""
        super().__init__(
            f"The class {owner} defines {_names(names)}, which Module keeps for itself. Choose other "
            "names."
        )


class IncorrectPostInitOverrideError(LinenError, TypeError):
    """A class overrides `__post_init__` and does not call that of `Module`."""

    def __init__(self, owner: str) -> None:
        """Say what to write."""
        super().__init__(
            f"{owner}.__post_init__ does not call super().__post_init__(). Write it as the last line "
            "of the method."
        )


class UnboundModuleError(LinenError, RuntimeError):
    """A module is asked for something that needs variables, and has none."""

    def __init__(self, owner: str, what: str) -> None:
        """Say what was asked for and how to get it."""
        super().__init__(
            f"{owner} is not bound to variables, so {what}. Write model.apply(variables, ...), or "
            "bound = model.bind(variables) and use that."
        )


class CallCompactUnboundModuleError(UnboundModuleError):
    """A compact method is called on a module that has no variables."""

    def __init__(self, owner: str, method: str) -> None:
        """Name the method."""
        super().__init__(owner, f"its compact method {method} cannot be called")


class CallSetupUnboundModuleError(UnboundModuleError):
    """`setup` is called on a module that has no variables."""

    def __init__(self, owner: str) -> None:
        """Name the module."""
        super().__init__(
            owner, "setup() cannot be called (it is called for you, when it is needed)"
        )


class CallUnbindOnUnboundModuleError(UnboundModuleError):
    """`unbind` is called on a module that is not bound."""

    def __init__(self, owner: str) -> None:
        """Name the module."""
        super().__init__(owner, "there is nothing to unbind")


class MissingAttributeError(LinenError, AttributeError):
    """A module has no attribute of that name, or does not have it yet."""

    def __init__(self, owner: str, name: str, is_bound: bool, candidates: Iterable[str]) -> None:
        """Say why it may be missing."""
        near = difflib.get_close_matches(name, list(candidates), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        if not is_bound and not near:
            hint = (
                " If it is created in setup(), it exists only in a bound module: use "
                f"model.bind(variables).{name}."
            )
        super().__init__(f"{owner} has no attribute {name!r}.{hint}", name=name)


class DescriptorAttributeError(LinenError, AttributeError):
    """A property of a module raises AttributeError, which Python would take for its absence."""

    def __init__(self, owner: str, name: str, error: AttributeError) -> None:
        """Tell what the property raised."""
        super().__init__(
            f"The property {name!r} of {owner} raised {type(error).__name__}: {error} Only what "
            "setup() or the class defines can be used in a property.",
            name=name,
        )


class ApplyModuleInvalidMethodError(LinenError, TypeError):
    """The `method` given to `init` or `apply` is no method."""

    def __init__(self, method: Any, owner: str) -> None:
        """Show what was given."""
        super().__init__(
            f"method must be a method of {owner}, its name, or a function whose first argument is a "
            f"module, but got {_describe(method)}. Write for example method={owner}.__call__."
        )


class BindArgumentsError(LinenError, TypeError):
    """`bind` is given arguments of the model."""

    def __init__(self, count: int) -> None:
        """Say what to do with them."""
        super().__init__(
            f"bind takes the variables only, but got {count} more positional arguments. Call the "
            "bound module with them: model.bind(variables)(x)."
        )


class HashBoundModuleError(LinenError, TypeError):
    """A module that has variables is hashed, by a cache or a static argument of `jax.jit`."""

    def __init__(self, owner: str) -> None:
        """Say what to use instead."""
        super().__init__(
            f"{owner} is bound to variables, which its hash would leave out: jax.jit or another cache "
            "would take it for the same module with other variables. Pass the module and its variables "
            "apart, module, variables = bound.unbind(), or call jax.jit(module.apply)(variables, ...)."
        )


class InvalidInstanceModuleError(LinenError, TypeError):
    """A module class is used where an instance is needed."""

    @classmethod
    def of_method(cls, method: str) -> Self:
        """Make the error for a method that is called on a class."""
        return cls(
            f"{method} needs an instance of a module, but was called on a class. Construct the "
            f"module first: MyModule(...).{method}(...)."
        )

    @classmethod
    def of_parent(cls, parent: Any) -> Self:
        """Make the error for a parent that is none."""
        return cls(
            "A parent must be a module instance, a scope, or None for a module that stands alone, "
            f"but got {_describe(parent)}. In most cases it is right not to give one."
        )


class MergeParamError(LinenError, ValueError):
    """An argument that may be given to the constructor or the call was given to both or neither."""

    def __init__(self, name: str, given_twice: bool) -> None:
        """Say which of the two happened."""
        how = "both in the constructor and in the call" if given_twice else "nowhere"
        super().__init__(
            f"{name!r} was given {how}. Give it once: either in the constructor, "
            f"Layer(..., {name}=...), or in the call, layer(x, {name}=...)."
        )


def place(path: Sequence[str]) -> str:
    """Say in words which module a path leads to, as the errors do."""
    return f'The module "{"/".join(path)}"' if path else "The top-level module"


def _names(names: Iterable[str], most: int = 12) -> str:
    shown = [str(name) for name in names]
    rest = f" and {len(shown) - most} more" if len(shown) > most else ""
    return f"{shown[:most]}{rest}"


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return f"{text[:77]}..." if len(text) > 80 else text


# Trees and state dicts


class StructDefinitionError(LinenError, TypeError):
    """A class cannot be a struct as it is written: JAX could not rebuild it from its fields."""


class UnknownStructFieldError(LinenError, TypeError):
    """`replace` was given a name that is no field of the struct."""


class FrozenDictMutationError(LinenError, TypeError, ValueError):
    """An entry of a FrozenDict was set or deleted."""


class NotADictError(LinenError, TypeError):
    """A function over nested dicts was given something else."""


class TraverseTreeError(LinenError, ValueError):
    """A nested dict cannot be flattened, or a flat one does not describe a nested dict."""


class StateDictKeyError(LinenError, ValueError):
    """The keys of a state dict are not strings, or two keys have the same string form."""


class DuplicateSerializationError(LinenError, ValueError):
    """A type has a registered state dict already."""


class StateDictMismatch(NamedTuple):
    """One entry that does not fit between a state dict and its target.

    Attributes:
        kind: "missing" from the state, "unexpected" in the state, or "mismatched" (a leaf in the
            place of a container).
        path: the path of the entry, its parts joined by "/".
        found: what the state has there, in words.
        expected: what the target has there, in words.
    """

    kind: Literal["missing", "unexpected", "mismatched"]
    path: str
    found: str
    expected: str


class StateDictMismatchError(LinenError, ValueError):
    """A state dict does not have the structure of its target.

    Attributes:
        mismatches: every entry that does not fit, over the whole tree.
    """

    rows_shown = 20

    def __init__(self, mismatches: Sequence[StateDictMismatch]) -> None:
        """Keep them all; the text shows the first `rows_shown`."""
        super().__init__(mismatches)
        self.mismatches = tuple(mismatches)

    def __str__(self) -> str:
        counts = Counter(entry.kind for entry in self.mismatches)
        total = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        rows = [
            f"  {kind:<10} {path}: found {found}, expected {expected}"
            for kind, path, found, expected in self.mismatches[: self.rows_shown]
        ]
        if len(self.mismatches) > self.rows_shown:
            rows.append(f"  ... and {len(self.mismatches) - self.rows_shown} more")
        return "\n".join(
            [
                f"The state dict does not fit its target ({total}):",
                *rows,
                "Give from_state_dict a target with the structure that was saved, or edit the state "
                "first (linen_core.traverse_util.flatten_dict and unflatten_dict).",
            ]
        )
