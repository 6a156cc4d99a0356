"""The errors of linen-transforms: one class per condition.

```
LinenError (of linen-core)
├─ NotAScopeError (TypeError)             a lifted function of scopes is called with something else
├─ NotAModuleError (TypeError)            a lifted function of modules is called without a module
├─ TransformTargetError (TypeError)       what is to be lifted is no class, method or function
├─ LiftedMethodError (ValueError)         `methods` names something that is no method
├─ LiftedModuleError (ValueError)         parameters of a lifted module are used outside of its methods
├─ KeywordArgumentsError (TypeError)      keyword arguments where JAX takes none
├─ AxisSizeError (ValueError)             axes that do not exist, or differ in size, or are missing
├─ CarryMismatchError (TypeError)         a carry changes its structure, shape or dtype
├─ PredicateError (TypeError)             what decides is no scalar, or of another dtype
├─ BranchMismatchError (TypeError)        branches give different forms, or there are none
├─ MappedVariablesError (TypeError)       a function of variables gives no dict of collections
├─ LoopInvariantError (ValueError)        a broadcast value depends on the iteration
├─ SplitRngsError (ValueError)            a body draws from a stream that `split_rngs` does not name
├─ SeveralPlacesError (ValueError)        gradients of variables at several places, but a form for one
├─ ScalarOutputError (TypeError, ValueError)  a gradient of something that is no real scalar
├─ AuxiliaryOutputError (TypeError)       `has_aux` is True, but there is no pair
├─ TangentError (TypeError)               tangents that do not fit what they belong to
├─ CotangentError (TypeError)             a backward function returns something else than gradients
├─ NondiffArgumentError (ValueError)      `nondiff_argnums` names no argument
├─ StaticArgumentError (ValueError)       `static_argnums` names an argument that cannot be static
├─ OutsideModuleError                     named axes are used where no method of a module runs
├─ AxisNamesError (ValueError)            axis names are not what they should be
├─ CaptureTargetError (TypeError)          what cannot be captured from
├─ StackError (ValueError)                blocks that cannot be stacked, or stacks without blocks
├─ PurifyError (ValueError)               what cannot be made a pure function, or is misused
└─ UnsupportedArgumentError (ValueError)  an argument that cannot be supported
```
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linen_core.errors import LinenError

__all__ = [
    "AxisNamesError",
    "CaptureTargetError",
    "OutsideModuleError",
    "PurifyError",
    "StackError",
    "AuxiliaryOutputError",
    "AxisSizeError",
    "BranchMismatchError",
    "CarryMismatchError",
    "CotangentError",
    "KeywordArgumentsError",
    "LiftedMethodError",
    "LiftedModuleError",
    "LoopInvariantError",
    "MappedVariablesError",
    "NondiffArgumentError",
    "NotAModuleError",
    "NotAScopeError",
    "PredicateError",
    "ScalarOutputError",
    "SeveralPlacesError",
    "SplitRngsError",
    "StaticArgumentError",
    "TangentError",
    "TransformTargetError",
    "UnsupportedArgumentError",
]


class NotAScopeError(LinenError, TypeError):
    """A lifted function of scopes is called with something else."""

    def __init__(self, found: Any) -> None:
        super().__init__(
            "The first argument of a lifted function of scopes must be a Scope or a pytree of "
            f"Scopes, but has {found!r} in it. Functions of Modules are lifted by the "
            "transformations of linen_transforms itself."
        )


class NotAModuleError(LinenError, TypeError):
    """A lifted function of modules is called without a module."""

    def __init__(self, name: str, found: Any) -> None:
        super().__init__(
            f"The first argument of a function lifted by {name} must be a Module, or hold one, but "
            f"is {found!r}. Write {name}(fn, ...)(self, ...) inside of a method."
        )

    @classmethod
    def of_argument(cls, name: str, found: Any) -> "NotAModuleError":
        """Say it of a transformation that gets the module after the function."""
        error = cls.__new__(cls)
        LinenError.__init__(
            error,
            f"The second argument of {name} must be a bound Module, or hold one, but is {found!r}. "
            f"Write {name}(fn, self, ...) inside of a method, or bind the module first.",
        )
        return error


class TransformTargetError(LinenError, TypeError):
    """What is to be lifted is no class, method or function."""

    def __init__(self, name: str, target: Any) -> None:
        is_instance = f" Write {name}({type(target).__name__}, ...)(...) to lift the class."
        super().__init__(
            f"{name} lifts a Module class, a method, or a function whose first argument is a "
            f"Module, but got {target!r}.{is_instance if hasattr(target, 'scope') else ''}"
        )

    @classmethod
    def of_function(cls, name: str, target: Any) -> "TransformTargetError":
        """Say it of a transformation of functions only."""
        error = cls.__new__(cls)
        LinenError.__init__(
            error,
            f"{name} takes a method, or a function whose first argument is a Module, but got "
            f"{target!r}. Write lambda mdl, *args: mdl(*args) to differentiate the call of a module.",
        )
        return error


class LiftedMethodError(LinenError, ValueError):
    """`methods` names something that is no method."""

    def __init__(self, name: str, cls: str, method: str) -> None:
        super().__init__(
            f"{name}: `methods` names {method!r}, but the class {cls} has no such method."
        )


class LiftedModuleError(LinenError, ValueError):
    """Parameters of a lifted module are used outside of its lifted methods."""

    def __init__(self, name: str, lifted: Iterable[str], path: Iterable[str]) -> None:
        module, place = (f"/{'/'.join(parts)}" for parts in (lifted, path))
        super().__init__(
            f"{place} makes or uses a parameter outside of {name}, but {module} is a module of a class "
            f"that was lifted by it, whose parameters have one more axis there. Name the method that "
            f"is called in {name}(..., methods=[...]), or lift the call: "
            f"{name}(lambda mdl, x: mdl.method(x), ...)(module, x)."
        )


class KeywordArgumentsError(LinenError, TypeError):
    """Keyword arguments where JAX takes none."""

    def __init__(self, name: str, kwargs: Mapping[str, Any]) -> None:
        names = ", ".join(kwargs)
        super().__init__(
            f"{name} does not take keyword arguments, but got {names}. Pass them by position, or "
            "bind those that are no arrays with functools.partial."
        )


class AxisSizeError(LinenError, ValueError):
    """Axes that do not exist, or differ in size, or are missing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    @classmethod
    def of_nothing(cls, name: str, argument: str) -> "AxisSizeError":
        """Say that no argument has an axis to map over."""
        return cls(
            f"{name}: there is nothing to map over, so the number of iterations is not known. "
            f"Pass {argument}=..., or an argument or a collection with an axis."
        )

    @classmethod
    def of_sizes(cls, name: str, sizes: Mapping[str, int]) -> "AxisSizeError":
        """Say that mapped axes differ in size."""
        by_size: dict[int, list[str]] = {}
        for where, size in sizes.items():
            by_size.setdefault(size, []).append(where)
        rows = "\n".join(f"  {size}: {_first(names)}" for size, names in by_size.items())
        return cls(f"{name}: the mapped axes have different sizes:\n{rows}")

    @classmethod
    def of_axis(cls, name: str, where: str, axis: Any, shape: Iterable[Any]) -> "AxisSizeError":
        """Say that something has no such axis."""
        sizes = ", ".join(map(str, shape))
        hint = (
            "" if isinstance(axis, int) else " Write linen_core.broadcast for what is not sliced."
        )
        return cls(f"{name}: {where} has the shape [{sizes}], and so no axis {axis}.{hint}")

    @classmethod
    def of_structure(cls, name: str, where: str, axes: Any, structure: Any) -> "AxisSizeError":
        """Say that axes are no prefix of what they are for."""
        return cls(
            f"{name}: the axes {axes} do not fit the structure of the {where}, which is {structure}. "
            "Give one axis for all of it, or a tree of axes that is a prefix of it."
        )


