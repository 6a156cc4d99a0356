"""Submodules as attributes: claimed, adopted, shared; containers; bound and detached copies."""

import collections
import gc
import weakref
from typing import Any, ClassVar, NamedTuple

import jax
import pytest

from linen_core import FrozenDict, Module, compact, struct
from linen_core.config import config
from linen_core.errors import NameInUseError

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self, x: float = 0.0) -> float:
        return x + self.param("w", lambda key: self.value)


class Pair(NamedTuple):
    a: Any
    b: Any


@struct.dataclass
class Struct:
    layer: Any
    number: int = 3


class Holder(Module):
    held: Any

    @compact
    def __call__(self) -> list[float]:
        is_module = lambda x: isinstance(x, Module)  # noqa: E731
        found = jax.tree.leaves(self.held, is_leaf=is_module)
        return [layer() for layer in found if is_module(layer)]


class SetupHolder(Module):
    make: Any

    def setup(self) -> None:
        self.held = self.make()

    def __call__(self) -> list[float]:
        return Holder.__call__.__wrapped__(self)  # type: ignore[attr-defined]


CONTAINERS = [
    (lambda: Leaf(1.0), {"held": 1.0}),
    (lambda: [Leaf(1.0), Leaf(2.0)], {"held_0": 1.0, "held_1": 2.0}),
    (lambda: (Leaf(1.0), 3, Leaf(2.0)), {"held_0": 1.0, "held_2": 2.0}),
    (lambda: {"a": Leaf(1.0), "b": Leaf(2.0)}, {"held_a": 1.0, "held_b": 2.0}),
    (lambda: FrozenDict({"a": Leaf(1.0)}), {"held_a": 1.0}),
    (lambda: Pair(Leaf(1.0), None), {"held_a": 1.0}),
    (lambda: [{"a": (Leaf(1.0),)}, [Leaf(2.0)]], {"held_0_a_0": 1.0, "held_1_0": 2.0}),
    (lambda: Struct(Leaf(1.0)), {"held_layer": 1.0}),
]
containers = pytest.mark.parametrize(
    ("make", "expected"),
    CONTAINERS,
    ids="alone list tuple dict FrozenDict NamedTuple nested struct".split(),
)


@containers
def test_modules_in_fields_are_adopted(make: Any, expected: dict[str, float]) -> None:
    given = make()
    variables = Holder(given).init(KEY)
    assert variables["params"] == {name: {"w": value} for name, value in expected.items()}
    assert Holder(given).apply(variables) == list(expected.values())


@containers
def test_modules_assigned_in_setup_are_named(make: Any, expected: dict[str, float]) -> None:
    variables = SetupHolder(make).init(KEY)
    assert variables["params"] == {name: {"w": value} for name, value in expected.items()}


def test_containers_become_immutable() -> None:
    class Net(Module):
        given: Any

        def setup(self) -> None:
            self.made = [1, {"a": [2]}]

        def __call__(self) -> Any:
            return self.given, self.made

    given, made = Net([1, {"a": [2]}]).apply({})
    for value in (given, made):
        assert type(value) is tuple
        assert isinstance(value[1], FrozenDict)
        assert value[1]["a"] == (2,)


def test_other_mappings_stay_what_they_are() -> None:
    class Settings(collections.UserDict[str, int]):
        @property
        def width(self) -> int:
            return self["width"]

    class Net(Module):
        given: Settings

        def setup(self) -> None:
            self.made = Settings(width=4)

        def __call__(self) -> tuple[int, int]:
            return self.given.width, self.made.width

    assert Net(Settings(width=3)).apply({}) == (3, 4)


def test_structs_with_fields_that_are_no_arguments() -> None:
    @struct.dataclass
    class Pair:
        leaf: Leaf
        count: int = struct.field(pytree_node=False, init=False, default=3)

    assert Holder(Pair(Leaf(1.0))).init(KEY)["params"] == {"held_leaf": {"w": 1.0}}


