"""The random streams at one place of a tree of scopes: drawing keys and counting the draws.

A key depends on the stream's key, the path of the place and how often the place has drawn from the
stream before. The counts outlive the scopes at that place, so that a module that is called twice
draws other keys the second time.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from linen_core._rngs import LazyRng, Rng
from linen_core._tree import Tree
from linen_core.errors import InvalidRngError
from linen_core.errors._base import place


class Draws:
    """How many keys were drawn from each stream at one place, and at the places below."""

    __slots__ = ("below", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.below: dict[str, Draws] = {}


class Streams:
    """The random streams at one place.

    Args:
        keys: a dict from stream names to the keys that were given to the tree, at its root.
        path: the path from there to this place.
        draws: the draws at this place so far.

    Attributes:
        draws: the draws at this place, which all streams of the place have in common.
    """

    __slots__ = ("_keys", "_path", "draws")

    def __init__(
        self, keys: Mapping[str, Rng], path: tuple[str, ...] = (), draws: Draws | None = None
    ) -> None:
        self._keys = keys
        self._path = path
        self.draws = Draws() if draws is None else draws

    @property
    def names(self) -> Collection[str]:
        """The names of the streams."""
        return self._keys.keys()

    @property
    def keys(self) -> Mapping[str, Rng]:
        """The keys at this place, lazily folded with the path."""
        if not self._path:
            return self._keys
        return {stream: LazyRng.create(rng, *self._path) for stream, rng in self._keys.items()}

    def below(self, name: str) -> "Streams":
        """Give the streams one place down; draws go on counting when the name was there before."""
        below = self.draws.below
        draws = below.get(name)
        if draws is None:
            draws = below[name] = Draws()
        return Streams(self._keys, (*self._path, name), draws)

    def rewound(self) -> "Streams":
        """Give the same streams, from which nothing was drawn yet."""
        return Streams(self._keys, self._path)

    def draw(self, stream: str, tree: Tree, path: Sequence[str]) -> LazyRng:
        """Give the next key of a stream, or of "params" if there is no such stream."""
        keys = self._keys
        if stream not in keys:
            for name in (stream, "params"):
                if name not in keys and (refusal := tree.withheld.get(name)) is not None:
                    raise refusal(path)
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
        counts = self.draws.counts
        count = counts[stream] = counts.get(stream, 0) + 1
        if tree.rehearsal is not None:
            return tree.rehearsal.key(self.draws, stream, keys[stream], self._path)
        return LazyRng.create(keys[stream], *self._path, count)


def _warn_if_misspelt(stream: str, keys: Mapping[str, Any], tree: Tree) -> None:
    others = [name for name in keys if name != "params"]
    if near := difflib.get_close_matches(stream, others, n=1, cutoff=0.75):
        tree.warn_once(
            f'There is no random stream "{stream}", so "params" is used instead. '
            f'Did you mean "{near[0]}"?'
        )
