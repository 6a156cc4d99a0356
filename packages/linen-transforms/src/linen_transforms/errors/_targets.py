"""Errors of what is lifted, and of how it is called."""

from collections.abc import Iterable
from typing import Any

from linen_core.errors import LinenError


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
            f"The first argument of a function lifted by {name} must be a bound Module, or hold one, "
            f"but is {found!r}. Write {name}(fn, ...)(self, ...) inside of a method, or bind the "
            "module first."
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

    def __init__(self, name: str, cls: str, method: object) -> None:
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


class TransformedMethodReturnValueError(LinenError, TypeError):
    """A lifted method or function returns a Module or a Variable."""

    def __init__(self, path: Iterable[str], method: str, where: str, found: str) -> None:
        super().__init__(
            f"/{'/'.join(path)}: the lifted {method} returns {found}{where and f' at {where}'}; "
            "expected arrays. What it returns goes through a JAX transformation, and the scope in "
            "which the body runs ends with it. Return what the module computes, module(x), or the "
            "value of the variable, variable.value."
        )
