"""The `method` argument of `init` and `apply`."""

import functools
from typing import Any

import jax
import pytest

from linen_core import Module, compact
from linen_core.errors import ApplyModuleInvalidMethodError, LinenError, MissingAttributeError

KEY = jax.random.key(0)


class Leaf(Module):
    @compact
    def __call__(self, x: float) -> float:
        return x + self.param("w", lambda key: 1.0)


class Net(Module):
    width: int = 3

    def setup(self) -> None:
        self.encoder = Leaf()
        self.number = 4

    def __call__(self, x: float) -> float:
        return self.encode(x)

    def encode(self, x: float, scale: float = 1.0) -> float:
        return scale * self.encoder(x)

    @property
    def prop(self) -> int:
        return self.width

    @staticmethod
    def static(module: "Net", x: float) -> float:
        return module.encode(x, 5.0)


VARIABLES = {"params": {"encoder": {"w": 1.0}}}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (None, 3.0),
        ("__call__", 3.0),
        ("encode", 3.0),
        (Net.encode, 3.0),
        (Net().encode, 3.0),
        (Net().bind(VARIABLES).encode, 3.0),
        (functools.partial(Net.encode, scale=2.0), 6.0),
        (lambda module, x: module.encode(x, 3.0), 9.0),
        ("encoder", 3.0),
        (lambda module, x: module.encoder(x), 3.0),
        (Net.static, 15.0),
        ("static", 15.0),
    ],
    ids=(
        "none call name function bound_to_other bound partial lambda submodule through static "
        "static_name"
    ).split(),
)
def test_what_a_method_may_be(method: Any, expected: float) -> None:
    assert Net().apply(VARIABLES, 2.0, method=method) == expected
    assert Net().init(KEY, 2.0, method=method) == VARIABLES
    assert Net().init_with_output(KEY, 2.0, method=method) == (expected, VARIABLES)
    assert Net().lazy_init(KEY, 2.0, method=method) == VARIABLES


def test_a_method_of_another_instance_runs_on_this_one() -> None:
    class Width(Module):
        width: int

        def get(self) -> int:
            return self.width

    assert Width(1).apply({}, method=Width(2).get) == 1


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        (3, "3"),
        (Leaf(), "Leaf()"),
        (Leaf, "<class "),
        ("width", "'width'"),
        ("number", "'number'"),
        ("prop", "'prop'"),
        ("name", "'name'"),
        (["encode"], "['encode']"),
    ],
    ids=["number", "module", "class", "field", "setup attribute", "property", "name", "list"],
)
def test_what_is_no_method(method: Any, shown: str) -> None:
    with pytest.raises(ApplyModuleInvalidMethodError) as caught:
        Net().apply(VARIABLES, 2.0, method=method)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value).startswith(
        "method must be a method of Net, its name, or a function whose first argument is a "
        f"module, but got {shown}"
    )
    assert str(caught.value).endswith("Write for example method=Net.__call__.")


def test_a_class_without_call() -> None:
    class Encoder(Module):
        width: int = 3

        def encode(self) -> int:
            return self.width

    for use in (Encoder().apply, Encoder().init):
        with pytest.raises(ApplyModuleInvalidMethodError) as caught:
            use({} if use.__name__ == "apply" else KEY)  # type: ignore[operator]
        assert str(caught.value) == (
            "Encoder has no method __call__, which is called when no other one is given. Define it, "
            'or write method="..." with the name of the method to call.'
        )
    assert Encoder().apply({}, method="encode") == 3


def test_a_name_that_is_not_there() -> None:
    for use in (Net().apply, Net().init):
        with pytest.raises(MissingAttributeError) as caught:
            use(VARIABLES if use.__name__ == "apply" else KEY, 2.0, method="encod")  # type: ignore[operator]
        assert str(caught.value) == "Net has no attribute 'encod'. Did you mean 'encode'?"
