"""The protocol of iterators that can be saved and resumed."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

__all__ = ["CheckpointableIterator", "TellsPosition"]

_Batch = TypeVar("_Batch", covariant=True)


@runtime_checkable
class TellsPosition(Protocol):
    """What knows its position, whether or not it can go to another one."""

    def get_state(self) -> Any:
        """Return the position."""
        ...


@runtime_checkable
class CheckpointableIterator(Iterator[_Batch], Protocol[_Batch]):
    """An iterator over batches that knows its position.

    The iterators of `ArrayLoader`, the prefetcher over them, and those of the library `grain` are of
    this kind. Whatever takes such an iterator takes any of them, and any class of yours with these
    methods.

    Example:
        >>> import numpy as np
        >>> from linen_train.data import ArrayLoader, CheckpointableIterator
        >>> batches = iter(ArrayLoader(np.arange(4), batch_size=2, epochs=1))
        >>> isinstance(batches, CheckpointableIterator)
        True
    """

    def get_state(self) -> Any:
        """Return the position after the batch that was handed out last.

        Returns:
            What `set_state` takes, of a form that can be saved: JSON values for `ArrayLoader`, a
            dict or bytes for grain. It does not change when the iterator goes on.
        """
        ...

    def set_state(self, state: Any) -> None:
        """Go on from a position: the batches that follow are those that followed it.

        Args:
            state: what `get_state` of an iterator over the same data returned.
        """
        ...
