"""The batches of a run, and the position in them.

`fit` takes whatever has an iterator. What the iterator can do decides whether a run can be resumed:

- an iterator with `get_state` and `set_state`, as those of `ArrayLoader` and grain have: at any point;
- a sequence of batches (a list): at any point, its position is counted here;
- anything else: not at all.

A sequence, and whatever else can be iterated over again, is read again as long as there are steps to
make. Iterators that tell their position say themselves how often their data is read: to read an
`ArrayLoader` again would be to see the same order again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import jax
import numpy as np

from linen_train.data import CheckpointableIterator, prefetch_to_device
from linen_train.data.iterator import TellsPosition
from linen_train.errors import LoopArgumentError, LoopDataError

__all__ = ["Batches", "examples_in", "expected_end", "steps_in_epoch"]

_ENDLESS = 2**62  # the length that grain gives to a dataset that is repeated forever


class _Passes(Iterator[Any]):
    """Reads an iterable again and again; remembers the position where that is a sequence."""

    def __init__(self, data: Iterable[Any], first: Iterator[Any], passes: int | None) -> None:
        self._data = data
        self._current = first
        self._passes_left = passes

    def __next__(self) -> Any:
        try:
            return next(self._current)
        except StopIteration:
            if self._passes_left is not None:
                self._passes_left -= 1
                if self._passes_left < 1:
                    raise
        self._current = iter(self._data)
        return next(self._current)


class _SequencePasses(Iterator[Any]):
    """Reads a sequence of batches again and again, from a position on."""

    def __init__(self, data: Sequence[Any], passes: int | None) -> None:
        self._data = data
        self._passes = passes
        self._position = 0

    def __next__(self) -> Any:
        epoch, index = divmod(self._position, len(self._data)) if self._data else (0, 0)
        if not self._data or (self._passes is not None and epoch >= self._passes):
            raise StopIteration
        self._position += 1
        return self._data[index]

    def get_state(self) -> dict[str, int]:
        return {"position": self._position, "batches": len(self._data)}

    def set_state(self, state: dict[str, int]) -> None:
        if state.get("batches") != len(self._data):
            found = f"{state['batches']} batches" if "batches" in state else "data of another kind"
            raise LoopDataError(
                f"fit: found a position in {found}, but data has {len(self._data)} batches. Give the "
                "data that the run was begun with."
            )
        self._position = state["position"]


class Batches:
    """The batches of one run.

    Args:
        data: an iterator, or what has one.
        passes: how many times to read what can be read again, if that is limited.
        position: what `position` returned in an earlier run, to go on from there.
        resumed: whether to go on from `position`.
        prefetch: how many batches to put on the device ahead of time; 0 leaves them as they are.
        sharding: where they go.

    Raises:
        LoopArgumentError: `data` cannot be iterated over.
        LoopDataError: the data cannot take up a position, or not this one.
    """

    def __init__(
        self,
        data: Any,
        *,
        passes: int | None,
        resumed: bool,
        position: Any,
        prefetch: int,
        sharding: Any,
    ) -> None:
        self._iterator = _iterator_of(data, passes)
        if resumed:
            self._resume(data, position)
        self._prefetcher = (
            prefetch_to_device(self._iterator, prefetch, sharding=sharding) if prefetch else None
        )
        self.next = iter(self._prefetcher or self._iterator).__next__

    def position(self) -> Any:
        """Return the position after the last batch that was handed out; None if there is none."""
        if not isinstance(self._iterator, TellsPosition):
            return None
        return (self._prefetcher or self._iterator).get_state()

    def close(self) -> None:
        """End the thread that prefetches."""
        if self._prefetcher is not None:
            self._prefetcher.close()

    def _resume(self, data: Any, position: Any) -> None:
        if position is None or not isinstance(self._iterator, CheckpointableIterator):
            missing = (
                "the checkpoint holds no position in the data"
                if isinstance(self._iterator, CheckpointableIterator)
                else f"the iterator of {type(data).__name__} has no get_state and set_state"
            )
            raise LoopDataError(
                f"fit: cannot go on in the data: {missing}. Give an ArrayLoader, a grain dataset or "
                "a list of batches, with prefetch=2 in place of prefetch_to_device(data)."
            )
        self._iterator.set_state(position)


def _iterator_of(data: Any, passes: int | None) -> Iterator[Any]:
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _SequencePasses(data, passes)
    if not isinstance(data, Iterable) or isinstance(data, Mapping | str | bytes):
        raise LoopArgumentError(
            f"fit: found data of type {type(data).__name__}, expected batches that can be iterated "
            "over: ArrayLoader(arrays, batch_size=32, epochs=None), a list, a generator."
        )
    iterator = iter(data)
    if iterator is data or isinstance(iterator, TellsPosition):
        return iterator
    return _Passes(data, iterator, passes)


def steps_in_epoch(data: Any, given: int | None) -> int | None:
    """Return how many batches an epoch has, as it was given or as the data tells."""
    if given is not None:
        return given
    batches = getattr(data, "batches_per_epoch", None)
    if batches is None and isinstance(data, Sized):
        batches = len(data)
    return batches or None


def expected_end(data: Any, begin: int, last_step: int | None) -> int | None:
    """Return the step that a run ends at, as far as it is known: the last one, or that of the data.

    Args:
        data: what to read.
        begin: the step after which it is begun.
        last_step: the step that was asked for.

    Raises:
        LoopArgumentError: the data ends before.
    """
    available = _batches_in(data)
    if available is None:
        return last_step
    if last_step is None:
        return begin + available
    if available < last_step - begin and not isinstance(data, Sequence):
        raise _too_short(data, available, last_step - begin)
    return last_step


def _too_short(data: Any, available: int, steps: int) -> LoopArgumentError:
    kind = type(data).__name__
    epochs = getattr(data, "epochs", None)
    passes = f" ({epochs} epochs)" if epochs is not None else ""
    again = "epochs=None" if epochs is not None else f"{kind}.repeat()"
    return LoopArgumentError(
        f"fit: found {available} batches in {kind}{passes}, expected {steps}, one for each step. Write "
        f"{again}, which goes on until fit ends the run."
    )


def _batches_in(data: Any) -> int | None:
    """Return how many batches data has until it ends by itself; None where nobody knows."""
    if hasattr(data, "batches_per_epoch"):
        epochs = getattr(data, "epochs", None)
        return None if epochs is None else epochs * data.batches_per_epoch
    if not isinstance(data, Sized) or not isinstance(data, Iterable):
        return None
    if not isinstance(data, Sequence) and not isinstance(iter(data), TellsPosition):
        return None
    return len(data) if len(data) < _ENDLESS else None


def examples_in(batch: Any) -> int | jax.Array:
    """Return how many examples a batch has.

    Those that a `mask` over them keeps, where there is one, or else the length of the first axis of the
    first array; 1 if there is none.
    """
    mask = batch.get("mask") if type(batch) is dict else None
    if mask is not None and getattr(mask, "ndim", 0) == 1 and mask.dtype == bool:
        return _count(mask) if isinstance(mask, jax.Array) else int(mask.sum())
    # Most batches are dicts of arrays, and to flatten one takes longer than to look into it.
    for leaf in batch.values() if type(batch) is dict else ():
        if shape := getattr(leaf, "shape", None):
            return shape[0]
    for leaf in jax.tree.leaves(batch):
        shape = np.shape(leaf)
        if shape:
            return shape[0]
    return 1


@jax.jit
def _count(mask: jax.Array) -> jax.Array:
    return mask.sum(dtype="int32")
