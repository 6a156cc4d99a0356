"""Errors of settings, filters and random streams."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from linen_core.errors._base import LinenError, describe, place


class ConfigError(LinenError, ValueError):
    """There is no setting of that name, or the value is not one that it can have."""


class InvalidFilterError(LinenError, TypeError):
    """Something that is no filter was given as one."""

    def __init__(self, filter_like: Any) -> None:
        """Name what was given."""
        super().__init__(
            f"{filter_like!r} is no filter. A filter is True, False, a name, a sequence of names, "
            'or DenyList(filter), for example mutable=["batch_stats"].'
        )


class InvalidRngError(LinenError, ValueError):
    """Something is not a random key, or a random stream is needed that was not given."""

    @classmethod
    def not_a_key(cls, what: str, stream: Any, found: Any) -> Self:
        """Make the error for a value that is not a single key."""
        return cls(
            f"{what} must be a key, or a dict from stream names to keys, made by jax.random.key(seed), "
            f"but stream {stream!r} is {describe(found)}."
        )

    @classmethod
    def missing_stream(
        cls, path: Sequence[str], stream: str, streams: Iterable[str], initializing: bool
    ) -> Self:
        """Make the error for a draw from a stream that was not given."""
        given = sorted(streams)
        has = f"The streams given are {given}" if given else "No streams were given"
        key = f'"{stream}": jax.random.key(0)'
        call = "init" if initializing else "apply"
        return cls(
            f'{place(path)} draws from the random stream "{stream}", but it was not given. {has}. '
            f"Write {'' if initializing else 'rngs='}{{{key}}} in the call of {call}."
        )