def _first(names: Sequence[str], number: int = 3) -> str:
    more = f" and {len(names) - number} more" if len(names) > number else ""
    return ", ".join(names[:number]) + more


class CarryMismatchError(LinenError, TypeError):
    """A carry changes its structure, shape or dtype."""

    def __init__(self, name: str, path: Iterable[str], rows: Mapping[str, tuple[str, str]]) -> None:
        table = "\n".join(f"  {where}: {a} -> {b}" for where, (a, b) in rows.items())
        super().__init__(
            f"/{'/'.join(path)}: the carry of {name} must come out of the body as it went in, but "
            f"these differ (in -> out):\n{table}"
        )


class PredicateError(LinenError, TypeError):
    """What decides is no scalar, or of another dtype."""

    def __init__(
        self, name: str, path: Iterable[str], what: str, is_index: bool, found: Any
    ) -> None:
        kind, instead = (
            ("one integer", "Convert it, for example with .astype(int).")
            if is_index
            else ("one bool", "Write x.any() or x.all(), or jax.numpy.where(x, y, z) per element.")
        )
        super().__init__(
            f"/{'/'.join(path)}: {what} of {name} must be {kind}, but is {found}. {instead}"
        )


class BranchMismatchError(LinenError, TypeError):
    """Branches give results or variables of different forms, or there is no branch."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    @classmethod
    def of_forms(
        cls, name: str, path: Iterable[str], number: int, rows: Mapping[str, tuple[str, str]]
    ) -> "BranchMismatchError":
        """Say what differs between the first branch and another one."""
        table = "\n".join(f"  {where}: {a}, {b}" for where, (a, b) in rows.items())
        hint = (
            "\nA variable that only some branches create must exist before: create it outside, for "
            "example by calling what all branches need if self.is_initializing()."
        )
        return cls(
            f"/{'/'.join(path)}: the branches of {name} must give results and variables of the same "
            f"forms, but these differ (branch 0, branch {number}):\n{table}"
            f"{hint if any(where.startswith('variables') for where in rows) else ''}"
        )

    @classmethod
    def of_none(cls, name: str, path: Iterable[str]) -> "BranchMismatchError":
        """Say that there is no branch."""
        return cls(f"/{'/'.join(path)}: {name} got no branches. Pass at least one function.")


class MappedVariablesError(LinenError, TypeError):
    """A function of variables gives no dict of collections."""

    def __init__(self, path: Iterable[str], which: str, found: Any) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the function that maps variables {which} must return a dict from collections to dicts of "
            f"variables, as the one it gets, but returned {found!r}."
        )


class LoopInvariantError(LinenError, ValueError):
    """A broadcast value depends on the iteration."""

    def __init__(self, name: str, path: Iterable[str], what: str) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the {what} of {name} is broadcast, so it must be the same in every iteration, but it "
            "depends on the carry or on what is mapped over. Carry it, or give it an axis."
        )


class SplitRngsError(LinenError, ValueError):
    """A body draws from a stream that `split_rngs` does not name."""

    def __init__(self, name: str, stream: str, path: Iterable[str]) -> None:
        super().__init__(
            f"/{'/'.join(path)} draws from the random stream {stream!r} inside of {name}, whose "
            f"split_rngs does not name it. Write split_rngs={{{stream!r}: True}} for another key in "
            "every iteration, or False for the same one."
        )


class SeveralPlacesError(LinenError, ValueError):
    """Gradients of variables at several places, but a form for one."""

    def __init__(self, name: str, paths: Iterable[Iterable[str]], instead: str) -> None:
        places = ", ".join(f"/{'/'.join(path)}" for path in paths)
        super().__init__(
            f"{name}: the function works with modules at several places, {places}, but one dict "
            f"holds the variables of one. {instead}"
        )


class ScalarOutputError(LinenError, TypeError, ValueError):
    """A gradient of something that is no real scalar."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"{name} needs a function that returns a floating-point scalar, but this one returns "
            f"{found}. Use vjp for other outputs, and has_aux=True to return more than the scalar."
        )


