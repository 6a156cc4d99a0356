"""Carries: values that a loop hands from one iteration to the next, in the same form."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax

from linen_transforms.errors import CarryMismatchError


def check_carry(
    name: str,
    path: Sequence[str],
    before: Any,
    after: Any,
    describe: Callable[[Sequence[Any]], str],
) -> None:
    """Compare the forms of a carry before and after the body.

    Args:
        name: what the loop is called.
        path: the module path.
        before: the carry that goes in: a pytree of what has a shape and a dtype.
        after: the carry that comes out.
        describe: says what is at a key path.

    Raises:
        CarryMismatchError: its structure, a shape or a dtype differs.
    """
    differing = differing_forms(before, after, describe)
    if differing:
        raise CarryMismatchError(name, path, differing)


def differing_forms(
    before: Any, after: Any, what: str | Callable[[Sequence[Any]], str]
) -> dict[str, tuple[str, str]]:
    """Compare the forms of two trees.

    Args:
        before: a pytree of what has a shape and a dtype.
        after: another one.
        what: what the trees are called, or a function that says what is at a key path.

    Returns:
        A dict from paths to the two forms there, where they differ.
    """
    describe = partial(_part_of, what) if isinstance(what, str) else what
    rows = [_by_path(tree, describe) for tree in (before, after)]
    differing = {
        where: (rows[0].get(where, "nothing"), rows[1].get(where, "nothing"))
        for where in {**rows[0], **rows[1]}
        if rows[0].get(where) != rows[1].get(where)
    }
    structures = [jax.tree.structure(tree) for tree in (before, after)]
    if not differing and structures[0] != structures[1]:
        return {"structure": (str(structures[0]), str(structures[1]))}
    return differing


def _part_of(what: str, path: Sequence[Any]) -> str:
    return what + jax.tree_util.keystr(tuple(path))


def _by_path(tree: Any, describe: Callable[[Sequence[Any]], str]) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {describe(path): _form(leaf) for path, leaf in leaves}


def _form(leaf: Any) -> str:
    aval = jax.typeof(leaf) if not isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    return f"{aval.dtype}{list(aval.shape)}"
