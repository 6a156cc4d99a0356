"""Random streams: one key per stream name, from which every path in a model derives its own keys.

A *stream* is a name ("params", "dropout") with a key. A *draw* from a stream in a scope gives a
new key that depends on the stream's key, the scope's path and how many draws came before in that
scope, and on nothing else: it does not matter which other parts of a model draw, or in which
order. The derivation is one `jax.random.fold_in` of the stream's key with the first four bytes
(big-endian) of the SHA-1 of the path's parts followed by the counter. Strings enter as UTF-8 and
integers as big-endian bytes, as few as they need (zero needs none), without separators; with
`config.fix_rng_separator` a zero byte precedes every part.

A key that is not needed yet is a `LazyRng`: a key and the path to fold in. Descending into a
submodule only appends to that path.
"""

import functools
import hashlib
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from linen_core.config import config
from linen_core.errors import InvalidRngError

PathPart: TypeAlias = str | int

# One trace for every key in the process: a draw costs one cached call.
fold_in = jax.jit(jax.random.fold_in)


class LazyRng:
    """A key, and the parts of a path that are still to be folded into it.

    Args:
        rng: a typed key (shape `()`) or a raw uint32 key.
        suffix: path parts, strings and non-negative integers.

    Example:
        >>> import jax
        >>> from linen_core import LazyRng
        >>> lazy = LazyRng.create(LazyRng.create(jax.random.key(0), "encoder"), "Dense_0", 1)
        >>> lazy.suffix
        ('encoder', 'Dense_0', 1)
        >>> lazy.as_jax_rng().shape
        ()
        >>> lazy.clear_suffix().suffix
        ()
    """

    __slots__ = ("rng", "suffix")

    rng: jax.Array
    suffix: tuple[PathPart, ...]

    def __init__(self, rng: jax.Array, suffix: tuple[PathPart, ...] = ()) -> None:
        self.rng = rng
        self.suffix = suffix

    def as_jax_rng(self) -> jax.Array:
        """Fold the path in.

        Returns:
            A key of the same kind as `rng`.
        """
        if not self.suffix:
            return self.rng
        return fold_in(self.rng, self.digest)

    @property
    def digest(self) -> np.uint32:
        """The number that stands for the path when it is folded in."""
        return digest_of(self.suffix, config.fix_rng_separator)

    @staticmethod
    def create(rng: "jax.Array | LazyRng", *suffix: PathPart) -> "LazyRng":
        """Append parts to the path of a key.

        Args:
            rng: a key or a lazy key.
            *suffix: the path parts to append.

        Returns:
            A lazy key; `rng` itself is unchanged.
        """
        if isinstance(rng, LazyRng):
            return LazyRng(rng.rng, rng.suffix + suffix)
        return LazyRng(rng, suffix)

    def clear_suffix(self) -> "LazyRng":
        """Leave the path out.

        Returns:
            A lazy key that gives `rng` itself.
        """
        return LazyRng(self.rng)

    def __repr__(self) -> str:
        return f"LazyRng({self.rng!r}, suffix={self.suffix!r})"


# A lazy key may cross a JAX transformation: the key is data and the path is structure.
jax.tree_util.register_pytree_node(
    LazyRng, lambda lazy: ((lazy.rng,), lazy.suffix), lambda suffix, data: LazyRng(data[0], suffix)
)

Rng: TypeAlias = jax.Array | LazyRng
Rngs: TypeAlias = Rng | Mapping[str, Rng]


@functools.lru_cache(maxsize=16_384)
def digest_of(suffix: tuple[PathPart, ...], separate: bool) -> np.uint32:
    """Give the number that stands for a path, with or without separators between its parts."""
    digest = hashlib.sha1(usedforsecurity=False)
    for part in suffix:
        if separate:
            digest.update(b"\0")
        if isinstance(part, str):
            digest.update(part.encode("utf-8"))
        else:
            digest.update(part.to_bytes((part.bit_length() + 7) // 8, "big"))
    return np.uint32(struct.unpack(">I", digest.digest()[:4])[0])


def is_valid_rng(rng: Any) -> bool:
    """Say whether something is a single random key, typed or raw, concrete or traced."""
    if isinstance(rng, LazyRng):
        rng = rng.rng
    if not isinstance(rng, (jax.Array, np.ndarray)):
        return False
    if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        return rng.shape == ()
    return rng.dtype == np.uint32 and rng.ndim == 1


def as_streams(rngs: Rngs, what: str) -> dict[str, Rng]:
    """Give the streams that a user's `rngs` argument means.

    Args:
        rngs: a key, which stands for the stream "params", or a mapping of streams.
        what: how the argument is introduced in an error's text.

    Returns:
        A new dict from stream names to keys.

    Raises:
        InvalidRngError: something in `rngs` is not a single key.
    """
    streams = dict(rngs) if isinstance(rngs, Mapping) else {"params": rngs}
    for name, rng in streams.items():
        if not isinstance(name, str) or not is_valid_rng(rng):
            raise InvalidRngError.not_a_key(what, name, rng)
    return streams
