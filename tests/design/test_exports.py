"""What a wheel offers: `__all__` says it, and all of it is documented."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from repository import Package, load_packages

PACKAGES = load_packages()
per_package = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)


def public_modules(package: Package) -> Iterator[ModuleType]:
    """Yields the modules of a package whose dotted name has no underscored part."""
    top = importlib.import_module(package.import_name)
    yield top
    for module in pkgutil.walk_packages(top.__path__, f"{top.__name__}."):
        if not any(part.startswith("_") for part in module.name.split(".")):
            yield importlib.import_module(module.name)


def bound_names(tree: ast.Module) -> set[str]:
    """Returns the names that importing a file binds at its top level, imports included."""
    names = set()
    for node in tree.body:
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.split(".")[0] for alias in aliases}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def export_complaints(module: Any, tree: ast.Module) -> list[str]:
    """Returns how the `__all__` of an `__init__` differs from the public names that it binds."""
    exported = module.__all__
    public = {name for name in bound_names(tree) if not name.startswith("_")}
    stated = {name for name in exported if not name.startswith("_")}
    return [
        *(f"{name} is in __all__ twice" for name in set(exported) if exported.count(name) > 1),
        *(f"{name} is in __all__ and not there" for name in exported if not hasattr(module, name)),
        *(f"{name} is public and not in __all__" for name in sorted(public - stated)),
    ]


def undocumented(module: Any, prefix: str) -> list[str]:
    """Returns the exported symbols of a module, and their public methods, that have no docstring.

    Args:
        module: a module, whose `__all__` says what to look at; without one, what it defines itself.
        prefix: the import name of our package; symbols of others are documented by others.
    """
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    missing = []
    for name in names:
        value = getattr(module, name)
        if str(getattr(value, "__module__", "")).split(".")[0] == prefix and (
            inspect.isclass(value) or inspect.isroutine(value)
        ):
            missing += [] if _documented(value) else [name]
            missing += _undocumented_methods(value) if inspect.isclass(value) else []
    return missing


def _documented(value: Any) -> bool:
    text = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    written_by_dataclass = inspect.isclass(value) and (text or "").startswith(f"{value.__name__}(")
    return bool(text) and not written_by_dataclass


def _undocumented_methods(owner: type) -> list[str]:
    return [
        f"{owner.__name__}.{name}"
        for name, value in vars(owner).items()
        if not name.startswith("_")
        and isinstance(value, property | staticmethod | classmethod | FunctionType)
        and not inspect.getdoc(getattr(owner, name))
    ]


@per_package
def test_all_is_what_the_package_exports(package: Package) -> None:
    tree = ast.parse((package.source / "__init__.py").read_text(encoding="utf-8"))
    assert export_complaints(importlib.import_module(package.import_name), tree) == []


@per_package
def test_public_symbols_are_documented(package: Package) -> None:
    found = {m.__name__: undocumented(m, package.import_name) for m in public_modules(package)}
    assert {name: symbols for name, symbols in found.items() if symbols} == {}


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("import a\n_b = 1\n__all__ = ['a']", []),
        ("a = 1\n__all__ = ['a', 'a']", ["a is in __all__ twice"]),
        ("__all__ = ['a']", ["a is in __all__ and not there"]),
        ("a: int = 1\n__all__ = []", ["a is public and not in __all__"]),
        ("def a(): ...\nclass B: ...\n__all__ = ['B']", ["a is public and not in __all__"]),
    ],
)
def test_wrong_exports_are_found(text: str, complaints: list[str]) -> None:
    module = SimpleNamespace()
    exec(text.replace("import a", "import math as a"), vars(module))
    assert export_complaints(module, ast.parse(text)) == complaints


def test_undocumented_symbols_are_found() -> None:
    module = ModuleType("ours")
    text = '''
from dataclasses import dataclass
from math import sin as borrowed

@dataclass
class Automatic:
    field: int

class Documented:
    """Says so."""

    def method(self): ...

    def told(self):
        """Says so."""

    def _hidden(self): ...

class Inherits(Documented): ...

def function(): ...

def _hidden(): ...
'''
    exec(text, vars(module))
    expected = ["Automatic", "Documented.method", "Inherits", "function"]
    assert undocumented(module, "ours") == expected
