"""Tracebacks that show the user's code alone.

Between the line of a user that calls a module and the line of that user's module that goes wrong there are
frames of this package and of JAX. They are **hidden**: taken out of the traceback of an exception
that leaves `init`, `apply` or the call of a bound module, and out of those of the exceptions
that led to it. What stays are the frames of everybody else, layers included. Nothing is done as
long as nothing is raised.

The setting `filter_frames` (`LINEN_FILTER_FRAMES=0` in the environment) turns this off and shows every
frame, as one wants to debug this package. Whoever asks JAX to show its own frames
(`jax_traceback_filtering="off"`) sees those of JAX here too.
"""

import contextlib
import os
import types
from collections.abc import Iterator
from pathlib import Path

import jax

from linen_core.config import config

__all__ = ["hide_linen_in_tracebacks", "register_exclusion", "show_linen_in_tracebacks"]

_JAX = str(Path(str(jax.__file__)).parent) + os.sep

# The frames of context managers say nothing that the lines around them do not.
_excluded: tuple[str, ...] = (str(Path(__file__).parent) + os.sep, contextlib.__file__)


def hide_linen_in_tracebacks() -> None:
    """Leave the frames of this package and of JAX out of tracebacks, as is the default.

    Example:
        >>> from linen_core import config, tracebacks
        >>> tracebacks.hide_linen_in_tracebacks()
        >>> config.config.filter_frames
        True
    """
    config.update("filter_frames", True)


def show_linen_in_tracebacks() -> None:
    """Show every frame in tracebacks.

    Example:
        >>> from linen_core import config, tracebacks
        >>> tracebacks.show_linen_in_tracebacks()
        >>> config.config.filter_frames
        False
        >>> tracebacks.hide_linen_in_tracebacks()
    """
    config.update("filter_frames", False)


def register_exclusion(path: str) -> None:
    """Hide the frames of more files, as a package built on this one may want to.

    Args:
        path: a file, such as `__file__`, or a folder, which stands for all files below it.

    Example:
        >>> from linen_core import tracebacks
        >>> tracebacks.register_exclusion("/path/of/my_framework")
    """
    global _excluded
    whole = Path(path).absolute()
    prefix = str(whole) if whole.suffix == ".py" else f"{whole}{os.sep}"
    if prefix not in _excluded:
        _excluded = (*_excluded, prefix)


def hide_frames(error: BaseException) -> None:
    """Take the hidden frames out of the tracebacks of an exception and of those behind it.

    Args:
        error: an exception that is about to leave this package.
    """
    if not config.filter_frames:
        return
    shows_jax = getattr(jax.config, "jax_traceback_filtering") == "off"  # noqa: B009 - untyped
    hidden = _excluded if shows_jax else (*_excluded, _JAX)
    seen: set[int] = set()
    for one in _chain(error, seen):
        one.__traceback__ = _without(one.__traceback__, hidden)


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from or in the handling of."""
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _chain(part, seen)
        yield from _chain(error.__cause__, seen)
        error = error.__context__


def _without(
    traceback: types.TracebackType | None, hidden: tuple[str, ...]
) -> types.TracebackType | None:
    kept: list[types.TracebackType] = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(hidden):
            kept.append(traceback)
        traceback = traceback.tb_next
    shown = None
    for one in reversed(kept):
        shown = types.TracebackType(shown, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return shown
