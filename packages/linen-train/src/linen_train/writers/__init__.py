"""Writers: where the numbers of a training run go.

A *writer* takes *rows*: a step, and numbers by name. Each row is a line of a JSONL or CSV file, a line
on the console, or points in TensorBoard; a `MultiWriter` passes it to several writers.

Step `n` is the state after `n` updates. A run that is resumed from the checkpoint of step `n` writes
from step `n + 1` on, and opens its writers with `resume_step=n`: rows of later steps, which the
interrupted run wrote after its last checkpoint, are dropped, so that no step is there twice.

A file has one writer. With several processes, one of them writes, the one for which
`jax.process_index() == 0`, what all have reduced (`linen_train.metrics`).
"""

from linen_train.writers.console import ConsoleWriter
from linen_train.writers.csv import CSVWriter
from linen_train.writers.jsonl import JSONLWriter
from linen_train.writers.multi import MultiWriter
from linen_train.writers.tensorboard import TensorBoardWriter
from linen_train.writers.writer import Writer

__all__ = [
    "CSVWriter",
    "ConsoleWriter",
    "JSONLWriter",
    "MultiWriter",
    "TensorBoardWriter",
    "Writer",
]
