"""What happens around a method call: parents, compactness, names in profiles."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, nowrap
from linen_core.config import config
from linen_core.errors import AssignSubModuleError, CallCompactUnboundModuleError, LinenError

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self, x: float = 0.0) -> float:
        return x + self.param("w", lambda key: self.value)


class Net(Module):
    def plain(self, x: int) -> int:
        """Double a number."""
        return 2 * x

    @compact
    def made(self) -> float:
        return Leaf()()

    @nowrap
    def untouched(self) -> Any:
        return Leaf()

    @staticmethod
    def static(x: int) -> int:
        return x + 1

    @classmethod
    def build(cls) -> "Net":
        return cls()

    @property
    def prop(self) -> int:
        return self.plain(4)


def test_methods_of_an_unbound_module_run() -> None:
    net = Net()
    assert (net.plain(2), Net.static(1), net.static(1), net.prop) == (4, 2, 2, 8)
    assert Net.build() == net == net.build()


def test_methods_of_a_bound_module_run() -> None:
    net = Net().bind({"params": {"Leaf_0": {"w": 3.0}}})
    assert (net.plain(2), net.static(1), net.prop, net.made()) == (4, 2, 8, 3.0)


def test_a_compact_method_needs_variables() -> None:
    with pytest.raises(CallCompactUnboundModuleError) as caught:
        Net().made()
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value) == (
        "Net is not bound to variables, so its compact method made cannot be called. Write "
        "model.apply(variables, ...), or bound = model.bind(variables) and use that."
    )


def test_wrapped_methods_look_like_themselves() -> None:
    assert (Net.plain.__name__, Net.plain.__doc__) == ("plain", "Double a number.")
    assert Net.plain.__wrapped__ is not Net.plain  # type: ignore[attr-defined]


def test_a_method_is_wrapped_once() -> None:
    class Derived(Net):
        again = Net.plain

    assert vars(Derived)["again"] is Net.plain
    assert "plain" not in vars(Derived)


def test_nowrap_makes_no_parent() -> None:
    leaf = Net().untouched()
    assert (leaf.parent, leaf.name) == (None, None)

    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            return Net(name="net").untouched().path

    assert Outer().apply({}) == ("Leaf_0",)


def test_nowrap_runs_no_setup() -> None:
    class Loud(Module):
        def setup(self) -> None:
            raise KeyError

        @nowrap
        def quiet(self) -> int:
            return 1

    assert Loud().apply({}, method=Loud.quiet) == 1


def test_super_calls_share_names() -> None:
    class Base(Module):
        @compact
        def __call__(self) -> float:
            return Leaf(1.0)()

    class Derived(Base):
        @compact
        def __call__(self) -> float:
            return super().__call__() + Leaf(2.0)()

    y, variables = Derived().init_with_output(KEY)
    assert (y, list(variables["params"])) == (3.0, ["Leaf_0", "Leaf_1"])
    assert Derived().apply(variables) == 3.0


def test_a_decorated_method_stays_compact() -> None:
    def doubled(fun: Any) -> Any:
        @functools.wraps(fun)
        def call(*args: Any) -> Any:
            return 2 * fun(*args)

        return call

    class Outside(Module):
        @doubled
        @compact
        def __call__(self) -> float:
            return Leaf(2.0)()

    class Inside(Module):
        @compact
        @doubled
        def __call__(self) -> float:
            return Leaf(2.0)()

    for model in (Outside(), Inside()):
        y, variables = model.init_with_output(KEY)
        assert (y, variables) == (4.0, {"params": {"Leaf_0": {"w": 2.0}}})


def test_names_are_free_again_after_an_error() -> None:
    class Fails(Module):
        @compact
        def __call__(self, fail: bool) -> float:
            y = Leaf(2.0, name="leaf")()
            if fail:
                raise KeyError("mine")
            return y

    bound = Fails().bind({"params": {"leaf": {"w": 2.0}}})
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            bound(True)
        assert bound(False) == 2.0


def test_a_submodules_method_is_no_place_for_its_callers_modules() -> None:
    class Helper(Module):
        def make(self) -> Any:
            return Leaf()

    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            return Helper(name="helper").make()

    with pytest.raises(AssignSubModuleError, match=r'^The module "helper" \(Helper\) makes'):
        Outer().apply({})


@pytest.mark.parametrize("name", ["name", "module", "fun", "method", "args", "scope", "fn", "path"])
def test_a_method_may_have_arguments_of_any_name(name: str) -> None:
    class Open(Module):
        @compact
        def __call__(self, **options: Any) -> Any:
            Leaf()()
            return options

    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            return Open()(**{name: 3})

    assert Outer().init_with_output(KEY)[0] == {name: 3}


def test_dunder_methods_of_the_users() -> None:
    class Container(Module):
        layers: tuple[Module, ...] = ()

        def __getitem__(self, index: int) -> Module:
            return self.layers[index]

        def __len__(self) -> int:
            return len(self.layers)

        def __iter__(self) -> Any:
            return iter(self.layers)

        def __repr__(self) -> str:
            return "mine"

        def __str__(self) -> str:
            return "my text"

    model = Container((Leaf(),))
    assert (model[0], len(model), list(model)) == (Leaf(), 1, [Leaf()])
    bound = model.bind({})
    assert (bound[0].name, len(bound), repr(bound), str(bound)) == (
        "layers_0",
        1,
        "mine",
        "my text",
    )


@pytest.mark.parametrize("profile", [True, False])
def test_calls_open_named_scopes(profile: bool) -> None:
    class Scaled(Module):
        def setup(self) -> None:
            self.inner = Sine()

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.inner.other(self.inner(x))

    class Sine(Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return jnp.sin(x)

        def other(self, x: jax.Array) -> jax.Array:
            return jnp.cos(x)

    with config.temporary(profile=profile):
        lowered = jax.jit(lambda x: Scaled().apply({}, x)).lower(1.0)
    text = lowered.as_text(debug_info=True)
    assert ("Scaled/inner/sin" in text) is profile
    assert ("Scaled/inner.other/cos" in text) is profile
