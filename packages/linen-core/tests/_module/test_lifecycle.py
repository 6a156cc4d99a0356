"""The life of a module: names and parents."""

from typing import Any

import jax
import pytest

from linen_core import Module, Scope, apply, bind, compact, init
from linen_core.errors import (
    AssignSubModuleError,
    InvalidInstanceModuleError,
    LinenError,
    NameInUseError,
)

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self, x: float = 0.0) -> float:
        return x + self.param("w", lambda key: self.value)


def params(module: Module, *args: Any, **kwargs: Any) -> Any:
    return module.init(KEY, *args, **kwargs)["params"]


# Names.


def test_compact_names_count_by_class() -> None:
    class Other(Leaf):
        pass

    class Net(Module):
        @compact
        def __call__(self) -> float:
            return Leaf(1.0)(Leaf(2.0)(Other(3.0)(Leaf(4.0, name="last")())))

    assert params(Net()) == {
        "last": {"w": 4.0},
        "Other_0": {"w": 3.0},
        "Leaf_1": {"w": 2.0},
        "Leaf_0": {"w": 1.0},
    }


def test_setup_names_by_attribute() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.first = Leaf(1.0)
            self.second = Leaf(2.0, name="own")

        def __call__(self) -> float:
            return self.second(self.first())

    assert params(Net()) == {"first": {"w": 1.0}, "own": {"w": 2.0}}


def test_a_second_call_finds_the_same_submodules() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> float:
            return Leaf(2.0)()

    class Twice(Module):
        @compact
        def __call__(self) -> float:
            net = Net()
            return net() + net()

    y, variables = Twice().init_with_output(KEY)
    assert y == 4.0
    assert variables == {"params": {"Net_0": {"Leaf_0": {"w": 2.0}}}}


def test_several_compact_methods() -> None:
    class Net(Module):
        @compact
        def encode(self, x: float) -> float:
            return Leaf(1.0, name="encoder")(x)

        @compact
        def decode(self, x: float) -> float:
            return Leaf(2.0, name="decoder")(x)

        @compact
        def __call__(self, x: float) -> float:
            return self.decode(self.encode(x))

    variables = Net().init(KEY, 0.0)
    assert variables == {"params": {"encoder": {"w": 1.0}, "decoder": {"w": 2.0}}}
    assert Net().apply(variables, 1.0, method="encode") == 2.0
    assert Net().apply(variables, 1.0, method=Net.decode) == 3.0


def test_nested_compact_methods_number_on() -> None:
    class Net(Module):
        @compact
        def block(self) -> float:
            return Leaf(1.0)()

        @compact
        def __call__(self) -> float:
            return self.block() + self.block() + Leaf(2.0)()

    assert list(params(Net())) == ["Leaf_0", "Leaf_1", "Leaf_2"]


@pytest.mark.parametrize("make", ["setup", "compact"])
def test_helpers_may_define_what_their_caller_may(make: str) -> None:
    class FromSetup(Module):
        def setup(self) -> None:
            self.layers = self.build()
            self.w = self.weight()

        def build(self) -> Any:
            return [Leaf(i) for i in range(2)]

        def weight(self) -> Any:
            return self.param("w", lambda key: 3.0)

        def __call__(self) -> float:
            return self.layers[0]() + self.layers[1]() + self.w

    class FromCompact(FromSetup):
        def setup(self) -> None:
            pass

        @compact
        def __call__(self) -> float:
            return sum(layer() for layer in self.build()) + self.weight()

    prefix, net = ("layers", FromSetup()) if make == "setup" else ("Leaf", FromCompact())
    assert params(net) == {f"{prefix}_0": {"w": 0}, f"{prefix}_1": {"w": 1}, "w": 3.0}


@pytest.mark.parametrize("first", ["explicit", "automatic"])
def test_an_automatic_name_may_be_taken(first: str) -> None:
    class Net(Module):
        @compact
        def __call__(self) -> None:
            made = [lambda: Leaf(name="Leaf_0"), Leaf]
            for make in made if first == "explicit" else made[::-1]:
                make()()

    with pytest.raises(NameInUseError) as caught:
        Net().init(KEY)
    assert str(caught.value) == (
        'The top-level module (Net) already has something named "Leaf_0", so it cannot have a '
        "submodule of that name. Give one of them another name; a submodule that is meant to be "
        "shared is made once and called twice."
    )


