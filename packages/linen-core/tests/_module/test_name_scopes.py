"""Methods with a name scope: what is made where, and by the same rules as in compact methods."""

from typing import Any

import jax
import pytest

from linen_core import Module, compact, compact_name_scope, intercept_methods
from linen_core.errors import (
    CallCompactUnboundModuleError,
    CallSetupUnboundModuleError,
    NameInUseError,
)

KEY = jax.random.key(0)
LEAF = {"w": 1.0}


class Leaf(Module):
    @compact
    def __call__(self) -> int:
        self.param("w", lambda key: 1.0)
        return 1


class Net(Module):
    def setup(self) -> None:
        self.made = Leaf()

    def helper(self) -> int:
        return Leaf()()

    @compact
    def compact_helper(self) -> int:
        return Leaf()()

    @compact_name_scope
    def plain(self) -> int:
        return Leaf()() + Leaf(name="own")()

    @compact_name_scope
    def with_helper(self) -> int:
        return Leaf()() + self.helper()

    @compact_name_scope
    def with_compact_helper(self) -> int:
        return Leaf()() + self.compact_helper()

    @compact_name_scope
    def with_other(self) -> int:
        return Leaf()() + self.plain()

    @compact_name_scope
    def with_itself(self, times: int = 1) -> int:
        return Leaf()() + (self.with_itself(times - 1) if times else 0)

    @compact_name_scope
    def with_setup(self) -> int:
        return Leaf()() + self.made()

    @compact_name_scope
    def with_variables(self) -> Any:
        self.sow("intermediates", "x", 1)
        count = self.variable("state", "count", lambda: 3).value
        return count + self.param("p", lambda key: 2)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("plain", {"plain": {"Leaf_0": LEAF, "own": LEAF}}),
        ("with_helper", {"with_helper": {"Leaf_0": LEAF}, "Leaf_0": LEAF}),
        ("with_compact_helper", {"with_compact_helper": {"Leaf_0": LEAF}, "Leaf_0": LEAF}),
        ("with_other", {"with_other": {"Leaf_0": LEAF}, "plain": {"Leaf_0": LEAF, "own": LEAF}}),
        ("with_itself", {"with_itself": {"Leaf_0": LEAF, "Leaf_1": LEAF}}),
        ("with_setup", {"with_setup": {"Leaf_0": LEAF}, "made": LEAF}),
        ("with_variables", {"p": 2}),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_made_where(method: str, expected: Any, times: int) -> None:
    def call(net: Any) -> list[int]:
        return [getattr(net, method)() for _ in range(times)]

    y, variables = Net().init_with_output(KEY, method=call)
    assert variables["params"] == expected
    assert Net().apply(variables, method=call) == y
    bound = Net().bind(variables)
    assert call(bound) == y


class Inherits(Net):
    def setup(self) -> None:
        """Makes nothing, and does not call that of the base class."""

    @compact_name_scope
    def plain(self) -> int:
        return super().plain() + Leaf()()

    def with_other(self) -> int:
        return super().with_other()


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("plain", {"plain": {"Leaf_0", "Leaf_1", "own"}}),
        ("with_other", {"with_other": {"Leaf_0"}, "plain": {"Leaf_0", "Leaf_1", "own"}}),
        ("with_itself", {"with_itself": {"Leaf_0", "Leaf_1"}}),
    ],
)
def test_inheritance(method: str, names: Any) -> None:
    params = Inherits().init(KEY, method=method)["params"]
    assert {name: params[name].keys() for name in params} == names


def test_submodules_have_name_scopes_too() -> None:
    class Outer(Module):
        @compact
        def __call__(self) -> int:
            return Net(name="a").plain() + Net(name="b").plain()

    expected = {"plain": {"Leaf_0": LEAF, "own": LEAF}}
    assert Outer().init(KEY) == {"params": {"a": expected, "b": expected}}


def test_a_name_scope_can_be_used_in_setup() -> None:
    class Early(Module):
        def setup(self) -> None:
            self.found = self.part()

        @compact_name_scope
        def part(self) -> int:
            return Leaf()()

        def __call__(self) -> int:
            return self.found

    assert Early().init_with_output(KEY) == (1, {"params": {"part": {"Leaf_0": LEAF}}})


def test_interceptors_see_the_call_of_the_name_scope() -> None:
    seen = []

    def see(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        seen.append((context.module.path, context.method_name, args, kwargs))
        return next_fun(*args, **kwargs)

    with intercept_methods(see):
        Net().init(KEY, 0, method="with_itself")
    assert seen == [
        ((), "setup", (), {}),
        (("with_itself",), "__call__", (0,), {}),
        (("with_itself", "Leaf_0"), "__call__", (), {}),
    ]


def test_the_names_are_taken() -> None:
    class Clashes(Net):
        @compact
        def __call__(self) -> Any:
            return self.param("plain", lambda key: 1.0)

    with pytest.raises(NameInUseError, match='something named "plain"'):
        Clashes().init(KEY)


def test_a_field_may_not_have_the_name() -> None:
    class Clashes(Module):
        parts: Any

        def __call__(self) -> int:
            return self.parts_0()

        @compact_name_scope
        def parts_0(self) -> int:
            return 1

    assert Clashes([3]).init_with_output(KEY)[0] == 1
    with pytest.raises(NameInUseError, match='something named "parts_0"'):
        Clashes([Leaf()]).init(KEY)


def test_a_name_scope_needs_variables() -> None:
    with pytest.raises(CallCompactUnboundModuleError, match="its compact method plain cannot be"):
        Net().plain()
    with pytest.raises(CallSetupUnboundModuleError):
        Net().setup()


def test_names_are_free_again_after_an_error() -> None:
    class Fails(Module):
        @compact_name_scope
        def part(self, fails: bool) -> int:
            y = Leaf()()
            if fails:
                raise KeyError
            return y

        @compact
        def __call__(self) -> int:
            with pytest.raises(KeyError):
                self.part(True)
            return self.part(False)

    assert Fails().init(KEY) == {"params": {"part": {"Leaf_0": LEAF}}}


def test_decorated_methods_look_like_themselves() -> None:
    assert Net.plain.__name__ == "plain"
    assert Net.setup.__doc__ is None
    assert Inherits.setup.__doc__ == "Makes nothing, and does not call that of the base class."
