"""Timing functions against each other on a machine that is never quiet.

The functions take turns, so that a slow moment falls on all of them. A *ratio* is the median of the
ratios within each turn. Garbage is collected before each call and not during it.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Timings:
    """Seconds by name, one number for each turn.

    Attributes:
        seconds: equally long lists, by name.
    """

    seconds: Mapping[str, Sequence[float]]

    def ratio(self, name: str, other: str) -> float:
        """Returns how many times as long one function takes as another."""
        turns = zip(self.seconds[name], self.seconds[other], strict=True)
        return median(one / two for one, two in turns)


def interleave(
    functions: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int, warm: bool = True
) -> Timings:
    """Calls functions in turn and takes the time.

    Args:
        functions: by name, what prepares a call without being timed and returns the call to time.
        repeats: how many turns.
        warm: whether a turn that is not counted comes first.

    Returns:
        The times of all turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + warm):
        for name, prepare in functions.items():
            call = prepare()
            elapsed = timed(call)
            if turn >= warm:
                seconds[name].append(elapsed)
    return Timings(seconds)


def timed(call: Callable[[], Any]) -> float:
    """Returns the seconds that one call takes."""
    gc.collect()
    gc.disable()
    try:
        start = perf_counter()
        call()
        return perf_counter() - start
    finally:
        gc.enable()
