"""Checkpoints that are directories written by Orbax, as flax.training.checkpoints makes them."""

from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from linen_train.checkpoint._orbax import read_tree
from linen_train.errors import CheckpointReadError
from linen_train.orbax_utils import maybe_construct_transformations, restore_args_from_target

__all__ = ["is_one", "read", "restore"]

# Of all releases of Orbax one of these: without and with a file of metadata.
_MARKS = ("_METADATA", "_CHECKPOINT_METADATA", "checkpoint")


def is_one(path: Path) -> bool:
    """Whether a path is such a directory."""
    return any((path / mark).is_file() for mark in _MARKS)


def read(path: Path, target_state: Any) -> Any:
    """Return the state dict in a directory, with numpy arrays.

    Empty containers are None there; they become empty again where the target has them.

    Raises:
        CheckpointReadError: it cannot be read.
    """
    try:
        tree = read_tree(path.absolute(), lambda _: ocp.RestoreArgs(restore_type=np.ndarray))
    except Exception as error:  # Orbax raises what its storage and JSON raise
        raise CheckpointReadError(
            f"{path}: Orbax cannot read this directory: {type(error).__name__}: {error!s:.300}. Restore "
            "another step: restore_checkpoint(..., step=...)."
        ) from error
    return _as_state(tree, target_state)


def restore(path: Path, target: Any, checkpointer: Any, transforms: Any) -> Any:
    """Let Orbax restore a directory onto a target."""
    if isinstance(checkpointer, ocp.StandardCheckpointer):
        return checkpointer.restore(path.absolute(), target)
    checkpointer = checkpointer or ocp.PyTreeCheckpointer()
    arguments = {}
    if target is not None:
        arguments = {
            "restore_args": restore_args_from_target(target),
            "transforms": maybe_construct_transformations(target, transforms),
        }
    elif transforms is not None:
        arguments = {"transforms": transforms}
    return checkpointer.restore(path.absolute(), item=target, **arguments)


def _as_state(tree: Any, target_state: Any) -> Any:
    if isinstance(tree, list | tuple):
        tree = {str(i): part for i, part in enumerate(tree)}
    if not isinstance(tree, dict):
        return {} if tree is None and target_state == {} else _as_leaf(tree, target_state)
    inner = target_state if isinstance(target_state, dict) else {}
    return {str(key): _as_state(part, inner.get(str(key))) for key, part in tree.items()}


def _as_leaf(leaf: Any, target: Any) -> Any:
    """Return a number where the target has one; Orbax gives back an array."""
    if isinstance(target, bool | int | float | np.generic) and getattr(leaf, "ndim", None) == 0:
        return leaf[()] if isinstance(target, np.generic) else leaf.item()
    return leaf