class AuxiliaryOutputError(LinenError, TypeError):
    """`has_aux` is True, but there is no pair."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"{name}: with has_aux=True the function must return a tuple (y, aux), but it returned "
            f"{found}."
        )


class TangentError(LinenError, TypeError):
    """Tangents that do not fit what they belong to."""

    def __init__(self, text: str) -> None:
        super().__init__(f"jvp: {text}")

    @classmethod
    def of_sequence(cls, argument: str, found: Any) -> "TangentError":
        """Say that primals or tangents are no sequence."""
        return cls(f"`{argument}` must be a tuple or list, one entry for each, but is {found!r}.")

    @classmethod
    def of_lengths(cls, primals: int, tangents: int) -> "TangentError":
        """Say that there are more of one than of the other."""
        return cls(f"there are {primals} primals, but {tangents} tangents.")

    @classmethod
    def of_form(cls, expected: Any, found: Any) -> "TangentError":
        """Say that tangents of variables are not dicts at the right places."""
        return cls(
            "`variable_tangents` must have a dict from collections to tangents in the place of each "
            f"dict in {expected!r}, but is {found!r}."
        )

    @classmethod
    def of_variables(
        cls, path: Iterable[str], rows: Mapping[str, tuple[str, str]]
    ) -> "TangentError":
        """Say which tangents differ from their variables."""
        table = "\n".join(f"  {where}: {a} instead of {b}" for where, (a, b) in rows.items())
        return cls(
            f"`variable_tangents` must fit the variables of each of their collections at "
            f"/{'/'.join(path)}, but these differ:\n{table}"
        )


class CotangentError(LinenError, TypeError):
    """A backward function returns something else than gradients."""

    def __init__(self, text: str) -> None:
        super().__init__(f"custom_vjp: {text}")

    @classmethod
    def of_length(cls, arguments: int, found: Any) -> "CotangentError":
        """Say how many gradients there must be."""
        return cls(
            "the backward function must return a tuple of the gradients of the variables and of "
            f"{arguments} argument{'' if arguments == 1 else 's'}, as vjp gives them, but returned "
            f"{found!r}."
        )

    @classmethod
    def of_variables(cls, expected: Iterable[str], found: Iterable[str]) -> "CotangentError":
        """Say that the gradients of variables have another structure."""
        return cls(
            "the first result of the backward function must have the structure of the variables, "
            f"{', '.join(expected)}, or be None for no gradient, but has {', '.join(found)}."
        )


class NondiffArgumentError(LinenError, ValueError):
    """`nondiff_argnums` names no argument."""

    def __init__(self, number: int, arguments: int) -> None:
        what = "the module or scope itself" if number == 0 else "no argument"
        super().__init__(
            f"custom_vjp: nondiff_argnums has {number}, which is {what}. Arguments are counted as in "
            f"the call, from 0 for the module or scope; this call has {arguments} after it."
        )


class StaticArgumentError(LinenError, ValueError):
    """`static_argnums` names an argument that cannot be static."""

    def __init__(self, name: str, index: int, hit: str, meant: str | None) -> None:
        hint = f" Did you mean {meant}?" if meant else ""
        super().__init__(
            f"{name}: static_argnums has {index}, which is {hit}. Arguments are counted as in the "
            f"call, from 0, without self or the module.{hint}"
        )


class OutsideModuleError(LinenError):
    """Named axes are used where no method of a module runs."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is called where no method of a module runs, so it does not know whose variable "
            "it is. Call it in `setup` or in a @compact method, or pass module=..."
        )


