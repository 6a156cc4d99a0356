"""Reading steps that Orbax wrote for others.

They are read whole, by Orbax, into host memory, and nothing says whether they are undamaged.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from linen_train.checkpoint._leaves import LeafDescription, describe, is_key
from linen_train.checkpoint._paths import flatten
from linen_train.checkpoint._reading import Buffer, Damage
from linen_train.checkpoint._restoring import DamagedStepError

__all__ = ["OrbaxStep", "is_orbax", "read_tree"]

_TREE = "_METADATA"
_LENGTHS_OF_KEYS = (2, 4)


def is_orbax(folder: Path) -> bool:
    """Whether Orbax wrote a folder, with a tree of arrays in it."""
    return bool(_items(folder))


class OrbaxStep:
    """The trees of arrays of a step: the tree itself where there is one, a dict of them by name.

    Raises:
        DamagedStepError: Orbax cannot read it.
    """

    def __init__(self, folder: Path) -> None:
        self._values: dict[str, Any] = {}
        for name, item in _items(folder).items():
            try:
                tree = read_tree(item, _restore_args)
            except Exception as error:  # whatever Orbax and TensorStore raise
                what = f"cannot be read by Orbax ({type(error).__name__}: {error!s:.200})"
                raise DamagedStepError([Damage(item.name, what)]) from error
            leaves, _ = flatten({name: tree} if name else tree)
            self._values.update({path: _on_host(leaf) for path, leaf in leaves.items()})
        self.leaves: dict[str, LeafDescription] = {
            path: describe(path, leaf) for path, leaf in self._values.items()
        }

    def fill(self, wanted: Mapping[str, Sequence[Buffer]]) -> list[Damage]:
        """Fill buffers, by path of their leaf."""
        for path, buffers in wanted.items():
            leaf = self._values[path]
            array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
            for buffer in buffers:
                buffer.array[...] = array[tuple(slice(a, b) for a, b in buffer.region)]
        return []


def _items(folder: Path) -> dict[str, Path]:
    """Return where the trees of a step are, by name: "" where it has only one."""
    if (folder / _TREE).is_file():
        return {"": folder}
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    items = {item.name: item for item in inside if (item / _TREE).is_file()}
    return {"": items.popitem()[1]} if len(items) == 1 else items


def read_tree(folder: Path, restore_args: Callable[[Any], Any]) -> Any:
    """Return the tree in a folder that Orbax wrote.

    Args:
        folder: the folder, as an absolute path.
        restore_args: takes what Orbax knows of a leaf, returns how to read it.
    """
    import orbax.checkpoint as ocp  # takes longer to import than all else together

    handler: Any = ocp.PyTreeCheckpointHandler()
    try:
        metadata = handler.metadata(folder)
        how = jax.tree.map(restore_args, getattr(metadata, "tree", metadata))
        return handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=how))
    finally:
        handler.close()


def _on_host(leaf: Any) -> Any:
    return leaf if is_key(leaf) or not isinstance(leaf, jax.Array) else np.asarray(leaf)


def _restore_args(leaf: Any) -> Any:
    """Return how to read a leaf: as an array of NumPy, or where it may be a random key, of JAX."""
    import orbax.checkpoint as ocp

    shape: Any = getattr(leaf, "shape", None) or ()
    if (
        str(getattr(leaf, "dtype", None)) == "uint32"
        and shape[-1:]
        and shape[-1] in _LENGTHS_OF_KEYS
    ):
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return ocp.ArrayRestoreArgs(sharding=sharding)
    return ocp.RestoreArgs(restore_type=np.ndarray)
