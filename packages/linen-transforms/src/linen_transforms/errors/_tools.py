"""Errors of stacks, of pure functions and of capturing."""

from collections.abc import Mapping, Sequence
from typing import Any

from linen_core.errors import LinenError


class StackError(LinenError, ValueError):
    """Blocks that cannot be stacked, or stacks without blocks."""

    @classmethod
    def of_number(cls, n: Any) -> "StackError":
        """Say that something is no number of blocks."""
        return cls(
            f"Stack: n must be the number of blocks, an integer of at least 1, but is {n!r}."
        )

    @classmethod
    def of_unroll(cls, unroll: Any) -> "StackError":
        """Say that something is no number of blocks in a step."""
        return cls(
            "Stack: unroll must be the number of blocks in one step of the loop, an integer of at least "
            f"1, or True for all, but is {unroll!r}."
        )

    @classmethod
    def of_remat(cls, remat: Any) -> "StackError":
        """Say that something does not say what to compute again."""
        return cls(
            "Stack: remat must be True, False, or a policy such as "
            f"jax.checkpoint_policies.dots_saveable, but is {remat!r}."
        )

    @classmethod
    def of_no_carry(cls, stack: str, first: Sequence[str]) -> "StackError":
        """Say that the first block gets nothing."""
        name = repr(first[0]) if first else "the first"
        return cls(
            f"{stack}: a Stack is called without the argument {name} of its first block. Pass what "
            "goes in, which must have the form of what comes out."
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


class CaptureTargetError(LinenError, TypeError):
    """What cannot be captured from."""

    def __init__(self, target: Any) -> None:
        super().__init__(
            "capture takes a module, or a method of one, that is not bound to variables, but got "
            f"{target!r}. Write capture(model)(variables, ...) or capture(model.encode)(variables, ...)."
        )

    @classmethod
    def of_filter(cls, found: Any) -> "CaptureTargetError":
        """Say that something does not say what to capture."""
        error = cls.__new__(cls)
        LinenError.__init__(
            error,
            "capture: `filter` must be True, False, a Module class or a tuple of them, or a function of "
            f"a module and the name of a method, but is {found!r}.",
        )
        return error
