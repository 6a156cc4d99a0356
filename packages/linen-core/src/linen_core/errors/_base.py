"""The base of all errors, and what their texts have in common."""

from collections.abc import Iterable, Sequence
from typing import Any


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


def place(path: Sequence[str]) -> str:
    """Say in words which module a path leads to, as the errors do."""
    return f'The module "{"/".join(path)}"' if path else "The top-level module"


def listed(names: Iterable[str], most: int = 12) -> str:
    """List names; only the first of them where there are many."""
    shown = [str(name) for name in names]
    rest = f" and {len(shown) - most} more" if len(shown) > most else ""
    return f"{shown[:most]}{rest}"


def describe(value: Any) -> str:
    """Say what a value is, in a few words."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = " ".join(repr(value).split())
    return f"{text[:77]}..." if len(text) > 80 else text
