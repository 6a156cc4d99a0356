"""Structs: immutable dataclasses that JAX treats as pytrees.

A *struct* is a frozen dataclass that is registered as a pytree node. Each of its fields is one of
two kinds:

- a *child* (the default) holds arrays, or pytrees of arrays. JAX transformations and
  `jax.tree.map` reach into it.
- a *static* field, declared with `field(pytree_node=False)`, holds configuration: a function, a
  string, a size. It becomes part of the tree's structure, so it must be hashable and comparable,
  and `jax.jit` compiles anew when it changes.

Write a struct in one of two ways: decorate a class with `dataclass`, or subclass `PyTreeNode`. The
two behave alike; type checkers see `replace` only on the second. The rules of inheritance, defaults
and keyword-only fields are those of the standard `dataclasses` module.

JAX rebuilds a struct by calling its constructor with whatever the transformation produced: traced
arrays, shapes, even plain objects. A `__post_init__` that inspects the children must expect that.

A struct has a state dict (`linen_core.state_dict`) of its children; the static fields come from the
target on the way back.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Self, TypedDict, TypeVar, overload

import jax
from typing_extensions import Unpack, dataclass_transform

from linen_core.errors import StructDefinitionError, UnknownStructFieldError
from linen_core.state_dict import register_container

__all__ = ["PyTreeNode", "dataclass", "field"]

_T = TypeVar("_T")


class FieldOptions(TypedDict, total=False):
    """What `field` passes on to `dataclasses.field`."""

    default: Any
    default_factory: Callable[[], Any]
    init: bool
    repr: bool
    hash: bool | None
    compare: bool
    kw_only: bool


class DataclassOptions(TypedDict, total=False):
    """What `dataclass` and `PyTreeNode` pass on to `dataclasses.dataclass`."""

    repr: bool
    eq: bool
    order: bool
    unsafe_hash: bool
    frozen: bool
    match_args: bool
    kw_only: bool
    slots: bool
    weakref_slot: bool


def field(
    pytree_node: bool = True,
    *,
    metadata: Mapping[Any, Any] | None = None,
    **options: Unpack[FieldOptions],
) -> Any:
    """Describe one field of a struct.

    Args:
        pytree_node: True for a child (arrays, or pytrees of arrays), False for a static field
            (hashable configuration that is part of the tree's structure).
        metadata: further metadata of the field, as in `dataclasses.field`.
        **options: `default`, `default_factory`, `init`, `repr`, `hash`, `compare` and `kw_only`, as
            in `dataclasses.field`.

    Returns:
        The field, to be assigned to an annotated name in the body of a struct.

    Example:
        >>> from collections.abc import Callable
        >>> import jax
        >>> from linen_core import struct
        >>> @struct.dataclass
        ... class Layer:
        ...     kernel: jax.Array
        ...     activation: Callable = struct.field(pytree_node=False, default=jax.nn.relu)
        >>> len(jax.tree.leaves(Layer(jax.numpy.ones((2, 3)))))
        1
    """
    return dataclasses.field(metadata={**(metadata or {}), "pytree_node": pytree_node}, **options)


@overload
def dataclass(cls: type[_T], /) -> type[_T]: ...


@overload
def dataclass(
    cls: None = None, /, **options: Unpack[DataclassOptions]
) -> Callable[[type[_T]], type[_T]]: ...


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
def dataclass(cls: Any = None, /, **options: Any) -> Any:
    """Make a class a struct: a frozen dataclass that is a pytree node.

    The class gets a method `replace(**updates)`, unless it defines one, which returns a copy with
    other values in the named fields, as `PyTreeNode.replace` does. Use the decorator bare
    (`@dataclass`) or with options (`@dataclass(kw_only=True)`). Applied to a class that is a struct
    already, it changes nothing.

    Args:
        cls: the class, when used bare.
        **options: options of `dataclasses.dataclass`; `frozen` is True by default.

    Returns:
        The struct, or a decorator when called with options alone.

    Raises:
        StructDefinitionError: JAX could not rebuild the class, because `init=False` is given for a
            child or for the class itself; or options are given for a class that is a struct
            already.

    Example:
        >>> import jax
        >>> from linen_core import struct
        >>> @struct.dataclass
        ... class Point:
        ...     x: float
        ...     y: float
        ...     unit: str = struct.field(pytree_node=False, default="m")
        >>> jax.tree.map(lambda value: 2 * value, Point(1.0, 2.0)).replace(x=0.0)
        Point(x=0.0, y=4.0, unit='m')
    """
    if cls is None:
        return lambda decorated: _make_struct(decorated, options)
    return _make_struct(cls, options)


@dataclass_transform(field_specifiers=(field,), frozen_default=True)
class PyTreeNode:
    """Base of structs: every subclass is a frozen dataclass and a pytree node.

    Options of `dataclass` are given as class arguments.

    Raises:
        StructDefinitionError: at the definition of a subclass, as `dataclass` does.

    Example:
        >>> import jax
        >>> from linen_core import struct
        >>> class Averages(struct.PyTreeNode, kw_only=True):
        ...     mean: jax.Array
        ...     decay: float = struct.field(pytree_node=False, default=0.99)
        >>> Averages(mean=jax.numpy.zeros(2)).replace(decay=0.9).decay
        0.9
    """

    def __init_subclass__(cls, **options: Unpack[DataclassOptions]) -> None:
        super().__init_subclass__()
        if options.get("slots"):
            raise StructDefinitionError(
                f"{cls.__qualname__}: slots=True makes a new class, which a base class cannot put "
                "in the place of the one being defined. Write it without PyTreeNode: "
                f"@struct.dataclass(slots=True) above class {cls.__name__}."
            )
        _make_struct(cls, options)

    def replace(self, **updates: Any) -> Self:
        """Return a copy with other values in the named fields.

        Args:
            **updates: the new values by field name.

        Returns:
            A struct of the same class.

        Raises:
            UnknownStructFieldError: a name is no field of this struct.

        Example:
            >>> from linen_core import struct
            >>> class Counter(struct.PyTreeNode):
            ...     step: int
            >>> Counter(step=1).replace(step=2)
            Counter(step=2)
        """
        return _replace(self, **updates)


def is_struct(value: Any) -> bool:
    """Say whether a value is an instance of a struct.

    Args:
        value: anything.

    Returns:
        True for instances of `PyTreeNode` and of classes decorated with `dataclass`.

    Example:
        >>> from linen_core import struct
        >>> struct.is_struct({})
        False
    """
    return hasattr(type(value), "__linen_struct__")


def _make_struct(cls: Any, options: Mapping[str, Any]) -> Any:
    # Looked up in the class itself: a subclass of a struct is none until it is decorated.
    if "__linen_struct__" in vars(cls):
        if options:
            raise StructDefinitionError(
                f"{cls.__qualname__} is a struct already, so the options "
                f"{', '.join(sorted(options))} would have no effect. Give them where it becomes "
                f"one: class {cls.__name__}(PyTreeNode, ...) takes them as class arguments."
            )
        return cls
    if options.get("init") is False:
        raise StructDefinitionError(
            f"{cls.__qualname__}: found init=False, but JAX rebuilds a struct through its generated "
            "constructor. Leave the option out and offer a classmethod, `create` say, instead."
        )
    cls = dataclasses.dataclass(**{"frozen": True, **options})(cls)
    children, static = _split_fields(cls)
    jax.tree_util.register_dataclass(cls, data_fields=children, meta_fields=static)
    register_container(
        cls,
        entries=lambda target: {name: getattr(target, name) for name in children},
        rebuild=lambda target, values: dataclasses.replace(target, **values),
    )
    if not hasattr(cls, "replace"):
        cls.replace = _replace
    cls.__linen_struct__ = True
    return cls


def _split_fields(cls: Any) -> tuple[list[str], list[str]]:
    """Return the names of the children and of the static fields.

    A static field with `init=False` is in neither list: it is derived from the others each time the
    constructor runs.
    """
    children: list[str] = []
    static: list[str] = []
    for entry in dataclasses.fields(cls):
        is_child = entry.metadata.get("pytree_node", True)
        if entry.init:
            (children if is_child else static).append(entry.name)
        elif is_child:
            raise StructDefinitionError(
                f"{cls.__qualname__}.{entry.name}: found a child with init=False, but JAX rebuilds "
                "a struct through its constructor and would lose the value. If __post_init__ "
                f"derives it from other fields, write {entry.name}: ... = "
                "struct.field(pytree_node=False, init=False); otherwise drop init=False."
            )
    return children, static


def _replace(self: Any, **updates: Any) -> Any:
    """Return a copy with other values in the named fields."""
    try:
        return dataclasses.replace(self, **updates)
    except TypeError:
        names = [entry.name for entry in dataclasses.fields(self)]
        unknown = [name for name in updates if name not in names]
        if not unknown:
            raise
    hints = [
        f"{name} (did you mean {close[0]}?)"
        if (close := difflib.get_close_matches(name, names, 1))
        else name
        for name in unknown
    ]
    raise UnknownStructFieldError(
        f"{type(self).__qualname__}.replace: found no field {', '.join(hints)}; "
        f"its fields are {', '.join(names)}."
    )