def test_an_adopted_module_is_a_copy() -> None:
    outside = Leaf(1.0)
    model = Holder([outside])
    model.init(KEY)
    model.bind({"params": {"held_0": {"w": 1.0}}})()
    assert (outside.scope, outside.parent, outside.name) == (None, None, None)
    assert model.held == [outside]
    assert model.held[0] is outside


def test_a_module_in_two_places_is_one_submodule() -> None:
    shared = Leaf(1.0)
    y, variables = Holder([shared, Leaf(2.0), shared]).init_with_output(KEY)
    assert variables["params"] == {"held_0": {"w": 1.0}, "held_1": {"w": 2.0}}
    assert y == [1.0, 2.0, 1.0]


def test_a_module_shared_between_submodules_is_one() -> None:
    class Net(Module):
        first: Module
        second: Module

        def __call__(self) -> Any:
            return self.first(), self.second()  # type: ignore[operator]

    shared = Leaf(3.0)
    y, variables = Net(Holder(shared), Holder(shared)).init_with_output(KEY)
    assert y == ([3.0], [3.0])
    assert variables["params"] == {"first": {"held": {"w": 3.0}}}


def test_equal_modules_are_not_the_same() -> None:
    variables = Holder([Leaf(1.0), Leaf(1.0)]).init(KEY)
    assert list(variables["params"]) == ["held_0", "held_1"]


def test_a_submodule_can_be_passed_on() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.leaf = Leaf(2.0)
            self.holder = Holder(self.leaf)
            self.alias = self.leaf

        def __call__(self) -> Any:
            assert self.alias is self.leaf
            return self.holder(), self.leaf()

    y, variables = Net().init_with_output(KEY)
    assert y == ([2.0], 2.0)
    assert variables["params"] == {"leaf": {"w": 2.0}}


def test_a_compact_submodule_can_be_passed_on() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> Any:
            return Holder(Leaf(2.0))()

    assert Net().init(KEY)["params"] == {"Leaf_0": {"w": 2.0}}


def test_a_new_module_handed_over_in_setup_belongs_to_its_holder() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.holder = Holder(Leaf(2.0))

        def __call__(self) -> Any:
            return self.holder()

    assert Net().init(KEY)["params"] == {"holder": {"held": {"w": 2.0}}}


def test_fields_are_adopted_in_their_order() -> None:
    class Net(Module):
        b: Module
        a: Module

        def __call__(self) -> float:
            return self.a(self.b())  # type: ignore[operator]

    shared = Leaf()
    assert list(Net(shared, shared).init(KEY)["params"]) == ["b"]


def test_the_attribute_names_an_adopted_module() -> None:
    model = Holder(Leaf(1.0, name="own"))
    assert list(model.init(KEY)["params"]) == ["held"]
    with config.temporary(preserve_adopted_names=True):
        assert list(model.init(KEY)["params"]) == ["own"]
        assert list(Holder(Leaf()).init(KEY)["params"]) == ["held"]


def test_a_class_may_leave_their_names_to_adopted_modules() -> None:
    class Preserves(Holder):
        preserve_adopted_names: ClassVar[bool] = True

    class Names(Holder):
        preserve_adopted_names: ClassVar[bool] = False

    held = [Leaf(1.0, name="own"), Leaf(1.0)]
    assert list(Preserves(held).init(KEY)["params"]) == ["own", "held_1"]
    with config.temporary(preserve_adopted_names=True):
        assert list(Names(held).init(KEY)["params"]) == ["held_0", "held_1"]


@pytest.mark.parametrize(
    "assign",
    [
        lambda m: (setattr(m, "a", Leaf()), setattr(m, "a", Leaf())),
        lambda m: (setattr(m, "a", [Leaf()]), setattr(m, "a_0", Leaf())),
        lambda m: (m.param("a", lambda key: 1.0), setattr(m, "a", Leaf())),
    ],
    ids=["twice", "list item", "param"],
)
def test_names_taken_in_setup(assign: Any) -> None:
    class Net(Module):
        def setup(self) -> None:
            assign(self)

        def __call__(self) -> None:
            pass

    with pytest.raises(NameInUseError, match=r"^The top-level module \(Net\) already has"):
        Net().init(KEY)


