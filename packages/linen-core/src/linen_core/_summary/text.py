"""Text: how the specs in a summary are written.

An array is its dtype and shape, as in `float32[16,9]`. What is in a box is followed by the names
that the box has. Containers are written line by line, as in YAML.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from linen_core import struct
from linen_core._meta import AxisMetadata

_LONGEST = 60


def text_of(spec: Any) -> str:
    """Write a spec; nothing if it is an empty container."""
    return "\n".join(_lines(spec))


def _lines(spec: Any) -> list[str]:
    if isinstance(spec, AxisMetadata):
        *lines, last = _lines(spec.unbox()) or [""]
        names = getattr(spec, "names", None)
        return [*lines, f"{last} {type(spec).__name__ if names is None else f'P{names}'}"]
    if isinstance(spec, Mapping):
        return [line for key, value in spec.items() for line in _entry(str(key), value)]
    if struct.is_struct(spec):
        return _lines({f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)})
    if isinstance(spec, tuple) and (names := getattr(spec, "_fields", None)) is not None:
        return _lines(dict(zip(names, spec, strict=True)))
    if isinstance(spec, (tuple, list)):
        return [line for item in spec for line in _item(item)]
    children = _children(spec)
    return [_leaf(spec)] if children is None else _lines(children)


def _children(spec: Any) -> dict[str, Any] | None:
    """Give what a pytree of a class of its own holds, by key; None for a leaf."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(spec, is_leaf=lambda node: node is not spec)
    if spec is None or (len(pairs) == 1 and not pairs[0][0]):
        return None
    return {jax.tree_util.keystr(path, simple=True): child for path, child in pairs}


def _entry(key: str, value: Any) -> Iterator[str]:
    """Write a key, and behind it what is one line and below it what is more."""
    lines = _lines(value)
    if len(lines) == 1 and not _is_container(value):
        yield f"{key}: {lines[0]}"
    else:
        yield f"{key}:"
        yield from (f"  {line}" for line in lines)


def _item(value: Any) -> Iterator[str]:
    for number, line in enumerate(_lines(value) or ["()"]):
        yield f"{'  ' if number else '- '}{line}"


def _is_container(spec: Any) -> bool:
    if isinstance(spec, AxisMetadata):
        return _is_container(spec.unbox())
    return isinstance(spec, (Mapping, tuple, list)) or _children(spec) is not None


def _leaf(spec: Any) -> str:
    if isinstance(spec, jax.ShapeDtypeStruct):
        return f"{spec.dtype}[{','.join(map(str, spec.shape))}]"
    text = spec if isinstance(spec, str) else repr(spec)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def text_of_size(count: int, width: int) -> str:
    """Write a number of elements and their bytes; nothing if there are none."""
    return f"{count:,} ({_bytes(width)})" if count else ""


def _bytes(width: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if width > factor:
            return f"{width / factor:,.1f} {unit}"
    return f"{width:,} B"
