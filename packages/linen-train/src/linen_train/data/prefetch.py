"""Batches on the device before they are needed.

A *prefetcher* takes batches from an iterator in a background thread, puts them on the device, and
keeps a bounded number of them ready. While one step runs, the next batches are prepared.

The thread and its consumer share one small *buffer* and nothing else. The thread does not know the
prefetcher, so a prefetcher that is forgotten is collected, and its collection ends the thread.

A prefetcher reads ahead, so the iterator's own position is ahead of the training. `get_state` of the
prefetcher is the position after the batch handed out last, which is the one to save. It is a
`CheckpointableIterator` over whatever iterator is one: those of `ArrayLoader`, those of grain.
"""

import copy
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import jax
import numpy as np

from linen_train.data._transfer import transferred
from linen_train.data.iterator import CheckpointableIterator, TellsPosition
from linen_train.errors import (
    DataOptionError,
    DataPositionError,
    DataShapeError,
    PrefetchClosedError,
)

__all__ = ["Prefetcher", "prefetch_to_device"]

_Batch = TypeVar("_Batch")
_JOIN_SECONDS = 5.0


def prefetch_to_device(
    batches: Iterable[_Batch],
    size: int = 2,
    *,
    sharding: Any = None,
) -> "Prefetcher[_Batch]":
    """Put batches on the device ahead of time, in a background thread.

    Args:
        batches: pytrees of arrays. From now on only the prefetcher may draw from it.
        size: how many batches to keep ready.
        sharding: where each array goes: a `jax.sharding.Sharding` for all, or a pytree of them whose
            structure is that of a batch or a part of it; None is the default device. Where a
            sharding spans processes, each process draws its own part of the batch, and the array is
            the whole. `ArrayLoader(shard_by_process=True)` hands the parts out if no two processes
            hold the same one; `linen_train.distributed.batch_shard` knows them in any case.

    Returns:
        An iterator over the same batches as `jax.Array`s. An error in `batches` is raised where
        the batch would have come, with its traceback. Close it, or use it as a context manager,
        when it is not read to its end.

    Raises:
        DataShapeError: `size` is no whole number, or less than 1.
        DataOptionError: `sharding` holds something that is none.
        BatchShardingError: where a batch would have come: `sharding` does not fit it.
        DataLeafError: where a batch would have come: something in it is no array.

    Example:
        >>> import numpy as np
        >>> from linen_train.data import ArrayLoader, prefetch_to_device
        >>> loader = ArrayLoader(np.arange(6), batch_size=2, epochs=1)
        >>> with prefetch_to_device(loader, size=2) as batches:
        ...     [int(batch.sum()) for batch in batches]
        [1, 5, 9]

        Over all devices, each with its part of the batch:

        >>> import jax
        >>> from jax.sharding import NamedSharding, PartitionSpec
        >>> mesh = jax.make_mesh((jax.device_count(),), ("data",))
        >>> split = NamedSharding(mesh, PartitionSpec("data"))
        >>> loader = ArrayLoader(np.arange(32), batch_size=16, epochs=1, shard_by_process=True)
        >>> with prefetch_to_device(loader, sharding=split) as batches:
        ...     next(batches).sharding == split
        True
    """
    return Prefetcher(batches, size, sharding=sharding)


