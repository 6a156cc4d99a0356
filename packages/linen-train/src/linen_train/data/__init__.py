"""Feeding arrays to a training loop: batches, shuffles, positions, and transfer ahead of time."""

from linen_train.data.iterator import CheckpointableIterator
from linen_train.data.loader import ArrayBatches, ArrayLoader
from linen_train.data.prefetch import Prefetcher, prefetch_to_device

__all__ = [
    "ArrayBatches",
    "ArrayLoader",
    "CheckpointableIterator",
    "Prefetcher",
    "prefetch_to_device",
]
