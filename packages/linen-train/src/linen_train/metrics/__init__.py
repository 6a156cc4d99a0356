"""Metrics that add up: over steps, over devices and over processes.

A *metric* is a pytree that holds sums, never averages. Merging two metrics adds what they hold, so a
mean over two batches of different sizes is the mean over all their examples, not the mean of two
means, and it does not matter in which order or in which groups they are merged.

    loss = Mean.from_batch(losses, mask=batch["mask"])     # one batch, inside of the jitted step
    total = total.merge(loss)                               # over steps
    loss.reduce("data")                                     # over a named axis: shard_map, pmap, vmap
    total.reduce_processes()                                # over processes, each with its own data
    total.compute()                                         # the number

Under `jax.jit` with sharded arrays the sums are sums over all devices, and nothing is to be reduced.

A *mask* says which elements count. Elements that it leaves out, and elements of weight 0, contribute
nothing, not even when they are NaN or infinite, so the padding of a batch may hold anything.
"""

from linen_train.metrics.accuracy import Accuracy
from linen_train.metrics.collection import MetricCollection
from linen_train.metrics.last import Last
from linen_train.metrics.metric import Metric
from linen_train.metrics.sums import Mean, Sum

__all__ = ["Accuracy", "Last", "Mean", "Metric", "MetricCollection", "Sum"]
