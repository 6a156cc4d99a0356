"""Items of an iterator before they are needed, made in a background thread.

`linen_train.data.prefetch_to_device` does this and puts the items on the devices; `PrefetchIterator`
leaves them as they are.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from linen_train.errors import DataShapeError, PrefetchClosedError

__all__ = ["PrefetchIterator"]

_Item = TypeVar("_Item")


class PrefetchIterator(Iterator[_Item]):
    """Draws items from an iterator in a thread, and keeps some of them ready.

    Args:
        data_iter: where the items come from. From now on only the thread may draw from it. An error
            in it is raised where the item would have come, and again by every later call.
        buffer_size: how many items are kept ready.

    Raises:
        DataShapeError: `buffer_size` is less than 1.

    Example:
        >>> batches = PrefetchIterator(iter(range(3)), buffer_size=2)
        >>> list(batches)
        [0, 1, 2]
    """

    def __init__(self, data_iter: Iterable[_Item], buffer_size: int = 1) -> None:
        if buffer_size < 1:
            raise DataShapeError(
                f"PrefetchIterator: found buffer_size={buffer_size}, expected at least 1 item."
            )
        self._buffer: _Buffer[_Item] = _Buffer(buffer_size)
        # The thread does not know this object, whose collection ends the thread.
        thread = threading.Thread(
            target=_fill, args=(iter(data_iter), self._buffer), name="prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, self._buffer.close)
        thread.start()

    def __next__(self) -> _Item:
        return self._buffer.get()

    def close(self) -> None:
        """End the thread, after the item it is working on, and let go of what is ready.

        Closing twice is fine. Afterwards `next` raises PrefetchClosedError.

        Example:
            >>> batches = PrefetchIterator(iter(range(3)))
            >>> batches.close()
        """
        self._finalizer()


class _Buffer(Generic[_Item]):
    """What the thread and the consumer share."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[_Item] = deque()
        self._end: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: _Item) -> bool:
        """Add an item when there is room, and say whether there is any use in another."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            return not self._closed

    def end(self, reason: BaseException) -> None:
        """Say that no item follows."""
        with self._changed:
            self._end = reason
            self._changed.notify_all()

    def get(self) -> _Item:
        """Return the next item, or raise why there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items or self._end)
            if self._closed:
                raise PrefetchClosedError(
                    "PrefetchIterator: it was closed. Draw items before close(), or make a new one."
                )
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            assert self._end is not None
            raise self._end

    def close(self) -> None:
        """Wake both sides up for the last time."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()


def _fill(source: Iterator[_Item], buffer: _Buffer[_Item]) -> None:
    try:
        for item in source:
            if not buffer.put(item):
                return
        buffer.end(StopIteration())
    except BaseException as error:
        buffer.end(error)
