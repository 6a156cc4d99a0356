"""Modules are dataclasses: fields, inheritance, equality, reserved names."""

import copy
import dataclasses
import pickle
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from linen_core import Module, compact
from linen_core._module.fields import UNSPECIFIED
from linen_core.errors import (
    HashBoundModuleError,
    IncorrectPostInitOverrideError,
    LinenError,
    ReservedModuleAttributeError,
)


class Base(Module):
    features: int
    scale: float = 2.0
    kind: ClassVar[str] = "base"


class Derived(Base):
    extra: tuple[int, ...] = (1,)


class KeywordOnly(Base, kw_only=True):
    bias: int


class WithList(Module):
    widths: list[int] = dataclasses.field(default_factory=list)


class Outer(Module):
    inner: Module
    others: Any = ()


def test_fields_are_arguments() -> None:
    assert (Base(3).features, Base(3, 4.0).scale, Base(features=5).features) == (3, 4.0, 5)
    assert (Base(3).name, Base(3).parent) == (None, None)
    assert Base(3, name="layer").name == "layer"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Base(),  # type: ignore[call-arg]
        lambda: Base(1, 2.0, "name"),  # type: ignore[call-arg]
        lambda: Base(1, kind="x"),  # type: ignore[call-arg]
        lambda: KeywordOnly(1, 2.0, 3),  # type: ignore[call-arg]
    ],
    ids=["missing", "name by position", "ClassVar", "keyword only by position"],
)
def test_wrong_arguments(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_inheritance_appends_fields() -> None:
    module = Derived(1, 2.0, (3,))
    assert (module.features, module.scale, module.extra) == (1, 2.0, (3,))
    assert Derived(1).extra == (1,)
    assert KeywordOnly(1, bias=2).bias == 2
    assert Derived.kind == "base"


def test_a_subclass_may_change_a_default() -> None:
    class Narrow(Base):
        features: int = 1

    assert Narrow().features == 1


def test_field_options_of_the_standard_library() -> None:
    class Options(Module):
        made: list[int] = dataclasses.field(default_factory=list)
        hidden: int = dataclasses.field(default=1, repr=False)
        ignored: int = dataclasses.field(default=1, compare=False)
        derived: int = dataclasses.field(init=False, default=3)
        last: int = dataclasses.field(default=1, kw_only=True)

    assert Options().made is not Options().made
    assert repr(Options()) == "Options(made=[], ignored=1, derived=3, last=1)"
    assert Options(ignored=2) == Options()
    assert Options().clone(last=2).last == 2


def test_repr() -> None:
    assert repr(Derived(1)) == "Derived(features=1, scale=2.0, extra=(1,))"
    assert repr(Base(1, name="a")) == "Base(features=1, scale=2.0, name='a')"
    assert repr(Outer(Base(1))) == "Outer(inner=Base(features=1, scale=2.0), others=())"


def test_equality_and_hash_go_by_class_fields_and_name() -> None:
    assert Base(1) == Base(1)
    assert hash(Base(1)) == hash(Base(1))
    assert hash(Base(1)) != hash(Base(2))
    assert Base(1) != Base(2)
    assert Base(1) != Base(1, name="a")
    assert Base(1) != Derived(1)
    assert Outer(Base(1)) == Outer(Base(1)) != Outer(Base(2))


def test_a_list_cannot_be_hashed() -> None:
    assert WithList([1]) == WithList([1])
    with pytest.raises(TypeError, match="unhashable"):
        hash(WithList([1]))


def test_a_class_may_define_its_own_equality_and_hash() -> None:
    class Same(Module):
        value: int = 0

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def __hash__(self) -> int:
            return 7

    class OnlyHash(Module):
        value: int = 0

        def __hash__(self) -> int:
            return 8

    class OnlyEqual(Module):
        def __eq__(self, other: object) -> bool:
            return True

    assert Same(1) == Same(2)
    assert hash(Same(1)) == 7
    assert (hash(OnlyHash(1)), OnlyHash(1) == OnlyHash(2)) == (8, False)
    with pytest.raises(TypeError, match="unhashable"):
        hash(OnlyEqual())


@pytest.mark.parametrize(
    "module",
    [
        Base(1),
        Derived(1, name="a"),
        WithList([1, 2]),
        Outer(Base(1), {"a": [Base(2)]}),
        KeywordOnly(1, bias=2),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "round_trip",
    [
        copy.copy,
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: pickle.loads(pickle.dumps(m, protocol=2)),
        lambda m: m.clone(),
        lambda m: dataclasses.replace(m),
    ],
    ids=["copy", "deepcopy", "pickle", "pickle 2", "clone", "replace"],
)
def test_copies_are_equal(module: Module, round_trip: Any) -> None:
    copied = round_trip(module)
    assert copied == module
    assert copied is not module
    assert repr(copied) == repr(module)
    assert copied.parent is None


class Counter(Module):
    start: int = 0

    @compact
    def __call__(self) -> int:
        return self.variable("state", "n", lambda: self.start).value


@pytest.mark.parametrize(
    "round_trip",
    [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_work(round_trip: Any) -> None:
    module = round_trip(Counter(3))
    assert module.apply({}, mutable=True) == (3, {"state": {"n": 3}})
    assert round_trip(module).clone(start=4).apply({}, mutable=True)[0] == 4


def test_unspecified_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(UNSPECIFIED)) is UNSPECIFIED
    assert copy.deepcopy(UNSPECIFIED) is UNSPECIFIED
    assert repr(UNSPECIFIED) == "<the module whose method runs>"


@dataclasses.dataclass
class Sizes:
    width: int = 3


@pytest.mark.parametrize(
    "bases", [(Sizes, Module), (Module, Sizes), (WithList, Sizes), (Sizes, WithList)], ids=str
)
def test_dataclasses_that_are_no_modules_can_be_inherited_from(bases: Any) -> None:
    module = type("Mixed", bases, {"__annotations__": {"depth": int}, "depth": 2})(depth=5)
    assert (module.width, module.depth, module.name, module.parent) == (3, 5, None, None)


def test_such_a_dataclass_has_no_fields_of_module() -> None:
    named = dataclasses.make_dataclass("Named", [("name", str, "x")])
    with pytest.raises(ReservedModuleAttributeError, match=r"The class Mixed defines \['name'\]"):
        type("Mixed", (named, Module), {})


def test_the_name_is_no_field_of_subclasses() -> None:
    with pytest.raises(ReservedModuleAttributeError, match=r"The class Mine defines \['name'\]"):
        type("Mine", (Module,), {"__annotations__": {"name": str}, "name": "mine"})


@pytest.mark.parametrize("name", ["parent", "scope", "_state"])
@pytest.mark.parametrize("kind", ["field", "attribute", "method"])
def test_names_that_module_needs(name: str, kind: str) -> None:
    body: dict[str, Any] = {"field": {"__annotations__": {name: int}}, "attribute": {name: 3}}.get(
        kind, {name: lambda self: 1}
    )
    with pytest.raises(ReservedModuleAttributeError) as caught:
        type("Mine", (Module,), body)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"The class Mine defines ['{name}'], which Module keeps for itself. Choose other names."
    )


# __post_init__.


def test_post_init_may_set_attributes_before_super() -> None:
    class Doubled(Module):
        value: int = 1

        def __post_init__(self) -> None:
            self.double = 2 * self.value
            super().__post_init__()

        def __call__(self) -> int:
            return self.double

    assert Doubled(3).double == 6
    assert Doubled(3).apply({}) == 6


def test_post_init_inherits() -> None:
    order = []

    class First(Module):
        def __post_init__(self) -> None:
            order.append("first")
            super().__post_init__()

    class Second(First):
        def __post_init__(self) -> None:
            order.append("second")
            super().__post_init__()

    Second()
    assert order == ["second", "first"]


class Forgetful(Module):
    value: int = 1

    def __post_init__(self) -> None:
        pass

    @compact
    def __call__(self) -> int:
        return self.value


class Owner(Module):
    @compact
    def __call__(self) -> Any:
        return Forgetful()()


@pytest.mark.parametrize(
    "use",
    [
        lambda: Forgetful()(),
        lambda: Forgetful().init(0),  # type: ignore[arg-type]
        lambda: Forgetful().apply({}),
        lambda: Forgetful().bind({}),
        lambda: Owner().apply({}),
    ],
    ids=["call", "init", "apply", "bind", "submodule"],
)
def test_post_init_without_super(use: Any) -> None:
    with pytest.raises(IncorrectPostInitOverrideError) as caught:
        use()
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        "Forgetful.__post_init__ does not call super().__post_init__(). Write it as the last line "
        "of the method."
    )


class Scale(Module):
    @compact
    def __call__(self, x: float) -> float:
        return x * self.param("scale", lambda key: 1.0)


def test_a_bound_module_does_not_hash() -> None:
    bound = Scale().bind({"params": {"scale": 2.0}})
    with pytest.raises(HashBoundModuleError) as caught:
        hash(bound)
    assert isinstance(caught.value, TypeError)
    assert "Scale is bound to variables, which its hash would leave out" in str(caught.value)
    assert "jax.jit(module.apply)(variables, ...)" in str(caught.value)
    assert hash(bound.unbind()[0]) == hash(Scale())


def test_fields_that_the_constructor_does_not_take_may_be_set_in_setup() -> None:
    class Typed(Module):
        layer: Any = dataclasses.field(init=False)

        def setup(self) -> None:
            self.layer = Scale()

        def __call__(self, x: float) -> float:
            return self.layer(x)

    assert Typed().apply({"params": {"layer": {"scale": 2.0}}}, 3.0) == 6.0


def test_generic_classes_may_be_given_their_parameters() -> None:
    T = TypeVar("T")

    class Box(Module, Generic[T]):
        value: T

    assert Box[int](4).value == 4