def use_name(module: Module, kind: str) -> None:
    if kind == "param":
        module.param("n", lambda key: 1.0)
    elif kind == "variable":
        module.variable("state", "n", lambda: 1.0)
    elif kind == "sow":
        module.sow("state", "n", 1.0)
    else:
        Leaf(name="n")()


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("param", "param", "param"),
        ("param", "submodule", "submodule"),
        ("submodule", "param", "param"),
        ("submodule", "submodule", "submodule"),
        ("submodule", "variable", "variable"),
        ("variable", "submodule", "submodule"),
        ("variable", "variable", "variable"),
        ("submodule", "sow", "variable"),
        ("sow", "submodule", "submodule"),
        ("variable", "sow", "variable"),
    ],
)
def test_two_things_of_one_name(first: str, second: str, kind: str) -> None:
    class Net(Module):
        @compact
        def __call__(self) -> None:
            use_name(self, first)
            use_name(self, second)

    class Outer(Module):
        @compact
        def __call__(self) -> None:
            Net(name="net")()

    with pytest.raises(NameInUseError) as caught:
        Outer().init(KEY)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.kind, caught.value.name, caught.value.path) == (kind, "n", ("net",))
    assert str(caught.value) == (
        f'The module "net" (Net) already has something named "n", so it cannot have a {kind} of '
        "that name. Give one of them another name; a submodule that is meant to be shared is made "
        "once and called twice."
    )


def test_variables_of_two_collections_may_share_a_name() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> None:
            use_name(self, "param")
            use_name(self, "variable")

    assert Net().init(KEY) == {"params": {"n": 1.0}, "state": {"n": 1.0}}


# Parents.


def test_a_module_made_in_a_method_has_that_parent() -> None:
    seen = []

    class Net(Module):
        @compact
        def __call__(self) -> None:
            leaf = Leaf()
            seen.append((leaf.parent is self, leaf.name, leaf.path))

    Net().init(KEY)
    assert seen == [(True, "Leaf_0", ("Leaf_0",))]


def test_parent_none_makes_a_module_that_stands_alone() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> Any:
            alone = Leaf(5.0, parent=None)
            return alone.parent, alone.scope, alone.init(KEY)

    assert Net().apply({}) == (None, None, {"params": {"w": 5.0}})


def test_a_scope_may_be_the_parent() -> None:
    def model(scope: Scope) -> float:
        return Leaf(4.0, parent=scope.push("leaf"))(1.0)

    y, variables = init(model)(KEY)
    assert (y, variables) == (5.0, {"params": {"leaf": {"w": 4.0}}})
    assert apply(model)(variables) == 5.0


def test_another_module_may_be_the_parent() -> None:
    class Net(Module):
        @compact
        def __call__(self) -> float:
            return Leaf(2.0, parent=self, name="mine")()

    assert params(Net()) == {"mine": {"w": 2.0}}


@pytest.mark.parametrize("parent", [3, Leaf, "parent"], ids=repr)
def test_what_cannot_be_a_parent(parent: Any) -> None:
    with pytest.raises(InvalidInstanceModuleError) as caught:
        Leaf(parent=parent)
    assert "parent" in str(caught.value)
    assert "parent=(...)" not in str(caught.value)


@pytest.mark.parametrize("bound", [True, False])
def test_submodules_outside_setup_and_compact(bound: bool) -> None:
    class Net(Module):
        def __call__(self) -> float:
            return Leaf()()

    with pytest.raises(AssignSubModuleError) as caught:
        Net().apply({}) if bound else Net()()
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        "The top-level module (Net) makes a submodule Leaf outside setup() and @compact. Write "
        "self.layer = Leaf(...) in setup(), or decorate the method with @compact; "
        "Leaf(..., parent=None) makes a module that stands alone."
    )


def test_modules_of_one_root_scope() -> None:
    root = bind({"params": {"w": 3.0}})
    assert Leaf(parent=root)() == 3.0