class AxisNamesError(LinenError, ValueError):
    """Axis names are not what they should be."""

    @classmethod
    def of_two(cls, path: Iterable[str], name: str, known: Any, new: Any) -> "AxisNamesError":
        """Say that a variable is given other names than it has."""
        return cls(
            f'/{"/".join(path)}: the axes of "{name}" are called {known} in the variables, but {new} '
            "here. Initialize the model again, or use the names that it was initialized with."
        )

    @classmethod
    def of_axis(cls, where: str, axis: int, name: Any, names: Any) -> "AxisNamesError":
        """Say that the axis that a transformation maps over has another name."""
        return cls(
            f"The axis {axis} of variables in {where} must be called {name!r}, since that is "
            f"what the transformation calls the axis that it maps over, but the names are {names}."
        )

    @classmethod
    def of_leaf(cls, leaf: Any) -> "AxisNamesError":
        """Say that something is no axis metadata."""
        return cls(
            "get_axis_names takes a collection of AxisMetadata, such as "
            f'variables["params_axes"], but found {leaf!r} in it.'
        )


class CaptureTargetError(LinenError, TypeError):
    """What cannot be captured from."""

    def __init__(self, target: Any) -> None:
        super().__init__(
            "capture takes a module, or a method of one, that is not bound to variables, but got "
            f"{target!r}. Write capture(model)(variables, ...) or capture(model.encode)(variables, ...)."
        )


