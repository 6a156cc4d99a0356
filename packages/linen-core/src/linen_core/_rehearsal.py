"""Rehearsals: bodies that count random draws as if they had run twice.

flax.linen runs the Python body of a scan once to find out what it returns and then again, and only
the draws of the second run reach a result. (Those for variables that the first run creates and the
second one finds do not happen again.) Here a body runs once. To give the same numbers, its draws
count as the second ones: every count goes up by the number of draws that the whole body makes from
that stream at that place, which is known when the body has ended. Until then a draw's number, the
*digest* of its path and count, is a value that the trace holds open; it is filled in when the trace
is lowered or evaluated.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linen_core._filters import CollectionFilter, in_filter
from linen_core._rngs import LazyRng, PathPart, digest_of
from linen_core.config import config

if TYPE_CHECKING:
    from linen_core._streams import Draws


class Rehearsal:
    """One run of a body that counts as two, or more.

    Args:
        once: a filter of the collections whose variables the first run creates: the second one
            finds them, and does not draw for them again.
        outer: the rehearsal that the body is a part of.
        runs: the number of runs that it counts as.
    """

    def __init__(
        self, once: CollectionFilter = False, outer: "Rehearsal | None" = None, runs: int = 2
    ) -> None:
        self._once = once
        self._runs = runs
        self._outer = outer
        self._created: list[str] = []
        self._open: list[tuple[_OpenDraw, bool]] = []
        # What the counts went up by at the end, for bodies that JAX differentiates later.
        self._added: Counter[tuple[int, str]] | None = None

    @contextlib.contextmanager
    def creating(self, col: str) -> Iterator[None]:
        """Say that draws in a `with` block are for a new variable of a collection."""
        self._created.append(col)
        try:
            yield
        finally:
            self._created.pop()

    def key(
        self, draws: "Draws", stream: str, rng: "jax.Array | LazyRng", path: tuple[str, ...]
    ) -> LazyRng:
        """Give the key of the last draw from a stream at a place."""
        lazy = LazyRng.create(rng, *path)
        draw = _OpenDraw(draws, stream, lazy.suffix)
        created, rehearsal = self._created, self
        while rehearsal is not None:
            is_once = any(in_filter(rehearsal._once, col) for col in created)
            if rehearsal._added is None:
                rehearsal._open.append((draw, is_once))
            elif not is_once:
                draw.count += rehearsal._added[id(draws), stream]
            rehearsal = rehearsal._outer
        return _OpenRng(lazy.rng, (*lazy.suffix, draw.count), draw)

    def end(self) -> None:
        """Count what the body has drawn again, for the other runs."""
        more = self._runs - 1
        again = [draw for draw, is_once in self._open if not is_once]
        self._added = Counter()
        for draw in again:
            self._added[id(draw.draws), draw.stream] += more * draw.number
        for draw in again:
            draw.count += self._added[id(draw.draws), draw.stream]
            draw.draws.counts[draw.stream] += more * draw.number
            draw.number *= self._runs

    def take_back(self) -> None:
        """Count nothing of what the body has drawn: its results are not used."""
        for draw, _ in self._open:
            draw.draws.counts[draw.stream] -= draw.number
            draw.number = 0


class _OpenDraw:
    """A draw whose count may still go up, and the number of draws that it stands for."""

    __slots__ = ("count", "draws", "number", "separate", "stream", "suffix")

    def __init__(self, draws: "Draws", stream: str, suffix: tuple[PathPart, ...]) -> None:
        self.draws = draws
        self.stream = stream
        self.suffix = suffix
        self.count = draws.counts[stream]
        self.number = 1
        self.separate = config.fix_rng_separator

    def digest(self) -> np.uint32:
        """Give the number to fold in, as far as it is known now."""
        return digest_of((*self.suffix, self.count), self.separate)


class _OpenRng(LazyRng):
    """The key of an open draw."""

    __slots__ = ("_draw",)

    def __init__(self, rng: jax.Array, suffix: tuple[PathPart, ...], draw: _OpenDraw) -> None:
        super().__init__(rng, suffix)
        self._draw = draw

    @property
    def digest(self) -> Any:
        """The number that stands for the path and count, in a trace."""
        return _digest_primitive().bind(draw=self._draw)


@functools.cache
def _digest_primitive() -> Any:
    # Here, since importing jax.extend takes as long as importing all of this package.
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    primitive = Primitive("open_digest")
    primitive.def_impl(lambda *, draw: jnp.asarray(draw.digest()))
    primitive.def_abstract_eval(lambda *, draw: jax.core.ShapedArray((), np.dtype("uint32")))
    lowering = mlir.lower_fun(lambda *, draw: jnp.asarray(draw.digest()), multiple_results=False)
    mlir.register_lowering(primitive, lowering)
    return primitive
