"""How modules show themselves: repr, dir, treescope."""

import functools
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import Module, compact

KEY = jax.random.key(0)


class Leaf(Module):
    width: int = 3

    @compact
    def __call__(self, x: float) -> float:
        return x + self.param("w", lambda key: 1.0)


class Any_(Module):  # noqa: N801 - a short name for short texts
    value: Any


class Net(Module):
    held: Any = None

    def setup(self) -> None:
        self.encoder = Leaf()
        self.layers = [Leaf(1), Leaf(2)]
        self.alias = self.encoder
        self.w = self.param("w", jax.nn.initializers.ones, (3,))
        self.count = self.variable("state", "count", lambda: 0)

    def __call__(self, x: float) -> float:
        return self.layers[1](self.encoder(x))


class Compact(Module):
    @compact
    def __call__(self, x: float) -> float:
        return Leaf(name="first")(Leaf()(x))


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def plain_function(*args: Any, **kwargs: Any) -> None:
    """Stand in a field."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        ("a", "'a'"),
        (plain_function, "plain_function"),
        (jax.nn.relu, "relu"),
        (jnp.tanh, "tanh"),
        (jnp.float32, "float32"),
        (Leaf, "Leaf"),
        (functools.partial(plain_function, 1, b=jax.nn.relu), "partial(plain_function, 1, b=relu)"),
        (np.zeros((2, 3)), "float64[2, 3]"),
        (jnp.zeros(()), "float32[]"),
        (jax.ShapeDtypeStruct((4,), jnp.int32), "int32[4]"),
        ([1, (2,), ()], "[1, (2,), ()]"),
        ({"a": jax.nn.relu, 1: Leaf()}, "{'a': relu, 1: Leaf(width=3)}"),
        ((Leaf(1), Leaf(2)), "(Leaf(width=1), Leaf(width=2))"),
        (BadRepr(), "<BadRepr whose repr raises RuntimeError>"),
        (types.SimpleNamespace(a=Leaf()), "namespace(a=Leaf(width=3))"),
    ],
    ids=lambda x: "" if isinstance(x, str) else type(x).__name__,
)
def test_values_of_fields(value: Any, text: str) -> None:
    assert repr(Any_(value)) == f"Any_(value={text})"


def test_long_texts_have_an_argument_on_each_line() -> None:
    model = Any_([Any_("x" * 40), Any_("y" * 60)])
    assert (
        repr(model)
        == f"""\
Any_(
    value=[
        Any_(value='{"x" * 40}'),
        Any_(value='{"y" * 60}'),
    ],
)"""
    )


def test_a_module_in_two_places_stands_twice_where_it_is_not_bound() -> None:
    leaf = Leaf(name="leaf")
    text = "(Leaf(width=3, name='leaf'), Leaf(width=3, name='leaf'))"
    assert repr(Any_((leaf, leaf))) == f"Any_(value={text})"


def test_a_module_that_holds_itself() -> None:
    inner: list[Any] = []
    model = Any_(inner)
    inner.append(model)
    assert repr(model) == "Any_(value=[<Any_ '...'>])"


def test_a_bound_module_shows_what_setup_made() -> None:
    model = Net(Leaf(9))
    bound = model.bind(model.init(KEY, 0.0))
    assert repr(bound) == "Net(held=Leaf(width=9))"
    bound(0.0)
    assert (
        repr(bound)
        == """\
Net(
    held=Leaf(width=9),
    # attributes
    encoder=Leaf(width=3),
    layers=(Leaf(width=1), Leaf(width=2)),
    alias=<Leaf 'encoder'>,
    w=float32[3],
    count=Variable(state/count),
)"""
    )
    assert repr(bound.encoder) == "Leaf(width=3, name='encoder')"
    assert repr(model) == "Net(held=Leaf(width=9))"


def test_a_bound_module_shows_what_compact_methods_made() -> None:
    bound = Compact().bind(Compact().init(KEY, 0.0))
    assert repr(bound) == "Compact()"
    bound(0.0)
    assert (
        repr(bound)
        == """\
Compact(
    # submodules
    first=Leaf(width=3),
    Leaf_0=Leaf(width=3),
)"""
    )


def test_submodules_of_compact_methods_can_be_used_after_a_call() -> None:
    bound = Compact().bind({"params": {"Leaf_0": {"w": 2.0}, "first": {"w": 4.0}}})
    with pytest.raises(AttributeError):
        _ = bound.first
    assert bound(0.0) == 6.0
    assert bound.first(1.0) == 5.0
    assert bound.Leaf_0.variables == {"params": {"w": 2.0}}


class FailsInSetup(Module):
    width: int = 3

    def setup(self) -> None:
        self.encoder = Leaf()
        raise ValueError("no")


class NoPostInit(Module):
    width: int = 3

    def __post_init__(self) -> None:
        pass


def test_texts_of_modules_that_cannot_be_used() -> None:
    assert repr(FailsInSetup().bind({})) == "FailsInSetup(width=3)"
    assert repr(NoPostInit()) == "NoPostInit(width=3)"
    assert repr(object.__new__(Net)) == "Net(held=None)"
    assert repr(object.__new__(Any_)) == "Any_()"


def test_the_text_inside_of_methods() -> None:
    texts = []

    class Shows(Module):
        def setup(self) -> None:
            texts.append(repr(self))
            self.inner = Leaf()
            texts.append(repr(self.inner))

        def __call__(self) -> None:
            texts.append(repr(self).replace("\n", ""))

    Shows().init(KEY)
    assert set(texts) == {
        "Shows()",
        "Leaf(width=3, name='inner')",
        "Shows(    # attributes    inner=Leaf(width=3),)",
    }


# Completion.


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "set up"])
def test_dir_of_a_bound_module_has_what_setup_defines(used: bool) -> None:
    bound = Net().bind(Net().init(KEY, 0.0))
    if used:
        bound(0.0)
    names = dir(bound)
    assert {"encoder", "layers", "w", "count", "held", "apply", "layers_0"} <= set(names)
    assert "first" not in names


def test_dir_of_other_modules() -> None:
    assert "encoder" not in dir(Net())
    assert "held" in dir(Net())
    assert "width" in dir(FailsInSetup().bind({}))
    assert "width" in dir(NoPostInit())
    bound = Compact().bind(Compact().init(KEY, 0.0))
    bound(0.0)
    assert {"Leaf_0", "first"} <= set(dir(bound))


# Treescope, which is not needed: it brings what is used of it.


@pytest.fixture
def treescope(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("treescope.repr_lib")
    vars(fake)["render_object_constructor"] = lambda **arguments: arguments
    monkeypatch.setitem(sys.modules, "treescope.repr_lib", fake)


@pytest.mark.usefixtures("treescope")
def test_treescope_shows_fields_attributes_and_submodules() -> None:
    shown = Leaf(4).__treescope_repr__("root", "renderer")
    assert shown == {
        "object_type": Leaf,
        "attributes": {"width": 4},
        "path": "root",
        "subtree_renderer": "renderer",
    }
    bound = Net().bind(Net().init(KEY, 0.0))
    bound(0.0)
    parts = bound.__treescope_repr__(None, None)["attributes"]
    assert list(parts) == ["held", "encoder", "layers", "alias", "w", "count"]
    bound = Compact().bind(Compact().init(KEY, 0.0))
    bound(0.0)
    assert list(bound.__treescope_repr__(None, None)["attributes"]) == ["first", "Leaf_0"]
