"""Errors of modules."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Self

from linen_core.errors._base import LinenError, describe, listed, place


class NameInUseError(LinenError, ValueError):
    """A submodule, parameter or variable has a name that something else at this place has."""

    kind: str
    name: str
    path: tuple[str, ...]

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
            f"The class {owner} defines {listed(names)}, which Module keeps for itself. Choose other "
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


class CallShareScopeOnUnboundModuleError(UnboundModuleError):
    """`share_scope` is called with a module that has no variables."""

    def __init__(self, owner: str) -> None:
        """Name the module."""
        super().__init__(
            owner,
            "it cannot share its scope (call share_scope(self, self.layer) in setup(), after "
            "self.layer = ...)",
        )


class CallUnbindOnUnboundModuleError(UnboundModuleError):
    """`unbind` is called on a module that is not bound."""

    def __init__(self, owner: str) -> None:
        """Name the module."""
        super().__init__(owner, "there is nothing to unbind")


class ShareScopeAcrossModelsError(LinenError, ValueError):
    """`share_scope` is called with modules whose variables are in different trees."""

    def __init__(self, path: Sequence[str], owner: str, other: str) -> None:
        """Name the two modules."""
        super().__init__(
            f"{place(path)} ({owner}) cannot share its scope with {other}, which is bound to "
            "variables of its own. Pass the unbound module as a field instead, and call "
            "share_scope(self, self.layer) in setup()."
        )


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

    @classmethod
    def of_value(cls, method: Any, owner: str) -> Self:
        """Show what was given."""
        return cls(
            f"method must be a method of {owner}, its name, or a function whose first argument is a "
            f"module, but got {describe(method)}. Write for example method={owner}.__call__."
        )

    @classmethod
    def of_missing_call(cls, owner: str) -> Self:
        """Tell that no method was given."""
        return cls(
            f"{owner} has no method __call__, which is called when no other one is given. Define it, "
            'or write method="..." with the name of the method to call.'
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
    def of_argument(cls, function: str, value: Any) -> Self:
        """Make the error for a function of a module that is given something else."""
        return cls(
            f"{function} needs an instance of a module, but got {describe(value)}. Construct the "
            f"module first: {function}(fn, MyModule(...))."
        )

    @classmethod
    def of_parent(cls, parent: Any) -> Self:
        """Make the error for a parent that is none."""
        return cls(
            "A parent must be a module instance, a scope, or None for a module that stands alone, "
            f"but got {describe(parent)}. In most cases it is right not to give one."
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
