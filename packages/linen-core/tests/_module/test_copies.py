"""Copies: bound, detached and independent ones, and what is shared in them."""

import dataclasses
from typing import Any

import jax
import pytest

from linen_core import FrozenDict, Module, compact
from linen_core.errors import NameInUseError

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self) -> float:
        return self.param("w", lambda key: self.value)


class Pair(Module):
    left: Any
    right: Any
    scale: float = 1.0

    @compact
    def __call__(self) -> float:
        return self.scale * (self.left() + self.right())


# copy.


@pytest.mark.parametrize(
    "get",
    [lambda p: p.left, lambda p: p.right[0], lambda p: p.right[1]["a"]],
    ids="one list dict".split(),
)
def test_shared_modules_stay_shared_and_are_new(get: Any) -> None:
    leaf = Leaf(name="leaf")
    pair = Pair(leaf, [leaf, {"a": leaf}], name="pair")
    copy = pair.copy(scale=2.0)
    assert copy == pair.clone(name=None, scale=2.0)
    assert (get(copy), get(copy) is copy.left, get(copy) is leaf) == (leaf, True, False)


def test_a_copy_has_variables_of_its_own() -> None:
    class Net(Module):
        pair: Any

        def setup(self) -> None:
            self.copied = self.pair.copy()
            self.cloned = self.pair.clone(name=None)

        def __call__(self) -> float:
            return self.pair() + self.copied() + self.cloned()

    leaf = Leaf()
    assert Net(Pair(leaf, leaf)).init(KEY)["params"] == {
        "pair": {"left": {"w": 1.0}},
        "copied": {"left": {"w": 1.0}},
    }


def test_a_copy_belongs_to_the_module_whose_method_runs() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> Any:
            leaf = Leaf(name="leaf")
            copies = leaf.copy(), leaf.copy(name="other"), leaf.copy(parent=None)
            return [(copy.name, copy.parent is self) for copy in copies]

    found = [("Leaf_0", True), ("other", True), (None, False)]
    assert Net().apply({}) == found


def test_the_copy_of_a_bound_module_stands_alone() -> None:
    leaf = Leaf()
    pair = Pair([leaf], leaf)
    copy = pair.bind(pair.init(KEY, method=lambda p: p.right())).copy()
    assert copy == pair
    assert (copy.scope, copy.right.scope, copy.left) == (None, None, [leaf])
    assert copy.left[0] is copy.right


@pytest.mark.parametrize("method", ["copy", "clone"])
@pytest.mark.parametrize("name", ["width", "_deep_clone", "_reset_names"])
def test_there_are_no_other_arguments(method: str, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        getattr(Leaf(), method)(**{name: True})


def test_the_name_of_a_copy_is_used_once() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> Any:
            return Leaf(name="leaf").copy(name="leaf")()

    with pytest.raises(NameInUseError):
        Net().init(KEY)


# unbind.


def test_unbinding_keeps_sharing() -> None:
    leaf = Leaf()
    pair = Pair(FrozenDict({"a": leaf}), leaf)
    module, _ = pair.bind({"params": {"left_a": {"w": 2.0}}}).unbind()
    assert module == pair
    assert module.left["a"] is module.right


def test_unbinding_a_submodule_keeps_the_sharing_in_it() -> None:
    class Net(Module):
        def setup(self) -> None:
            leaf = Leaf()
            self.pair = Pair(leaf, [leaf])

    module, variables = Net().bind({"params": {"pair": {"left": {"w": 1.0}}}}).pair.unbind()
    assert module == Pair(Leaf(), [Leaf()])
    assert module.right[0] is module.left
    assert variables == {"params": {"left": {"w": 1.0}}}


# Arguments that are no fields.


class Scaled(Module):
    factor: dataclasses.InitVar[int]
    features: int = 1
    width: int = dataclasses.field(init=False)

    def __post_init__(self, factor: int) -> None:
        self.width = factor * self.features
        super().__post_init__()

    def __call__(self) -> int:
        return self.width


class Shifted(Scaled):
    shift: dataclasses.InitVar[int] = 0

    def __post_init__(self, factor: int, shift: int) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().__post_init__(factor + shift)


@pytest.mark.parametrize(
    ("module", "width", "wider"),
    [
        (Scaled(3), 3, 6),
        (Scaled(features=2, factor=3), 6, 6),
        (Shifted(3), 3, 6),
        (Shifted(3, shift=2), 5, 10),
    ],
    ids=["one", "by keyword", "inherited", "two"],
)
def test_init_only_arguments_are_kept_in_copies(module: Any, width: int, wider: int) -> None:
    assert module.init_with_output(KEY) == (width, {})
    assert module.bind({})() == width
    assert module.bind({}).unbind()[0].width == width
    assert [copy(features=2).width for copy in (module.clone, module.copy)] == [wider, wider]
    assert module.clone(factor=5, features=1).width == 5 + (width - 3 if width == 5 else 0)


# Bound copies.


class Marking(type(Module)):
    """A metaclass that does something to every instance."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__call__(*args, **kwargs)
        object.__setattr__(module, "mark", 7)
        return module


def marked(cls: Any) -> Any:
    """Wrap a constructor, as decorators of dataclasses do that check types."""
    construct = cls.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it is one
        construct(self, *args, **kwargs)
        object.__setattr__(self, "mark", 7)

    cls.__init__ = __init__
    return cls


class OfMetaclass(Module, metaclass=Marking):
    value: int = 1

    def __call__(self) -> Any:
        return self.value, vars(self)["mark"]


@marked
class Decorated(Module):
    value: int = 1

    def __call__(self) -> Any:
        return self.value, vars(self)["mark"]


@pytest.mark.parametrize("make", [OfMetaclass, Decorated])
def test_bound_copies_are_constructed_as_the_class_is(make: Any) -> None:
    assert make(value=2).apply({}) == (2, 7)
