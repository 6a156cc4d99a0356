"""Arguments that may be given to the constructor or to the call."""

from typing import TypeVar

from linen_core.errors import MergeParamError

T = TypeVar("T")


def merge_param(name: str, a: T | None, b: T | None) -> T:
    """Give the one of two values that was given.

    Args:
        name: the name of the argument, for the error's text.
        a: the value given to the constructor, or None.
        b: the value given to the call, or None.

    Returns:
        The value that is not None.

    Raises:
        MergeParamError: both are None, or neither is.

    Example:
        >>> from linen_core import merge_param
        >>> merge_param("deterministic", None, True)
        True
    """
    if a is not None and b is not None:
        raise MergeParamError(name, given_twice=True)
    value = a if a is not None else b
    if value is None:
        raise MergeParamError(name, given_twice=False)
    return value
