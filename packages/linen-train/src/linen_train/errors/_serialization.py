"""What can be wrong while objects become bytes, or bytes objects."""

from linen_core.errors import LinenError

__all__ = ["SerializationError", "SerializedBytesError", "UnserializableValueError"]


class SerializationError(LinenError):
    """Base of what can go wrong between objects and bytes."""


class UnserializableValueError(SerializationError, TypeError):
    """A part of an object has no form as bytes."""


class SerializedBytesError(SerializationError, ValueError):
    """Bytes are damaged, or were not written by `msgpack_serialize`."""
