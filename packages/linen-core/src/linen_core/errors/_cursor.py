"""Errors of cursors."""

import difflib
from collections.abc import Sequence
from typing import Any

from linen_core.errors._base import LinenError, describe, listed


class CursorFindError(LinenError, LookupError):
    """`Cursor.find` met no value that fulfils its condition, or more than one."""

    path: str
    found: tuple[str, ...]

    def __init__(self, path: str, found: Sequence[str]) -> None:
        """Say where it looked, and the first of what it found."""
        self.path, self.found = path, tuple(found)
        if found:
            what = f"{found[0]} and {found[1]} both fulfil"
            remedy = "Narrow the condition, or write find_all(condition) to get all of them."
        else:
            what = f"no value below {path} fulfils"
            remedy = (
                "The condition takes the path as a string, such as 'params/Dense_0/kernel', and the "
                "value."
            )
        super().__init__(f"find: {what} the condition, but exactly one should. {remedy}")


class CursorKeyError(LinenError, KeyError, IndexError):
    """A container that a cursor is at has no item of that key or index."""

    path: str
    key: Any

    def __init__(self, path: str, key: Any, keys: Sequence[Any], advice: str) -> None:
        """Say what is there instead."""
        self.path, self.key = path, key
        super().__init__(
            f"{path} has no item {key!r}; found {listed(keys)}.{_near(key, keys)} {advice}"
        )

    def __str__(self) -> str:
        # KeyError would show the text as a quoted string.
        return str(self.args[0])


class CursorAttributeError(LinenError, AttributeError):
    """A container that a cursor is at has no attribute of that name, or none that can be set."""

    path: str
    attribute: str

    def __init__(self, path: str, attribute: str, keys: Sequence[Any], advice: str) -> None:
        """Say what is there instead."""
        self.path, self.attribute = path, attribute
        super().__init__(
            f"{path} has no part .{attribute}; found {listed(keys)}.{_near(attribute, keys)} {advice}"
        )


class CursorChangeError(LinenError, TypeError):
    """A part is assigned to a value that is built of no parts, such as an array."""

    path: str

    def __init__(self, path: str, access: str, value: Any) -> None:
        """Name the value, and say to assign it as a whole."""
        self.path = path
        super().__init__(
            f"{path}{access} cannot be assigned: {path} is {describe(value)}, which is replaced as a "
            f"whole. Write {path} = new_value; for an array, new_value can be {path}.at[...].set(...)."
        )


class CursorMutationError(LinenError, TypeError):
    """A method is asked for that would change the container which a cursor is at, in place."""

    path: str
    method: str

    def __init__(self, path: str, method: str, value: Any) -> None:
        """Name the method, and say to assign."""
        self.path, self.method = path, method
        kind = type(value).__name__
        super().__init__(
            f"{path}.{method} would change the {kind} that the cursor was made of, which must stay as "
            f"it is. Assign to its items, as in {path}[...] = value; to add or remove some, replace it "
            f"as a whole: {path} = new_{kind}."
        )


def _near(key: Any, keys: Sequence[Any]) -> str:
    names = [name for name in keys if isinstance(name, str)]
    near = difflib.get_close_matches(key, names, n=1) if isinstance(key, str) else []
    return f" Did you mean {near[0]!r}?" if near else ""
