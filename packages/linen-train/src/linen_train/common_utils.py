"""Helpers of programs written for `jax.pmap`: a leading axis of arrays counts the local devices.

New programs give arrays a `jax.sharding.NamedSharding`: see `linen_train.distributed`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from linen_train.errors import DataShapeError

__all__ = ["get_metrics", "onehot", "shard", "shard_prng_key", "stack_forest"]

_Tree = TypeVar("_Tree")


def shard(xs: _Tree) -> _Tree:
    """Split the leading axis of arrays into one axis of local devices and the rest.

    Args:
        xs: a pytree of arrays of shapes (batch, ...), where the number of local devices divides the
            batch.

    Returns:
        The arrays in shapes (devices, batch / devices, ...), numpy arrays as numpy arrays.

    Raises:
        DataShapeError: an array has no leading axis, or one that cannot be split.

    Example:
        >>> import jax, numpy as np
        >>> devices = jax.local_device_count()
        >>> shard(np.zeros((2 * devices, 3))).shape == (devices, 2, 3)
        True
    """
    count = jax.local_device_count()

    def split(path: Any, x: Any) -> Any:
        if x.ndim == 0 or x.shape[0] % count:
            raise DataShapeError(
                f"shard: found shape {x.shape}{_at(path)}, expected a leading axis that {count} local "
                "devices divide evenly. Drop the remainder, or use jax_utils.pad_shard_unpad."
            )
        return x.reshape((count, x.shape[0] // count, *x.shape[1:]))

    return jax.tree_util.tree_map_with_path(split, xs)


def shard_prng_key(prng_key: jax.Array) -> jax.Array:
    """Return one random key for each local device.

    Args:
        prng_key: a random key, typed or of two integers.

    Returns:
        The keys that `jax.random.split` makes of it, along a leading axis.

    Example:
        >>> import jax
        >>> shard_prng_key(jax.random.key(0)).shape == (jax.local_device_count(),)
        True
    """
    return jax.random.split(prng_key, jax.local_device_count())


def stack_forest(forest: Sequence[_Tree]) -> _Tree:
    """Stack equal trees leaf by leaf.

    Args:
        forest: pytrees of one structure, with arrays of equal shapes or numbers.

    Returns:
        One tree of arrays with a new leading axis over the trees.

    Raises:
        DataShapeError: there is no tree.

    Example:
        >>> stack_forest([{"loss": 1.0}, {"loss": 3.0}])["loss"].tolist()
        [1.0, 3.0]
    """
    if not forest:
        raise DataShapeError("stack_forest: found no trees, expected at least one to stack.")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *forest)


def get_metrics(device_metrics: Sequence[_Tree]) -> _Tree:
    """Bring metrics of several steps, equal on all devices, to the host as one tree.

    Args:
        device_metrics: for each step a pytree of arrays of shapes (devices, ...), as `jax.pmap`
            returns after `jax.lax.pmean`. Those of the first local device are taken.

    Returns:
        A tree of arrays of shapes (steps, ...).

    Raises:
        DataShapeError: there are no steps, or an array without an axis of devices.

    Example:
        >>> import jax.numpy as jnp
        >>> steps = [{"loss": jnp.array([0.5, 0.5])}, {"loss": jnp.array([0.25, 0.25])}]
        >>> get_metrics(steps)["loss"].tolist()
        [0.5, 0.25]
    """
    first = jax.tree_util.tree_map_with_path(_on_first_device, list(device_metrics))
    return stack_forest(jax.device_get(first))


def onehot(
    labels: Any, num_classes: int, on_value: float = 1.0, off_value: float = 0.0
) -> jax.Array:
    """Return vectors with one value where the label is and another elsewhere.

    Args:
        labels: integer labels of any shape. One outside of [0, num_classes) has no place.
        num_classes: length of the vectors.
        on_value: what is at the label.
        off_value: what is elsewhere.

    Returns:
        A float32 array of shape (*labels.shape, num_classes).

    Example:
        >>> onehot([2, 0], 3).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    is_label = jax.nn.one_hot(jnp.asarray(labels), num_classes, dtype=bool)
    return jnp.where(is_label, jnp.float32(on_value), jnp.float32(off_value))


def _on_first_device(path: Any, x: Any) -> Any:
    if isinstance(x, jax.Array):
        x = x.addressable_shards[0].data
    if x.ndim == 0:
        raise DataShapeError(
            f"get_metrics: found a scalar{_at(path)}, expected a leading axis of devices. Metrics of "
            "jax.jit have none: use stack_forest."
        )
    return x[0]


def _at(path: Any) -> str:
    return f" at {jax.tree_util.keystr(path, simple=True, separator='/')}" if path else ""
