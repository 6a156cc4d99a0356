"""How a module shows itself: as text, as HTML in notebooks, and in completion.

The text of a module is the call that would construct it, on one line where it is short. A bound
module also shows what it has come to own so far: the **attributes** that `setup` assigned, and the
**submodules** that have no attribute, as those of `@compact` methods. What is shown twice in one
text is one submodule that is shared; the second time stands only its class and path.

Showing a module never changes it: nothing is set up, no property is read, and a value whose own
`repr` raises is shown as that. Only `dir`, for completion, sets a bound module up.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from linen_core._module.fields import RESERVED, ModuleBase
from linen_core._module.lifecycle import ready

_WIDTH = 88
_INDENT = "    "


class Display(ModuleBase):
    """What Python and notebooks ask of an object to show it."""

    def __repr__(self) -> str:
        return _Writer().module(self)

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        # Only treescope calls this, so it is there; linen-core does without it.
        parts = {**_fields(self), **_attributes(self), **_other_submodules(self)}
        return sys.modules["treescope.repr_lib"].render_object_constructor(
            object_type=type(self), attributes=parts, path=path, subtree_renderer=subtree_renderer
        )

    def __dir__(self) -> Iterable[str]:
        state = vars(self).get("_state")
        if state is not None and state.awaits_setup:
            # Whatever goes wrong in setup is told where the module is used.
            with contextlib.suppress(Exception), ready(self):
                return _names(self)
        return _names(self)


def _names(module: Any) -> set[str]:
    children = module._state.children if "_state" in vars(module) else {}
    return {*object.__dir__(module), *filter(str.isidentifier, children)}


def _fields(module: Any) -> dict[str, Any]:
    """Give the fields to show. A module that was not constructed to the end may lack some."""
    names = [f.name for f in dataclasses.fields(module) if f.repr and f.name != "name"]
    values = {name: inspect.getattr_static(module, name, dataclasses.MISSING) for name in names}
    return {name: value for name, value in values.items() if value is not dataclasses.MISSING}


def _attributes(module: Any) -> dict[str, Any]:
    """Give what `setup` has assigned."""
    if module.scope is None:
        return {}
    fields = {f.name for f in dataclasses.fields(module)}
    return {k: v for k, v in vars(module).items() if k not in fields and k not in RESERVED}


def _other_submodules(module: Any) -> dict[str, Any]:
    """Give the submodules that are in no attribute, by name."""
    if module.scope is None:
        return {}
    held = {id(m) for value in vars(module).values() for m in _modules_in(value)}
    return {k: child for k, child in module._state.children.items() if id(child) not in held}


def _modules_in(value: Any) -> Iterator[Any]:
    if isinstance(value, ModuleBase):
        yield value
    elif isinstance(value, Mapping):
        yield from (m for item in value.values() for m in _modules_in(item))
    elif isinstance(value, (list, tuple)):
        yield from (m for item in value for m in _modules_in(item))


class _Writer:
    """Writes one text."""

    def __init__(self) -> None:
        # The modules written so far, or around what is written now, by id.
        self.written: set[int] = set()

    def module(self, module: Any, is_part: bool = False) -> str:
        class_name = type(module).__name__
        if id(module) in self.written:
            where = "/".join(module.path) if module.scope is not None else "..."
            return f"<{class_name} {where!r}>"
        self.written.add(id(module))
        own = self.items(_fields(module))
        # A submodule stands behind its name already.
        if vars(module).get("name") is not None and not (is_part and module.scope is not None):
            own.append(f"name={module.name!r}")
        attributes = self.items(_attributes(module))
        submodules = self.items(_other_submodules(module))
        if module.scope is None:
            self.written.remove(id(module))
        if attributes or submodules:
            own += ["# attributes", *attributes] if attributes else []
            own += ["# submodules", *submodules] if submodules else []
            return _on_lines(f"{class_name}(", own, ")")
        return _fitted(f"{class_name}(", own, ")")

    def items(self, values: Mapping[str, Any]) -> list[str]:
        return [f"{name}={self.value(value)}" for name, value in values.items()]

    def value(self, value: Any) -> str:
        if isinstance(value, ModuleBase) and type(value).__repr__ is Display.__repr__:
            return self.module(value, is_part=True)
        if type(value) is list:
            return _fitted("[", [self.value(item) for item in value], "]")
        if type(value) is tuple and len(value) != 1:
            return _fitted("(", [self.value(item) for item in value], ")")
        if isinstance(value, Mapping) and type(value).__name__ in ("dict", "FrozenDict"):
            items = [f"{_safe_repr(key)}: {self.value(item)}" for key, item in value.items()]
            is_dict = type(value) is dict
            return _fitted("{" if is_dict else "FrozenDict({", items, "}" if is_dict else "})")
        if isinstance(value, functools.partial):
            arguments = [*map(self.value, (value.func, *value.args)), *self.items(value.keywords)]
            return _fitted("partial(", arguments, ")")
        if isinstance(value, (jax.Array, jax.ShapeDtypeStruct, np.ndarray)):
            return f"{value.dtype}{list(value.shape)}"
        if callable(value) and isinstance(name := getattr(value, "__name__", None), str):
            return name
        return _safe_repr(value)


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _fitted(opening: str, items: list[str], closing: str) -> str:
    """Put a list on one line where it fits, and otherwise each item on a line of its own."""
    text = f"{opening}{', '.join(items)}{closing}"
    return text if len(text) <= _WIDTH and "\n" not in text else _on_lines(opening, items, closing)


def _on_lines(opening: str, items: list[str], closing: str) -> str:
    lines = "\n".join(item if item.startswith("# ") else f"{item}," for item in items)
    return f"{opening}\n{textwrap.indent(lines, _INDENT)}\n{closing}"
