"""The cyclic garbage collector, out of the way of work that makes many objects and no garbage."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["paused_collection"]


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Keep the collector from running; what reference counts free is freed as ever.

    A few thousand new objects make it look at every object of the process, which takes longer than
    reading that many arrays. A collector that is off already stays off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
