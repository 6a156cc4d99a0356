"""The examples in the docstrings of linen_transforms run as they are printed."""

import doctest
import importlib
import pkgutil

import pytest

import linen_transforms as package

INSIDE = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")


@pytest.mark.parametrize("name", [package.__name__, *(module.name for module in INSIDE)])
def test_examples_run(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0
