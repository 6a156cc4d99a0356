"""What can go wrong with several devices or processes."""

from linen_core.errors import LinenError

__all__ = [
    "BatchShardingError",
    "DistributedArgumentError",
    "DistributedConnectionError",
    "DistributedError",
    "DistributedSettingsError",
    "DistributedStateError",
    "DistributedTimeoutError",
    "InitShardingError",
    "MeshAxisError",
    "MeshShapeError",
]


class DistributedError(LinenError):
    """Base of what can go wrong with several devices or processes."""


class DistributedArgumentError(DistributedError, TypeError):
    """An argument is of another kind: no mesh, no devices, no model, no name of an axis."""


class DistributedSettingsError(DistributedError, ValueError):
    """The settings of the processes are incomplete, malformed, or differ between processes."""


class DistributedTimeoutError(DistributedError, TimeoutError):
    """A process waited for others, which did not come in time."""


class DistributedConnectionError(DistributedError, ConnectionError):
    """The coordinator's port is taken, or what answers there is no coordinator."""


class DistributedStateError(DistributedError, RuntimeError):
    """The processes were set up twice, or after JAX had begun to use its devices."""


class MeshShapeError(DistributedError, ValueError):
    """The sizes of a mesh do not fit the devices there are."""


class MeshAxisError(DistributedError, ValueError):
    """An argument, a box or a rule names an axis that the mesh does not have, or names one twice."""


class BatchShardingError(DistributedError, ValueError):
    """A batch cannot be split over the devices of a mesh."""


class InitShardingError(DistributedError, ValueError):
    """Variables cannot be made in parts: sizes do not divide, or values depend on missing arrays."""
