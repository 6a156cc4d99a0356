"""Rows of arrays: how many there are, and some of them."""

from typing import Any

import jax
import numpy as np

from linen_train.errors import DataShapeError

__all__ = ["count_rows", "shuffled", "take_rows"]


def count_rows(arrays: Any) -> int:
    """Return the length that all arrays share."""
    lengths: dict[str, int] = {}
    for keys, array in jax.tree_util.tree_leaves_with_path(arrays):
        path = jax.tree_util.keystr(keys, simple=True, separator="/") or "arrays"
        length = _length(array)
        if length is None:
            raise DataShapeError(
                f"ArrayLoader: found {array!r:.80} at {path}, expected an array whose first axis counts "
                "the examples. Lists are containers here: write np.asarray(values)."
            )
        lengths[path] = length
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{path}: {length}" for path, length in lengths.items()) or "no arrays"
        raise DataShapeError(
            f"ArrayLoader: found {found}, expected arrays of one length: their first axis counts the "
            "examples."
        )
    return next(iter(lengths.values()))


def _length(array: Any) -> int | None:
    """Return the length of what can be indexed by an array of rows, None of anything else."""
    if isinstance(array, str | bytes | range) or not hasattr(array, "__getitem__"):
        return None
    try:
        return len(array)
    except TypeError:  # no axes
        return None


def take_rows(array: Any, rows: np.ndarray) -> Any:
    """Return some rows of an array, as a copy in memory."""
    if isinstance(array, np.ndarray):
        # Twice as fast as array[rows]; a memory-mapped array would stay one without asarray.
        return np.asarray(array).take(rows, axis=0)
    return array[rows]


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the numbers below `count`, in an order that is the same on every machine."""
    # NumPy promises the raw stream of a bit generator, but not the outcome of `permutation`.
    draws = np.random.Philox(key=[seed, epoch]).random_raw(count)
    order = np.argsort(draws)
    drawn = draws[order]
    if (drawn[1:] == drawn[:-1]).any():  # the fast sort leaves open the order of equal draws
        return np.argsort(draws, kind="stable")
    return order
