"""States whose every bit is known from the number of their step, and what a restored one must equal."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

KEEP_LAST = 3
TARGET_BYTES = 300_000  # of one state, about
SHARED_SHAPE = (8, 4096)


class Moments(NamedTuple):
    count: Any
    mean: Any


def state_of(step: int) -> dict[str, Any]:
    """Returns the state of a step."""
    rng = np.random.default_rng(step)
    return {
        "params": {
            "dense": {
                "kernel": rng.standard_normal((256, 256), np.float32),
                "bias": rng.integers(0, 255, 64, np.uint8).view(np.int8),
            },
            "embed": jnp.asarray(rng.integers(0, 2**16, (8, 33), np.uint16).view(jnp.bfloat16)),
        },
        "opt": Moments(np.int32(step), [rng.integers(0, 255, (5, 7), np.uint8)]),
        "rng": jax.random.wrap_key_data(jnp.asarray(rng.integers(0, 2**32, 2, np.uint32))),
        "step": step,
    }


def shared_values(step: int) -> np.ndarray:
    """Returns the array of a step that several processes save together."""
    return np.random.default_rng(step).standard_normal(SHARED_SHAPE, np.float32)


def data_of(step: int) -> dict[str, Any]:
    """Returns the state of the data at a step."""
    return {"position": step * 7, "order": [step, step + 1]}


def bits(state: Any) -> list[bytes]:
    """Returns the leaves as bytes."""
    return [
        np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf).tobytes()
        for leaf in jax.tree.leaves(state)
    ]


def is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def differing_leaves(restored: Any, step: int) -> list[str]:
    """Returns the paths of the leaves of a restored state that are not those of the step."""
    expected = state_of(step)
    paths = [
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(expected)
    ]
    found, known = bits(restored), bits(expected)
    if len(found) != len(known):
        return ["the structure"]
    return [path for path, a, b in zip(paths, found, known, strict=True) if a != b]


def leftovers(directory: Path) -> list[str]:
    """Returns what is in the directory of a checkpointer beside steps."""
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.isdigit())