class StackError(LinenError, ValueError):
    """Blocks that cannot be stacked, or stacks without blocks."""

    @classmethod
    def of_number(cls, n: Any) -> "StackError":
        """Say that something is no number of blocks."""
        return cls(
            f"Stack: n must be the number of blocks, an integer of at least 1, but is {n!r}."
        )

    @classmethod
    def of_outside(cls, stack: str, module: str) -> "StackError":
        """Say that blocks use a module that is not theirs."""
        return cls(
            f"{stack}: the blocks of a Stack use the module at {module}, which is not inside of the "
            "stack, so that its variables have no axis of blocks. Pass what it computes to the "
            "blocks instead, as an argument."
        )

    @classmethod
    def of_nothing(cls, nothing: str, keys: Sequence[str]) -> "StackError":
        """Say that there is nothing to convert."""
        return cls(
            f"Found {nothing} in any dict of the tree, which has the entries {list(keys)} at the "
            "top. The arguments `name` and `prefix` say what to look for."
        )

    @classmethod
    def of_numbers(cls, path: str, names: Sequence[str]) -> "StackError":
        """Say that a block is missing."""
        return cls(
            f"{path or '/'} has the blocks {', '.join(names)}: they must be numbered from 0, and none "
            "may be missing."
        )

    @classmethod
    def of_taken(cls, path: str, names: Sequence[str], beside: Sequence[str]) -> "StackError":
        """Say that an entry is there already."""
        return cls(
            f"{path or '/'} has an entry {', '.join(names)} already, beside {', '.join(beside)}. "
            "Choose another `name` or `prefix`."
        )

    @classmethod
    def of_blocks(
        cls, path: str, one: str, other: str, rows: Mapping[str, tuple[str, str]]
    ) -> "StackError":
        """Say how two blocks differ."""
        table = "".join(f"\n  {where}: {a}, {b}" for where, (a, b) in rows.items())
        return cls(
            f"Only equal blocks can be stacked, but {path}/{one} and {path}/{other} differ"
            + (f":{table}" if rows else " in their structure.")
        )

    @classmethod
    def of_sizes(cls, path: str, shapes: Mapping[str, tuple[int, ...]]) -> "StackError":
        """Say that arrays do not have as many blocks as each other."""
        table = "".join(f"\n  {where}: {shape}" for where, shape in shapes.items())
        return cls(f"{path} is no stack: its arrays differ in the size of axis 0:{table}")

    @classmethod
    def of_no_size(cls, path: str) -> "StackError":
        """Say that the number of blocks is not known."""
        return cls(
            f"{path} holds no arrays, and the other stacks do not say either how many blocks it has. "
            "Convert it together with its parameters."
        )


class PurifyError(LinenError, ValueError):
    """What cannot be made a pure function, or is misused."""

    @classmethod
    def of_nothing(cls, target: Any) -> "PurifyError":
        """Say that no module is in use."""
        return cls(
            f"purify found no bound module in {target!r}. Pass a bound module, one of its methods, or "
            "a function that has such modules captured; global variables are not looked at."
        )

    @classmethod
    def of_unbound(cls, target: Any) -> "PurifyError":
        """Say that a module has no variables to take apart."""
        return cls(
            f"{type(target).__name__} is not bound to variables: its init and apply are pure functions "
            "already. Write purify(model.bind(variables)), or use it inside of a method."
        )

    @classmethod
    def of_different_trees(cls) -> "PurifyError":
        """Say that modules have nothing in common."""
        return cls(
            "purify found modules that are bound to different variables: they belong to different "
            "calls of bind, init or apply. Purify the modules of each on their own."
        )

    @classmethod
    def of_variables(cls, found: Any) -> "PurifyError":
        """Say that something is no variables."""
        return cls(
            "The variables of a purified function must be a dict from collections to nested dicts, "
            f"like those that purify returned, but are {found!r}. Write y = pure(variables, ...)."
        )

    @classmethod
    def of_argument(cls) -> "PurifyError":
        """Say that an argument is not pure."""
        return cls(
            "An argument of a purified function holds a bound module. Let the function capture it "
            "instead, so that purify takes it apart: purify(lambda x: fn(module, x))."
        )


class UnsupportedArgumentError(LinenError, ValueError):
    """An argument that cannot be supported."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"The argument {argument!r} is not supported: {reason}.")
