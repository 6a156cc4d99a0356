"""The random streams at one place of a tree of scopes: drawing keys and counting the draws.

A key depends on the stream's key, the path of the place and how often the place has drawn from the
stream before. The counts outlive the scopes at that place, so that a module that is called twice
draws other keys the second time.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from linen_core._rngs import LazyRng, Rng
from linen_core._tree import Tree
from linen_core.errors import InvalidRngError
from linen_core.errors._base import place


class _Draws:
    """How many keys were drawn from each stream at one place, and at the places below."""

    __slots__ = ("below", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.below: dict[str, _Draws] = {}


class Streams:
    """The random streams at one place.

    Args:
        keys: a dict from stream names to keys; None derives them from `outer` when needed.
        outer: the streams one place up.
        name: the last part of the path.
    """

    __slots__ = ("_draws", "_keys", "_name", "_outer")

    def __init__(
        self, keys: Mapping[str, Rng] | None, outer: "Streams | None" = None, name: str = ""
    ) -> None:
        self._keys = keys
        self._outer = outer
        self._name = name
        self._draws = _Draws()

    @property
    def keys(self) -> Mapping[str, Rng]:
        """The keys at this place, lazily folded with the path."""
        if self._keys is None:
            outer = {} if self._outer is None else self._outer.keys
            self._keys = {s: LazyRng.create(rng, self._name) for s, rng in outer.items()}
        return self._keys

    def below(self, name: str) -> "Streams":
        """Give the streams one place down; draws go on counting when the name was there before."""
        streams = Streams(None, self, name)
        streams._draws = self._draws.below.setdefault(name, streams._draws)
        return streams

    def rewound(self) -> "Streams":
        """Give the same streams, from which nothing was drawn yet."""
        return Streams(self._keys, self._outer, self._name)

    def draw(self, stream: str, tree: Tree, path: Sequence[str]) -> jax.Array:
        """Give the next key of a stream, or of "params" if there is no such stream."""
        keys = self.keys
        if stream not in keys:
            if "params" not in keys:
                raise InvalidRngError.missing_stream(
                    path, stream, keys, tree.flags.get("initializing", False)
                )
            _warn_if_misspelt(stream, keys, tree)
            stream = "params"
        if not tree.is_own_trace():
            tree.warn_once(
                f'{place(path)} draws from the random stream "{stream}" inside a JAX '
                "transformation that began after the module was bound: every iteration gets the "
                "same key. Use the lifted transformation from linen_transforms, with split_rngs."
            )
        counts = self._draws.counts
        count = counts[stream] = counts.get(stream, 0) + 1
        return LazyRng.create(keys[stream], count).as_jax_rng()


def _warn_if_misspelt(stream: str, keys: Mapping[str, Any], tree: Tree) -> None:
    others = [name for name in keys if name != "params"]
    if near := difflib.get_close_matches(stream, others, n=1, cutoff=0.75):
        tree.warn_once(
            f'There is no random stream "{stream}", so "params" is used instead. '
            f'Did you mean "{near[0]}"?'
        )