class Prefetcher(Iterator[_Batch]):
    """What `prefetch_to_device` returns: batches on the device, made ready ahead of time.

    Args:
        batches: pytrees of arrays.
        size: how many batches to keep ready.
        sharding: where each array goes, as in `prefetch_to_device`.

    Raises:
        DataShapeError: `size` is no whole number, or less than 1.
        DataOptionError: `sharding` holds something that is none.
        BatchShardingError: where a batch would have come: `sharding` does not fit it.
        DataLeafError: where a batch would have come: something in it is no array.
    """

    def __init__(self, batches: Iterable[_Batch], size: int, *, sharding: Any = None) -> None:
        if not isinstance(size, int | np.integer) or size < 1:
            raise DataShapeError(
                f"prefetch_to_device: found size={size!r:.80}, expected at least 1 batch. Write size=2."
            )
        for leaf in jax.tree.leaves(sharding):
            if not isinstance(leaf, jax.sharding.Sharding):
                raise DataOptionError(
                    f"prefetch_to_device: found {leaf!r:.80} in sharding, expected shardings. Write "
                    "sharding=NamedSharding(mesh, PartitionSpec('data'))."
                )
        self._source = iter(batches)
        self._size = size
        self._sharding = sharding
        self._has_state = isinstance(self._source, TellsPosition)
        self._start()

    def __next__(self) -> _Batch:
        item = self._buffer.get()
        if item is None:
            self._check_open()
            raise StopIteration
        batch, self._state = item
        return batch

    def get_state(self) -> Any:
        """Return the position after the batch that was handed out last.

        Returns:
            What `get_state` of the iterator returned there. Give it to `set_state` of that kind of
            iterator before prefetching from it.

        Raises:
            DataPositionError: the iterator has no `get_state`.

        Example:
            >>> import numpy as np
            >>> from linen_train.data import ArrayLoader, prefetch_to_device
            >>> loader = ArrayLoader(np.arange(6), batch_size=2, epochs=1)
            >>> with prefetch_to_device(loader) as batches:
            ...     _ = next(batches)
            ...     batches.get_state()["position"]
            1
        """
        if not self._has_state:
            raise DataPositionError(
                "prefetch_to_device: found an iterator without get_state, expected one that can tell "
                "its position, as those of ArrayLoader do."
            )
        return self._state

    def set_state(self, state: Any) -> None:
        """Go on from a position, and drop the batches that are ready.

        Waits until the iterator has returned the batch it is working on. A position that the
        iterator does not accept changes nothing.

        Args:
            state: what `get_state` returned, of this prefetcher or of that kind of iterator.

        Raises:
            DataPositionError: the iterator has no `get_state` and `set_state`, or does not accept
                the position.
            PrefetchClosedError: the prefetcher is closed.

        Example:
            >>> import numpy as np
            >>> from linen_train.data import ArrayLoader, prefetch_to_device
            >>> loader = ArrayLoader(np.arange(6), batch_size=2, epochs=1)
            >>> with prefetch_to_device(loader) as batches:
            ...     state = batches.get_state()
            ...     first = next(batches)
            ...     batches.set_state(state)
            ...     next(batches).tolist()
            [0, 1]
        """
        source = self._source
        if not isinstance(source, CheckpointableIterator):
            raise DataPositionError(
                "prefetch_to_device: found an iterator without get_state and set_state, expected one "
                "that can go to a position, as those of ArrayLoader can."
            )
        self._check_open()
        self._finalizer()
        self._thread.join()
        try:
            source.set_state(state)
        except BaseException:
            source.set_state(self._state)
            raise
        finally:
            self._start()

    def close(self) -> None:
        """End the thread and let go of the batches that are ready. Closing twice is fine.

        Waits until the iterator has returned the batch it is working on, for five seconds at most.
        """
        self._finalizer()

    def _start(self) -> None:
        self._state = _state(self._source)
        self._buffer: _Buffer[tuple[_Batch, Any]] = _Buffer(self._size)
        self._thread = threading.Thread(
            target=_fill,
            args=(self._source, self._buffer, self._sharding),
            name="prefetch",
            daemon=True,
        )
        # Runs when the prefetcher is closed, collected, or alive at the interpreter's exit.
        self._finalizer = weakref.finalize(self, _stop, self._buffer, self._thread)
        self._thread.start()

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise PrefetchClosedError(
                "prefetch_to_device: the prefetcher is closed. Draw batches inside its `with` block, "
                "or make a new one."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Buffer(Generic[_Batch]):
    """A bounded queue that one side fills and ends, and the other empties and closes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[_Batch] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._closed = False

    def put(self, item: _Batch) -> bool:
        """Add an item when there is room; False when nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._size or self._closed)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException | None) -> None:
        """Say that no item follows, and why."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self) -> _Batch | None:
        """Take the next item; None when none follows. Raises, once, the error that ended it."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended or self._closed)
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def close(self) -> None:
        """Drop what is there and refuse what comes."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._error = None
            self._changed.notify_all()


def _fill(source: Iterator[Any], buffer: _Buffer[tuple[Any, Any]], sharding: Any) -> None:
    """Fill the buffer until the source ends, fails, or nobody wants more; the thread's body."""
    error: BaseException | None = None
    try:
        for number, batch in enumerate(source):
            if not buffer.put((transferred(batch, sharding, number), _state(source))):
                return
    except BaseException as caught:
        error = caught
    buffer.end(error)


def _state(source: Iterator[Any]) -> Any:
    # The state may be a dict that the source changes as it goes on.
    return copy.deepcopy(source.get_state()) if isinstance(source, TellsPosition) else None


def _stop(buffer: _Buffer[Any], thread: threading.Thread) -> None:
    buffer.close()
    # Collection can happen anywhere, also in the thread itself. A source that never returns must
    # not hang its consumer; the thread ends with the interpreter then.
    if thread is not threading.current_thread():
        thread.join(_JOIN_SECONDS)
