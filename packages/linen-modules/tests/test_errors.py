"""The tree of errors."""

import inspect

import jax
import pytest

import linen_modules as nn
from linen_core.errors import LinenError
from linen_modules import errors

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if value.__module__ == errors.__name__
]


def test_every_class_is_in_the_tree_and_exported() -> None:
    assert errors.__doc__ is not None
    for error in CLASSES:
        assert error.__name__ in errors.__all__
        assert error.__name__ in errors.__doc__


@pytest.mark.parametrize("error", CLASSES)
def test_bases(error: type[Exception]) -> None:
    assert issubclass(error, LinenError)
    assert issubclass(error, errors.LayerError)


def test_location() -> None:
    class Inner(nn.Module):
        def __call__(self) -> str:
            return errors.location(self)

    class Outer(nn.Module):
        @nn.compact
        def __call__(self) -> tuple[str, str, str]:
            return errors.location(self), Inner()(), Inner(name="last")()

    assert Outer().apply({}) == ("Outer at /", "Inner at /Inner_0", "Inner at /last")
    assert errors.location("max_pool") == "max_pool"
    assert errors.location(Inner()) == "Inner"


def test_exports() -> None:
    assert len(set(nn.__all__)) == len(nn.__all__)
    for name in nn.__all__:
        assert hasattr(nn, name)
    assert jax.__version__