# Bound and detached.


class Tree(Module):
    widths: list[int]
    options: dict[str, Any]
    inner: Any = None

    def setup(self) -> None:
        self.leaf = Leaf()

    def __call__(self) -> Any:
        return self.leaf(), self.inner and self.inner()


TREES = [
    Tree([1, 2], {"a": [1], "b": {"c": 2}}),
    Tree([], {}, Leaf(2.0)),
    Tree([1], {"layers": [Leaf(1.0), Leaf(2.0)]}, Tree([2], {"x": 1})),
    Tree([1], {}, Tree([2], {}, Leaf(name="named")), name="outer"),
]


@pytest.mark.parametrize("model", TREES, ids=["containers", "nested", "deep", "named"])
@pytest.mark.parametrize("used", [False, True])
def test_bind_and_unbind_give_an_equal_module(model: Tree, used: bool) -> None:
    variables = model.init(KEY)
    bound = model.bind(variables)
    if used:
        bound()
    module, again = bound.unbind()
    assert module == model
    assert repr(module) == repr(model)
    assert again == variables
    assert module.scope is None
    assert module.apply(again) == model.apply(variables)
    assert module.bind(again).unbind()[0] == model


def test_a_submodule_can_be_unbound() -> None:
    model = TREES[2]
    variables = model.init(KEY)
    inner, its_variables = model.bind(variables).inner.unbind()
    assert inner == model.inner
    assert its_variables == {"params": variables["params"]["inner"]}
    leaf, its_variables = model.bind(variables).leaf.unbind()
    assert (leaf, its_variables) == (Leaf(), {"params": {"w": 1.0}})
    assert leaf.apply(its_variables) == 1.0


def test_a_submodule_made_with_containers_unbinds_to_what_was_made() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.tree = Tree([1, 2], {"a": [3]})

        def __call__(self) -> Any:
            return self.tree()

    tree, _ = Net().bind(Net().init(KEY)).tree.unbind()
    assert tree == Tree([1, 2], {"a": [3]})


def test_a_submodule_outlives_its_parent() -> None:
    model = TREES[1]
    leaf = model.bind(model.init(KEY)).inner
    assert leaf.parent is None
    assert leaf() == 2.0


def test_bound_modules_are_freed_at_once() -> None:
    model = TREES[2]
    variables = model.init(KEY)
    gc.collect()
    gc.disable()
    try:
        bound = model.bind(variables, rngs=KEY)
        bound()
        bound.inner.leaf.make_rng()
        freed = [weakref.ref(x) for x in (bound, bound.inner, bound.leaf, bound.scope)]
        del bound
        assert [ref() for ref in freed] == [None] * 4
        model.apply(variables, rngs=KEY)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_contents_of_a_struct_keep_their_structure() -> None:
    @struct.dataclass
    class Settings:
        names: Any
        sizes: Any

    class Net(Module):
        settings: Any

        def __call__(self) -> Any:
            return self.settings

    settings = Settings({"a": 1}, [1])
    assert jax.tree.structure(Net(settings).apply({})) == jax.tree.structure(settings)


def test_a_submodule_with_a_frozen_dict_of_modules_unbinds_to_what_was_made() -> None:
    class Leaf(Module):
        pass

    class Holder(Module):
        leaves: Any

    class Net(Module):
        def setup(self) -> None:
            self.holder = Holder(FrozenDict({"a": Leaf(), "b": [Leaf()]}))

    module, _ = Net().bind({}).holder.unbind()
    assert module == Holder(FrozenDict({"a": Leaf(), "b": [Leaf()]}))
    assert module.leaves["a"].scope is None
