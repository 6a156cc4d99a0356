"""Conversion between the variables of separate blocks and those of a `Stack`.

Separate blocks are entries "Block_0", "Block_1", ... of a dict, each with the same tree in it. A stack
is one entry with one such tree, whose arrays have an axis of blocks in front. The two functions find
these entries at any depth of any pytree: in variables, in gradients, and in the states of optimizers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from linen_core import PARTITION_NAME, FrozenDict, add_axis, is_axis_metadata, remove_axis
from linen_transforms._named_axes import AxisMetadata, with_name, without_name
from linen_transforms.errors import StackError

# Entries of a dict to take out, and entries to put in.
Entries: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]


def stack_blocks(tree: Any, name: str, prefix: str = "Block_", axis_name: str | None = None) -> Any:
    """Make the variables of a stack from those of separate blocks.

    Args:
        tree: a pytree of arrays, numpy arrays or `jax.ShapeDtypeStruct`s. Wherever a dict in it has
            the entries `prefix` + "0", "1", ..., these become one.
        name: the name of that entry, as a rule that of the `Stack` in its parent.
        prefix: what the names of the blocks begin with.
        axis_name: what boxes and named axes call the axis of blocks.

    Returns:
        A tree with new dicts; the arrays of the blocks are stacked along axis 0.

    Raises:
        StackError: there are no blocks, a number is missing, the name is taken, or the blocks differ
            in structure, shapes or dtypes.

    Example:
        >>> import numpy as np
        >>> from linen_transforms import stack_blocks
        >>> params = {"Block_0": {"w": np.zeros(3)}, "Block_1": {"w": np.ones(3)}, "head": np.ones(2)}
        >>> stacked = stack_blocks({"params": params}, "layers")["params"]
        >>> stacked["layers"]["w"].shape, sorted(stacked)
        ((2, 3), ['head', 'layers'])
    """

    def convert(path: str, node: Mapping[str, Any]) -> Entries:
        numbers = sorted(int(key.removeprefix(prefix)) for key in node if _is_block(key, prefix))
        if not numbers:
            return {}, {}
        blocks = {f"{prefix}{i}": node[f"{prefix}{i}"] for i in numbers}
        if numbers != list(range(len(numbers))):
            raise StackError.of_numbers(path, list(blocks))
        return blocks, {name: _stacked(path, blocks, axis_name)}

    return _replaced(convert, tree, f"no entries {prefix}0, {prefix}1, ...")


def unstack_blocks(
    tree: Any, name: str, prefix: str = "Block_", axis_name: str | None = None
) -> Any:
    """Make the variables of separate blocks from those of a stack.

    Args:
        tree: a pytree of arrays, numpy arrays or `jax.ShapeDtypeStruct`s. Wherever a dict in it has
            an entry `name` that is a dict, this becomes one entry for each block.
        name: the name of the stack.
        prefix: what the names of the blocks begin with.
        axis_name: what boxes and named axes call the axis of blocks.

    Returns:
        A tree with new dicts.

    Raises:
        StackError: there is no such entry, the arrays in it differ in the size of axis 0, or a name
            of a block is taken.

    Example:
        >>> import numpy as np
        >>> from linen_transforms import unstack_blocks
        >>> blocks = unstack_blocks({"layers": {"w": np.zeros((2, 3))}}, "layers")
        >>> {name: block["w"].shape for name, block in blocks.items()}
        {'Block_0': (3,), 'Block_1': (3,)}
    """
    sizes: set[int] = set()

    def note_size(path: str, node: Mapping[str, Any]) -> Entries:
        stack = node.get(name)
        if not isinstance(stack, Mapping):
            return {}, {}
        sizes.update(_sizes(f"{path}/{name}", stack))
        return {name: stack}, {}

    def convert(path: str, node: Mapping[str, Any]) -> Entries:
        stack = node.get(name)
        if not isinstance(stack, Mapping):
            return {}, {}
        where = f"{path}/{name}"
        # A stack without arrays, of axis names, has as many blocks as the others.
        found = _sizes(where, stack) or sizes
        if len(found) != 1:
            raise StackError.of_no_size(where)
        (size,) = found
        blocks = _unstacked(where, stack, size, axis_name)
        return {name: stack}, {f"{prefix}{i}": block for i, block in enumerate(blocks)}

    nothing = f"no stack {name!r}"
    _replaced(note_size, tree, nothing)
    return _replaced(convert, tree, nothing)


def _replaced(convert: Callable[[str, Mapping[str, Any]], Entries], tree: Any, nothing: str) -> Any:
    """Replace entries of the dicts of a tree.

    Args:
        convert: gives, for a path and a dict, the entries to take out and those to put in.
        tree: the tree.
        nothing: what to say if there is nothing to replace.
    """
    has_found = False

    def at(path: str, node: Mapping[str, Any]) -> Any:
        nonlocal has_found
        old, new = convert(path, node)
        has_found = has_found or bool(old)
        rest = {k: walk(v, f"{path}/{k}") for k, v in node.items() if k not in old}
        if taken := sorted(rest.keys() & new.keys()):
            raise StackError.of_taken(path, taken, list(old))
        rest.update(new)
        return FrozenDict(rest) if isinstance(node, FrozenDict) else rest

    def walk(tree: Any, path: str) -> Any:
        def visit(place: Any, node: Any) -> Any:
            here = path + "".join(f"/{jax.tree_util.keystr((key,), simple=True)}" for key in place)
            return at(here, node) if isinstance(node, Mapping) else node

        return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=_is_whole)

    result = walk(tree, "")
    if not has_found:
        raise StackError.of_nothing(nothing, list(tree) if isinstance(tree, Mapping) else [])
    return result


def _is_whole(node: Any) -> bool:
    return isinstance(node, (Mapping, AxisMetadata)) or is_axis_metadata(node)


def _is_block(key: Any, prefix: str) -> bool:
    number = key.removeprefix(prefix) if isinstance(key, str) and key.startswith(prefix) else ""
    return number.isdecimal() and number == str(int(number))


def _stacked(path: str, blocks: Mapping[str, Any], axis_name: str | None) -> Any:
    first, *others = blocks
    forms = {name: _forms(block) for name, block in blocks.items()}
    for other in others:
        places = {**forms[first], **forms[other]}
        one, two = ({p: forms[name].get(p, "nothing") for p in places} for name in (first, other))
        rows = {p: (one[p], two[p]) for p in places if one[p] != two[p]}
        if rows or jax.tree.structure(blocks[first]) != jax.tree.structure(blocks[other]):
            raise StackError.of_blocks(path, first, other, rows)
    stacked = jax.tree.map(lambda *leaves: _stack(leaves), *blocks.values())
    return with_name(add_axis(stacked, 0, {PARTITION_NAME: axis_name}), 0, axis_name)


def _unstacked(where: str, stack: Any, size: int, axis_name: str | None) -> list[Any]:
    one = remove_axis(without_name(stack, where, 0, axis_name), 0, {PARTITION_NAME: axis_name})
    return [jax.tree.map(lambda leaf, i=i: _slice(leaf, i), one) for i in range(size)]


def _sizes(where: str, stack: Any) -> set[int]:
    """Give the size of axis 0, if there are arrays.

    Raises:
        StackError: there are different sizes, or an array has no axis.
    """
    shapes = {p: np.shape(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(stack)}
    sizes = {shape[:1] for shape in shapes.values()}
    if len(sizes) > 1 or () in sizes:
        named = {jax.tree_util.keystr(p): shape for p, shape in shapes.items()}
        raise StackError.of_sizes(where, named)
    return {size for (size,) in sizes}


def _forms(block: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(block)
    return {jax.tree_util.keystr(path): _form(leaf) for path, leaf in leaves}


def _form(leaf: Any) -> str:
    aval = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
    return f"{aval.dtype}{list(aval.shape)}"


def _stack(leaves: Sequence[Any]) -> Any:
    first = leaves[0]
    if isinstance(first, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(leaves), *first.shape), first.dtype)
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return np.stack(leaves)
    return jnp.stack(leaves)


def _slice(leaf: Any, index: int) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)
    return np.asarray(leaf[index]) if isinstance(leaf, np.ndarray) else leaf[index]
