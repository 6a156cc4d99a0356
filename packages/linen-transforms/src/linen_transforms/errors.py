"""The errors of linen-transforms: one class per condition.

```
LinenError (of linen-core)
├─ NotAScopeError (TypeError)             a lifted function of scopes is called with something else
├─ NotAModuleError (TypeError)            a lifted function of modules is called without a module
├─ TransformTargetError (TypeError)       what is to be lifted is no class, method or function
├─ LiftedMethodError (ValueError)         `methods` names something that is no method
├─ KeywordArgumentsError (TypeError)      keyword arguments where JAX takes none
├─ AxisSizeError (ValueError)             nothing to map over, or axes of different sizes
├─ CarryMismatchError (TypeError)         a carry changes its structure, shape or dtype
├─ LoopInvariantError (ValueError)        a broadcast value depends on the iteration
├─ SplitRngsError (ValueError)            a body draws from a stream that `split_rngs` does not name
├─ StaticArgumentError (ValueError)       `static_argnums` names an argument that cannot be static
└─ UnsupportedArgumentError (ValueError)  an argument that cannot be supported
```
"""

from collections.abc import Iterable, Mapping
from typing import Any

from linen_core.errors import LinenError

__all__ = [
    "AxisSizeError",
    "CarryMismatchError",
    "KeywordArgumentsError",
    "LiftedMethodError",
    "LoopInvariantError",
    "NotAModuleError",
    "NotAScopeError",
    "SplitRngsError",
    "StaticArgumentError",
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


class TransformTargetError(LinenError, TypeError):
    """What is to be lifted is no class, method or function."""

    def __init__(self, name: str, target: Any) -> None:
        is_instance = f" Write {name}({type(target).__name__}, ...)(...) to lift the class."
        super().__init__(
            f"{name} lifts a Module class, a method, or a function whose first argument is a "
            f"Module, but got {target!r}.{is_instance if hasattr(target, 'scope') else ''}"
        )


class LiftedMethodError(LinenError, ValueError):
    """`methods` names something that is no method."""

    def __init__(self, name: str, cls: str, method: str) -> None:
        super().__init__(
            f"{name}: `methods` names {method!r}, but the class {cls} has no such method."
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
    """Nothing to map over, or axes of different sizes."""

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
        rows = "\n".join(f"  {where}: {size}" for where, size in sizes.items())
        return cls(f"{name}: the mapped axes have different sizes:\n{rows}")

    @classmethod
    def of_axis(cls, name: str, where: str, axis: Any, shape: tuple[int, ...]) -> "AxisSizeError":
        """Say that something has no such axis."""
        return cls(f"{name}: {where} has the shape {shape}, and so no axis {axis}.")


class CarryMismatchError(LinenError, TypeError):
    """A carry changes its structure, shape or dtype."""

    def __init__(self, name: str, path: Iterable[str], rows: Mapping[str, tuple[str, str]]) -> None:
        table = "\n".join(f"  {where}: {a} -> {b}" for where, (a, b) in rows.items())
        super().__init__(
            f"/{'/'.join(path)}: the carry of {name} must come out of the body as it went in, but "
            f"these differ (in -> out):\n{table}"
        )


class LoopInvariantError(LinenError, ValueError):
    """A broadcast value depends on the iteration."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"{name}: {what} is broadcast, so it must be the same in every iteration, but it "
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


class StaticArgumentError(LinenError, ValueError):
    """`static_argnums` names an argument that cannot be static."""

    def __init__(self, name: str, index: int, hit: str, meant: str | None) -> None:
        hint = f" Did you mean {meant}?" if meant else ""
        super().__init__(
            f"{name}: static_argnums has {index}, which is {hit}. Arguments are counted as in the "
            f"call, from 0, without self or the module.{hint}"
        )


class UnsupportedArgumentError(LinenError, ValueError):
    """An argument that cannot be supported."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"The argument {argument!r} is not supported: {reason}.")
