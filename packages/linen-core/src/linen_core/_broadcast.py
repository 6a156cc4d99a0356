"""The sentinel for what a lifted scan does not scan over.

`broadcast` stands among the `in_axes` and `out_axes` of a lifted scan. An argument with that axis is
passed whole to every iteration; a result with that axis is the same in every iteration, and is
returned once.

Example:
    >>> import copy
    >>> from linen_core import broadcast
    >>> in_axes = (0, broadcast)
    >>> copy.deepcopy(in_axes)[1] is broadcast
    True
"""


class Broadcast:
    """The type of `broadcast`, its only instance."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "broadcast"

    def __reduce__(self) -> str:
        return "broadcast"  # so that copies and unpickled ones are this one


broadcast: Broadcast = Broadcast()
"""Passes an argument of a lifted scan whole to every iteration."""
