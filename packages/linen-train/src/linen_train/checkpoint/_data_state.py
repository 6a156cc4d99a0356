"""The state of a data iterator as JSON values.

What JSON has no word for is a dict with one key that begins with `%`.
"""

import base64
from typing import Any

import numpy as np

from linen_train.errors import CheckpointDataStateError

__all__ = ["decode", "encode", "state_of"]

_BYTES, _TUPLE, _ARRAY = "%bytes", "%tuple", "%array"


def state_of(data: Any) -> Any:
    """Return the state of a data iterator, which is asked for it, or what is its state already."""
    return data.get_state() if callable(getattr(data, "get_state", None)) else data


def encode(value: Any, place: str = "data") -> Any:
    """Return JSON values for JSON values, bytes, tuples, NumPy arrays and numbers in each other.

    Raises:
        CheckpointDataStateError: there is something else in it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        content = base64.b64encode(value.tobytes()).decode()
        return {_ARRAY: [value.dtype.str, list(value.shape), content]}
    if isinstance(value, list | tuple):
        items = [encode(item, f"{place}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, dict) and all(
        isinstance(name, str) and not name.startswith("%") for name in value
    ):
        return {name: encode(item, f"{place}[{name!r}]") for name, item in value.items()}
    raise CheckpointDataStateError(
        f"{place}: found {value!r:.80} of type {type(value).__name__}, expected JSON values with text "
        "as keys, bytes, tuples or NumPy arrays. Pass the iterator, which is asked for its "
        "get_state(), or what that returns."
    )


def decode(value: Any) -> Any:
    """Return what was encoded."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _BYTES in value:
        return base64.b64decode(value[_BYTES])
    if _TUPLE in value:
        return tuple(decode(item) for item in value[_TUPLE])
    if _ARRAY in value:
        dtype, shape, content = value[_ARRAY]
        array = np.frombuffer(base64.b64decode(content), dtype).reshape(shape)
        return array.copy() if shape else array[()]
    return {name: decode(item) for name, item in value.items()}
