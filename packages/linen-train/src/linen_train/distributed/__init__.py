"""Many devices and many processes: set-up, meshes, variables and batches that are split over them."""

from linen_train.distributed.batch import batch_shard, shard_batch
from linen_train.distributed.mesh import make_mesh
from linen_train.distributed.processes import Processes, initialize
from linen_train.distributed.sharded import abstract_sharded, init_sharded

__all__ = [
    "Processes",
    "abstract_sharded",
    "batch_shard",
    "init_sharded",
    "initialize",
    "make_mesh",
    "shard_batch",
]
