"""Batches of arrays that are in memory, or mapped into it.

An *example* is one row of every array; a *batch* is some examples, gathered in one indexing
operation per array. A *loader* describes the batches: which arrays, how many examples each, in which
order, how many *epochs* (passes over all examples). Iterating over a loader makes *batches*, an
iterator with a *position*: the number of batches it has handed out.

The order of an epoch depends on the seed and the epoch alone. To resume is therefore to set the
position: nothing is replayed, and the batches that follow are those of the uninterrupted run.

With several processes, each has a *shard*: its part of every batch. The parts of one batch are
disjoint, equally large, and together the batch that a single process would get. A position is
therefore one for all shards, and for any number of them.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from linen_train.data._rows import count_rows, shuffled, take_rows
from linen_train.errors import DataOptionError, DataPositionError, DataShapeError

__all__ = ["ArrayBatches", "ArrayLoader", "Remainder", "Transform"]

Remainder: TypeAlias = Literal["drop", "keep", "pad"]
Transform: TypeAlias = Callable[[Any, np.random.Generator], Any]

# What an error says to write where the option is no whole number.
_EXAMPLES = {
    "batch_size": 128, "epochs": 10, "shuffle_seed": 0, "shard_index": 0, "shard_count": 1
}  # fmt: skip


class ArrayLoader:
    """Cuts a pytree of arrays into batches.

    Args:
        arrays: a pytree of NumPy arrays, or of anything that indexes like them. Their first axis
            counts examples and is equally long in all. They are not copied; memory-mapped ones
            (`numpy.load(file, mmap_mode="r")`) are read batch by batch.
        batch_size: examples per batch, over all shards.
        epochs: passes over the examples; None goes on forever.
        shuffle_seed: seed of the order, which differs from epoch to epoch, from 0; None keeps the
            order of the arrays.
        remainder: what happens to the examples at the end of an epoch that do not fill a batch.
            "drop" leaves them out. "keep" makes a smaller batch of them. "pad" fills that batch up
            with repetitions of the last example, and adds to every batch an entry of booleans
            [batch_size], True for examples and False for padding; the arrays are a dict then.
        mask_name: the name of that entry.
        transform: a function of a batch and a `numpy.random.Generator` that returns what is handed
            out instead: random crops, say, of the whole batch at once. The generator depends on
            the seed, the epoch, the batch and the shard alone, so a resumed run draws what the
            uninterrupted one drew (with the same version of NumPy). It may change the batch's
            arrays in place.
        shard_index: which part of every batch to hand out, from 0.
        shard_count: how many parts there are.
        shard_by_process: take both from `jax.process_index()` and `jax.process_count()`. On a mesh
            where several processes hold the same examples, take them from
            `linen_train.distributed.batch_shard` instead.

    Raises:
        DataShapeError: there are no arrays, or other things, they differ in length, or they do not
            fill one batch.
        DataOptionError: options make no sense: a batch that cannot be cut into equal shards, say. Of
            a `transform` that returns None, when the first batch is drawn.

    Example:
        >>> import numpy as np
        >>> from linen_train.data import ArrayLoader
        >>> arrays = {"image": np.zeros((10, 8, 8)), "label": np.arange(10)}
        >>> loader = ArrayLoader(arrays, batch_size=4, epochs=1)
        >>> loader.batches_per_epoch
        2
        >>> [batch["label"].tolist() for batch in loader]
        [[0, 1, 2, 3], [4, 5, 6, 7]]
        >>> second = ArrayLoader(arrays, 4, epochs=1, shard_index=1, shard_count=2)
        >>> [batch["label"].tolist() for batch in second]
        [[2, 3], [6, 7]]
        >>> *_, last = ArrayLoader(arrays, 4, epochs=1, remainder="pad")
        >>> last["label"].tolist(), last["mask"].tolist()
        ([8, 9, 9, 9], [True, True, False, False])
        >>> def flip(batch, generator):
        ...     flipped = generator.random(len(batch["image"])) < 0.5
        ...     batch["image"][flipped] = batch["image"][flipped, :, ::-1]
        ...     return batch
        >>> augmented = ArrayLoader(arrays, 4, epochs=1, shuffle_seed=0, transform=flip)
        >>> next(iter(augmented))["image"].shape
        (4, 8, 8)
    """

    def __init__(
        self,
        arrays: Any,
        batch_size: int,
        *,
        epochs: int | None,
        shuffle_seed: int | None = None,
        remainder: Remainder = "drop",
        mask_name: str = "mask",
        transform: Transform | None = None,
        shard_index: int = 0,
        shard_count: int = 1,
        shard_by_process: bool = False,
    ) -> None:
        if shard_by_process:
            if (shard_index, shard_count) != (0, 1):
                raise _wrong_options(
                    f"shard_by_process together with shard_index={shard_index} and "
                    f"shard_count={shard_count}",
                    "one or the other",
                )
            shard_index, shard_count = jax.process_index(), jax.process_count()
        self.arrays = arrays
        self.batch_size: int = _whole("batch_size", batch_size)
        self.epochs: int | None = None if epochs is None else _whole("epochs", epochs)
        self.shuffle_seed: int | None = (
            None if shuffle_seed is None else _whole("shuffle_seed", shuffle_seed)
        )
        self.remainder: Remainder = remainder
        self.mask_name = mask_name
        self.transform = transform
        self.shard_index: int = _whole("shard_index", shard_index)
        self.shard_count: int = _whole("shard_count", shard_count)
        self.examples: int = count_rows(arrays)
        self._check_options()
        if self.batch_size < 1 or not self.batches_per_epoch:
            raise DataShapeError(
                f"ArrayLoader: found batch_size={self.batch_size} for {self.examples} examples, expected "
                f'1 to {self.examples}. With remainder="keep" or "pad" the last batch may lack some.'
            )

    @property
    def batches_per_epoch(self) -> int:
        """How many batches one epoch has; equally many in every shard."""
        full, rest = divmod(self.examples, self.batch_size)
        return full + (rest > 0 and self.remainder != "drop")

    def order(self, epoch: int) -> np.ndarray:
        """Return the order in which an epoch visits the examples.

        Args:
            epoch: number of the epoch, from 0.

        Returns:
            The indices of all examples, of every shard, int64[examples].

        Example:
            >>> import numpy as np
            >>> from linen_train.data import ArrayLoader
            >>> loader = ArrayLoader(np.arange(5), batch_size=5, epochs=None, shuffle_seed=0)
            >>> sorted(loader.order(3).tolist())
            [0, 1, 2, 3, 4]
        """
        if self.shuffle_seed is None:
            return np.arange(self.examples)
        return shuffled(self.examples, self.shuffle_seed, epoch)

    def __iter__(self) -> "ArrayBatches":
        return ArrayBatches(self)

    def _check_options(self) -> None:
        seed, index, count = self.shuffle_seed, self.shard_index, self.shard_count
        if self.remainder not in ("drop", "keep", "pad"):
            raise _wrong_options(f"remainder={self.remainder!r}", '"drop", "keep" or "pad"')
        if self.transform is not None and not callable(self.transform):
            raise _wrong_options(
                f"transform={self.transform!r:.80}",
                "a function. Write transform=lambda batch, generator: batch",
            )
        if self.epochs is not None and self.epochs < 0:
            raise _wrong_options(
                f"epochs={self.epochs}", "a number from 0, or None to go on forever"
            )
        if seed is not None and not 0 <= seed < 1 << 64:
            raise _wrong_options(f"shuffle_seed={seed}", "a seed from 0, below 2**64")
        if not 0 <= index < count:
            raise _wrong_options(
                f"shard_index={index} with shard_count={count}", "an index from 0, below the count"
            )
        if self.batch_size % count:
            raise _wrong_options(
                f"batch_size={self.batch_size} for {count} shards",
                f"a multiple of {count}: it counts the examples over all shards",
            )
        if self.remainder == "keep" and self.batch_size > 0:
            rest = self.examples % self.batch_size
            if rest % count:
                raise _wrong_options(
                    f'remainder="keep" for a last batch of {rest} examples in {count} shards',
                    'equal shards. Write remainder="pad"',
                )
        if self.remainder == "pad" and (
            not isinstance(self.arrays, Mapping) or self.mask_name in self.arrays
        ):
            found = (
                f"an entry {self.mask_name!r} already"
                if isinstance(self.arrays, Mapping)
                else f"arrays in a {type(self.arrays).__name__}"
            )
            raise _wrong_options(
                f'remainder="pad" with {found}',
                "a dict with room for the mask: pass arrays={name: array, ...} and mask_name=",
            )


class ArrayBatches(Iterator[Any]):
    """The batches of a loader, from a position on.

    Args:
        loader: the description of the batches.

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
        self._leaves, self._structure = jax.tree.flatten(loader.arrays)
        self._position = 0
        self._order: tuple[int, np.ndarray] | None = None

    def __next__(self) -> Any:
        loader = self._loader
        epoch, number = divmod(self._position, loader.batches_per_epoch)
        if loader.epochs is not None and epoch >= loader.epochs:
            raise StopIteration
        batch = self._gathered(epoch, number)
        if loader.transform is not None:
            batch = loader.transform(batch, self._generator(epoch, number))
            if batch is None:
                raise _wrong_options(
                    "a transform that returns None", "the batch. Write return batch at its end"
                )
        self._position += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """Return the position, and what it is a position in.

        Returns:
            JSON values, to be kept with a checkpoint and given to `set_state`. They are the same in
            every shard, and fit any number of shards.
        """
        loader = self._loader
        return {
            "position": self._position,
            "examples": loader.examples,
            "batch_size": loader.batch_size,
            "shuffle_seed": loader.shuffle_seed,
            "remainder": loader.remainder,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a position; the cost does not depend on how far it is.

        Args:
            state: what `get_state` returned.

        Raises:
            DataPositionError: it was returned for other data, another batch size or another order,
                or by an iterator of another kind, or is beyond the last batch.
        """
        position = state.get("position") if isinstance(state, Mapping) else None
        if not isinstance(position, int) or position < 0:
            raise DataPositionError(
                f"ArrayLoader: found the state {state!r:.80}, expected what get_state of its batches "
                "returned."
            )
        own = {**self.get_state(), "position": position}
        if differing := sorted(
            key for key in own.keys() | state.keys() if own.get(key) != state.get(key)
        ):
            found = ", ".join(f"{key}={state.get(key)!r}" for key in differing)
            expected = ", ".join(f"{key}={own.get(key)!r}" for key in differing)
            raise DataPositionError(
                f"ArrayLoader: found a position in batches with {found}, expected {expected}. Make "
                "the loader as it was made when the position was saved."
            )
        loader = self._loader
        end = None if loader.epochs is None else loader.epochs * loader.batches_per_epoch
        if end is not None and position > end:
            raise DataPositionError(
                f"ArrayLoader: found position {position}, expected at most {end}: {loader.epochs} epochs "
                f"of {loader.batches_per_epoch} batches. Write epochs=None, or as many as before."
            )
        self._position = position

    def _gathered(self, epoch: int, number: int) -> Any:
        loader = self._loader
        start = number * loader.batch_size
        rows = self._order_of(epoch)[start : start + loader.batch_size]
        present = len(rows)
        if loader.remainder == "pad" and present < loader.batch_size:
            rows = np.pad(rows, (0, loader.batch_size - present), mode="edge")
        size = len(rows) // loader.shard_count
        first = loader.shard_index * size
        rows = rows[first : first + size]
        batch = self._structure.unflatten([take_rows(array, rows) for array in self._leaves])
        if loader.remainder == "pad":
            batch = {**batch, loader.mask_name: np.arange(first, first + size) < present}
        return batch

    def _generator(self, epoch: int, number: int) -> np.random.Generator:
        # The order draws from the same key; the last word of the counter keeps the two apart.
        loader = self._loader
        key, counter = [loader.shuffle_seed or 0, epoch], [0, number, loader.shard_index, 1]
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._loader.order(epoch)
        return self._order[1]


def _whole(name: str, value: Any) -> int:
    """Return a whole number as an int, which can be written as JSON."""
    try:
        return int(operator.index(value))
    except TypeError as error:
        raise _wrong_options(
            f"{name}={value!r:.80}", f"a whole number. Write {name}={_EXAMPLES[name]}, say"
        ) from error


def _wrong_options(found: str, expected: str) -> DataOptionError:
    return DataOptionError(f"ArrayLoader: found {found}, expected {expected}.")
