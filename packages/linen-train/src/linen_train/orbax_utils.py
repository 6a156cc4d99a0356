"""Arguments of Orbax's pytree handlers, made from a target.

For programs that call `orbax.checkpoint` themselves. `linen_train.Checkpointer` needs none of this.
"""

from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_core.state_dict import to_state_dict
from linen_core.traverse_util import flatten_dict

__all__ = [
    "is_multi_device_array",
    "maybe_construct_transformations",
    "restore_args_from_target",
    "save_args_from_target",
]


def is_multi_device_array(value: Any) -> bool:
    """Say whether a value is an array whose parts are on several devices.

    Args:
        value: anything.

    Returns:
        True for a `jax.Array` that is split, False for copies of one array and all else.

    Example:
        >>> import jax.numpy as jnp
        >>> is_multi_device_array(jnp.ones(3)), is_multi_device_array("text")
        (False, False)
    """
    return isinstance(value, jax.Array) and not value.is_fully_replicated


def save_args_from_target(target: Any) -> Any:
    """Return Orbax's default `SaveArgs` for every leaf.

    Args:
        target: the pytree that will be saved.

    Returns:
        A tree of the same structure.

    Example:
        >>> import jax.numpy as jnp
        >>> save_args_from_target({"kernel": jnp.ones(3)})["kernel"].aggregate
        False
    """
    return jax.tree.map(lambda _: ocp.SaveArgs(), target)


def restore_args_from_target(target: Any, mesh: Mesh | None = None) -> Any:
    """Return the `RestoreArgs` that make Orbax restore leaves as those of the target.

    Args:
        target: a pytree of arrays, `jax.ShapeDtypeStruct`s and numbers. Types, dtypes and shardings
            are taken from it.
        mesh: where given, arrays go onto this mesh, with the partition specs that they have in the
            target; those without one are copied to all its devices.

    Returns:
        A tree of the same structure.

    Example:
        >>> import numpy as np
        >>> restore_args_from_target({"kernel": np.ones(3, np.float16)})["kernel"].dtype
        dtype('float16')
    """

    def sharding_of(leaf: Any) -> Any:
        sharding = getattr(leaf, "sharding", None)
        if mesh is None or not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
            return sharding
        return NamedSharding(mesh, getattr(sharding, "spec", PartitionSpec()))

    shardings = jax.tree.map(sharding_of, target)
    # With a global shape, Orbax would cut or fill up arrays of another one.
    return ocp.checkpoint_utils.construct_restore_args(target, shardings, set_global_shape=False)


def maybe_construct_transformations(target: Any, transforms: Any | None) -> Any:
    """Return transformations that let a target have None where a checkpoint has nothing.

    Args:
        target: the pytree that will be restored.
        transforms: transformations of the caller's; where given, they are returned.

    Returns:
        A dict from the path of every None in the target to a transformation that keeps it.

    Example:
        >>> maybe_construct_transformations({"a": {"b": None}, "c": 1}, None).keys()
        dict_keys(['a/b'])
    """
    if transforms is not None:
        return transforms
    keep = ocp.Transform(use_fallback=True)
    state = to_state_dict(target)
    if not isinstance(state, Mapping):
        return {"": keep} if state is None else {}
    flat = flatten_dict(state, sep="/")
    return {path: keep for path, leaf in flat.items() if leaf is None}
