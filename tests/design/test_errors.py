"""Errors are part of the API: each condition has a class under `LinenError`, and sources raise those."""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from repository import Package, load_packages

from linen_core.errors import LinenError

PACKAGES = load_packages()
UNSPECIFIC = {"AssertionError", "Exception", "RuntimeError", "ValueError"}
per_package = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)


def unspecific_raises(tree: ast.AST) -> Iterator[str]:
    """Yields each `raise` of a built-in class that says nothing about the condition."""
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name)):
                if name in UNSPECIFIC:
                    yield f"{node.lineno}: raise {name}"


def own_exceptions(names: dict[str, Any], module: str) -> dict[str, type[BaseException]]:
    """Returns the exception classes that a module defines, by name."""
    return {
        name: value
        for name, value in names.items()
        if isinstance(value, type) and issubclass(value, BaseException)
        if value.__module__ == module
    }


def strays(exceptions: dict[str, type[BaseException]]) -> list[str]:
    """Returns the exception classes that are neither warnings nor under LinenError."""
    return [
        name for name, value in exceptions.items() if not issubclass(value, LinenError | Warning)
    ]


def missing_from_tree(docstring: str, names: Iterable[str]) -> list[str]:
    """Returns the exception classes that the tree at the top of an errors file does not list."""
    listed = set(re.findall(r"\w+", docstring))
    return [name for name in names if name not in listed]


@per_package
def test_sources_raise_errors_of_their_own(package: Package) -> None:
    paths = package.source.rglob("*.py")
    found = {str(path): list(unspecific_raises(ast.parse(path.read_text()))) for path in paths}
    assert {name: lines for name, lines in found.items() if lines} == {}


def errors_modules() -> list[str]:
    """Returns the import names of the errors files that there are."""
    having = [
        p for p in PACKAGES.values() if [*p.source.glob("errors.py"), *p.source.glob("errors")]
    ]
    return [f"{package.import_name}.errors" for package in having]


@pytest.mark.parametrize("name", errors_modules())
def test_errors_descend_from_linen_error_and_are_in_the_tree(name: str) -> None:
    module = importlib.import_module(name)
    exceptions = own_exceptions(vars(module), name)
    assert strays(exceptions) == []
    assert missing_from_tree(module.__doc__ or "", exceptions) == []


def test_unspecific_raises_are_found() -> None:
    text = "def f():\n    raise ValueError('no')\nraise RuntimeError\nraise errors.ScopeError('a')"
    found = list(unspecific_raises(ast.parse(text)))
    assert sorted(found) == ["2: raise ValueError", "3: raise RuntimeError"]


def test_strays_are_found() -> None:
    inside = type("Inside", (LinenError,), {"__module__": "m"})
    outside = type("Outside", (ValueError,), {"__module__": "m"})
    names = {"Inside": inside, "Outside": outside, "KeyError": KeyError, "text": "no class"}
    exceptions = own_exceptions(names, "m")
    assert list(exceptions) == ["Inside", "Outside"]
    assert strays(exceptions) == ["Outside"]


def test_errors_that_the_tree_leaves_out_are_found() -> None:
    tree = "LinenError\n    ScopeError\n        NameInUseError"
    assert missing_from_tree(tree, ["ScopeError", "NameError"]) == ["NameError"]
