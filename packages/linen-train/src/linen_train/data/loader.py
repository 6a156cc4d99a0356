"""Batches of arrays that are in memory.

An *example* is one row of every array; a *batch* is some examples, gathered in one indexing
operation per array. A *loader* describes the batches: which arrays, how many examples each, in which
order, how many *epochs* (passes over all examples). Iterating over a loader makes *batches*, an
iterator with a *position*: the number of batches it has handed out.

The order of an epoch depends on the seed and the epoch alone. To resume is therefore to set the
position: nothing is replayed, and the batches that follow are those of the uninterrupted run.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from linen_train.errors import DataPositionError, DataShapeError

__all__ = ["ArrayBatches", "ArrayLoader"]


class ArrayLoader:
    """Cuts a pytree of arrays into batches.

    Args:
        arrays: a pytree of NumPy arrays, or of anything that indexes like them. Their first axis
            counts examples and is equally long in all. They are not copied.
        batch_size: examples per batch.
        epochs: passes over the examples; None goes on forever.
        shuffle_seed: seed of the order, which differs from epoch to epoch; None keeps the order of
            the arrays.
        drop_remainder: whether to leave out the examples at the end of an epoch that do not fill a
            batch. When they are not dropped, the last batch of an epoch is smaller.

    Raises:
        DataShapeError: there are no arrays, they differ in length, or they do not fill one batch.

    Example:
        >>> import numpy as np
        >>> from linen_train.data import ArrayLoader
        >>> arrays = {"image": np.zeros((10, 8, 8)), "label": np.arange(10)}
        >>> loader = ArrayLoader(arrays, batch_size=4, epochs=1)
        >>> loader.batches_per_epoch
        2
        >>> [batch["label"].tolist() for batch in loader]
        [[0, 1, 2, 3], [4, 5, 6, 7]]
    """

    def __init__(
        self,
        arrays: Any,
        batch_size: int,
        *,
        epochs: int | None,
        shuffle_seed: int | None = None,
        drop_remainder: bool = True,
    ) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.epochs = epochs
        self.shuffle_seed = shuffle_seed
        self.drop_remainder = drop_remainder
        self.examples = _count_examples(arrays)
        if batch_size < 1 or not self.batches_per_epoch:
            raise DataShapeError(
                f"ArrayLoader: found batch_size={batch_size} for {self.examples} examples, expected "
                f"1 to {self.examples}. With drop_remainder=False a smaller last batch is kept."
            )

    @property
    def batches_per_epoch(self) -> int:
        """How many batches one epoch has."""
        batches = self.examples / self.batch_size
        return math.floor(batches) if self.drop_remainder else math.ceil(batches)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order in which an epoch visits the examples.

        Args:
            epoch: number of the epoch, from 0.

        Returns:
            The indices of all examples, int64[examples].

        Example:
            >>> import numpy as np
            >>> from linen_train.data import ArrayLoader
            >>> loader = ArrayLoader(np.arange(5), batch_size=5, epochs=None, shuffle_seed=0)
            >>> sorted(loader.order(3).tolist())
            [0, 1, 2, 3, 4]
        """
        if self.shuffle_seed is None:
            return np.arange(self.examples)
        # NumPy promises the raw stream of a bit generator, but not the outcome of `permutation`.
        draws = np.random.Philox(key=[self.shuffle_seed, epoch]).random_raw(self.examples)
        return np.argsort(draws, kind="stable")

    def __iter__(self) -> "ArrayBatches":
        return ArrayBatches(self)


class ArrayBatches(Iterator[Any]):
    """The batches of a loader, from a position on.

    Example:
        >>> import numpy as np
        >>> from linen_train.data import ArrayLoader
        >>> loader = ArrayLoader(np.arange(6), batch_size=2, epochs=None, shuffle_seed=0)
        >>> batches = iter(loader)
        >>> first = next(batches)
        >>> state = batches.get_state()
        >>> second = next(batches)
        >>> resumed = iter(loader)
        >>> resumed.set_state(state)
        >>> next(resumed).tolist() == second.tolist()
        True
    """

    def __init__(self, loader: ArrayLoader) -> None:
        self._loader = loader
        self._position = 0
        self._order: tuple[int, np.ndarray] | None = None

    def __next__(self) -> Any:
        loader = self._loader
        epoch, batch = divmod(self._position, loader.batches_per_epoch)
        if loader.epochs is not None and epoch >= loader.epochs:
            raise StopIteration
        start = batch * loader.batch_size
        indices = self._order_of(epoch)[start : start + loader.batch_size]
        self._position += 1
        return jax.tree.map(lambda array: array[indices], loader.arrays)

    def get_state(self) -> dict[str, Any]:
        """Return the position, and what it is a position in.

        Returns:
            JSON values, to be kept with a checkpoint and given to `set_state`.
        """
        loader = self._loader
        return {
            "position": self._position,
            "examples": loader.examples,
            "batch_size": loader.batch_size,
            "shuffle_seed": loader.shuffle_seed,
            "drop_remainder": loader.drop_remainder,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a position; the cost does not depend on how far it is.

        Args:
            state: what `get_state` returned.

        Raises:
            DataPositionError: it was returned for other data, another batch size or another order.
        """
        own = {**self.get_state(), "position": state.get("position")}
        if differing := sorted(
            key for key in own.keys() | state.keys() if own.get(key) != state.get(key)
        ):
            found = ", ".join(f"{key}={state.get(key)!r}" for key in differing)
            expected = ", ".join(f"{key}={own.get(key)!r}" for key in differing)
            raise DataPositionError(
                f"ArrayLoader: found a position in batches with {found}, expected {expected}. Make "
                "the loader as it was made when the position was saved."
            )
        self._position = state["position"]

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._loader.order(epoch)
        return self._order[1]


def _count_examples(arrays: Any) -> int:
    lengths = {
        jax.tree_util.keystr(path, simple=True, separator="/") or "arrays": len(array)
        for path, array in jax.tree_util.tree_leaves_with_path(arrays)
    }
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{path}: {length}" for path, length in lengths.items()) or "no arrays"
        raise DataShapeError(
            f"ArrayLoader: found {found}, expected arrays of one length: their first axis counts the "
            "examples."
        )
    return next(iter(lengths.values()))
