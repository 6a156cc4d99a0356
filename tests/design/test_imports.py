"""Which modules a wheel may import, and which names of others it may touch.

The checks read the sources, so that imports inside functions and under `TYPE_CHECKING` count as well.
A wheel may import the standard library, itself and what its pyproject declares, from which follows that
nothing imports upward. Of what it imports it uses public names only: no module, attribute or imported
name with a leading underscore, be it of a sibling or of JAX. What an extra of the wheel installs is
imported inside of functions alone, so that the wheel works without it.
"""

import ast
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import Package, load_packages

PACKAGES = load_packages()
# Names that the standard library documents for everybody, underscore or not.
DOCUMENTED = {"_asdict", "_fields", "_field_defaults", "_make", "_replace", "_getframe"}

per_package = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)


def source_trees(package: Package) -> Iterator[tuple[Path, ast.Module]]:
    """Yields every source file of a package with its syntax tree."""
    for path in sorted(package.source.rglob("*.py")):
        yield path.relative_to(package.source.parent), ast.parse(path.read_text(encoding="utf-8"))


def allowed_imports(package: Package) -> set[str]:
    """Returns the top-level modules that a package may import, from what it declares."""
    provided = provided_modules(package.requirements)
    return {package.import_name} | provided | set(sys.stdlib_module_names)


def extra_imports(package: Package) -> set[str]:
    """Returns the top-level modules that only an extra of a package installs."""
    project = package.pyproject["project"]
    extras = chain.from_iterable(project.get("optional-dependencies", {}).values())
    always = provided_modules(map(Requirement, project["dependencies"]))
    return provided_modules(map(Requirement, extras)) - always


def provided_modules(requirements: Iterable[Requirement]) -> set[str]:
    """Returns the top-level modules that requirements install.

    Where a requirement is not installed, its module is taken to have its name.
    """
    declared = {canonicalize_name(requirement.name) for requirement in requirements}
    provided = {
        module
        for module, distributions in packages_distributions().items()
        if declared.intersection(map(canonicalize_name, distributions))
    }
    siblings = {PACKAGES[name].import_name for name in declared.intersection(PACKAGES)}
    return provided | siblings | {name.replace("-", "_") for name in declared}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of all that a file imports, wherever the import stands.

    `from a.b import c` yields `a.b.c`, since `c` may be a module. Relative imports stay inside the package
    and are left out. `import_module("a.b")` and `__import__("a.b")` count.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def undeclared_imports(tree: ast.AST, allowed: Container[str]) -> list[str]:
    """Returns `line: module` for each import of a top-level module that is not allowed."""
    return [f"{line}: {name}" for line, name in imported(tree) if name.split(".")[0] not in allowed]


def eager_imports(tree: ast.AST, lazy: Container[str]) -> list[str]:
    """Returns `line: module` for each import outside of functions of a module that must be lazy."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = {
        line
        for function in ast.walk(tree)
        if isinstance(function, functions)
        for line, _ in imported(function)
    }
    return [
        f"{line}: {name}"
        for line, name in imported(tree)
        if line not in inside and name.split(".")[0] in lazy
    ]


def private_imports(tree: ast.AST, own: str) -> list[str]:
    """Returns `line: name` for each underscored name of another package that a file touches.

    Three ways lead there: importing it, reaching it through an imported module (`jax._src.core`,
    `core._context` after `import linen_core as core`), and both together.
    """
    found = [(line, name) for line, name in imported(tree) if name.split(".")[0] != own]
    foreign = _foreign_modules(tree, own)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, *rest = ast.unparse(node).split(".")
            if root in foreign and rest[-1] == node.attr:
                found.append((node.lineno, ".".join([foreign[root], *rest])))
    private = {(line, name) for line, name in found if any(map(_is_private, name.split(".")))}
    return [f"{line}: {name}" for line, name in sorted(private)]


def private_attributes(tree: ast.AST, defined: Container[str]) -> list[str]:
    """Returns `line: attribute` for each underscored attribute that the package does not define.

    `module._state` is fine where the package defines something called `_state`; where it does not, the
    attribute belongs to an object of another package.
    """
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in defined
    ]


def defined_names(trees: Iterable[ast.AST]) -> set[str]:
    """Returns the names that files define: functions, classes, variables, attributes, imports."""
    return {name for tree in trees for name in _defined(tree)}


def _foreign_modules(tree: ast.AST, own: str) -> dict[str, str]:
    names = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    top = alias.name.split(".")[0]
                    names[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                for alias in aliases:
                    names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return {local: name for local, name in names.items() if name.split(".")[0] != own}


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(name=name, asname=local):
                yield local or name


def _is_private(name: str) -> bool:
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and name not in DOCUMENTED


def complaints_by_file(
    package: Package, check: Callable[[ast.Module], list[str]]
) -> dict[str, list[str]]:
    """Returns what a check says about the files of a package, without those it finds nothing in."""
    found = {str(path): check(tree) for path, tree in source_trees(package)}
    return {path: complaints for path, complaints in found.items() if complaints}


@per_package
def test_a_wheel_imports_only_what_it_declares(package: Package) -> None:
    allowed = allowed_imports(package)
    assert complaints_by_file(package, lambda tree: undeclared_imports(tree, allowed)) == {}


@per_package
def test_a_wheel_imports_extras_inside_of_functions(package: Package) -> None:
    lazy = extra_imports(package)
    assert complaints_by_file(package, lambda tree: eager_imports(tree, lazy)) == {}


@per_package
def test_a_wheel_touches_public_names_only(package: Package) -> None:
    own = package.import_name
    assert complaints_by_file(package, lambda tree: private_imports(tree, own)) == {}


@per_package
def test_a_wheel_uses_only_underscored_attributes_of_its_own(package: Package) -> None:
    defined = defined_names(tree for _, tree in source_trees(package))
    assert complaints_by_file(package, lambda tree: private_attributes(tree, defined)) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import upper", ["1: upper"]),
        ("import upper.layers as layers", ["1: upper.layers"]),
        ("from upper import Dense", ["1: upper.Dense"]),
        ("def f():\n    import upper", ["2: upper"]),
        ("if TYPE_CHECKING:\n    from upper.layers import Dense", ["2: upper.layers.Dense"]),
        ("try:\n    import upper\nexcept ImportError:\n    pass", ["2: upper"]),
        ("importlib.import_module('upper.layers')", ["1: upper.layers"]),
        ("__import__('upper')", ["1: upper"]),
        ("import own, jax.numpy as jnp\nfrom . import upper\nfrom .upper import Dense", []),
    ],
)
def test_undeclared_imports_are_found(text: str, found: list[str]) -> None:
    assert undeclared_imports(ast.parse(text), ["own", "jax"]) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import extra", ["1: extra"]),
        ("if True:\n    from extra.part import name", ["2: extra.part.name"]),
        ("class A:\n    import extra", ["2: extra"]),
        ("def f():\n    with g():\n        import extra.part", []),
        ("class A:\n    async def f(self):\n        from extra import name", []),
        ("import other", []),
    ],
)
def test_eager_imports_are_found(text: str, found: list[str]) -> None:
    assert eager_imports(ast.parse(text), ["extra"]) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import jax._src.core", ["1: jax._src.core"]),
        ("from jax._src import core", ["1: jax._src.core"]),
        ("from lower import _context", ["1: lower._context"]),
        ("from lower._context import stack", ["1: lower._context.stack"]),
        ("import jax\njax._src", ["2: jax._src"]),
        ("import lower as low\ndef f():\n    return low.inner._stack", ["3: lower.inner._stack"]),
        ("from lower import inner\ninner._stack()", ["2: lower.inner._stack"]),
        ("import own._context, jax\nfrom own import _context\nown._context\njax.__version__", []),
        ("from . import _context\nfrom ._context import _stack\nself._stack", []),
    ],
)
def test_private_names_are_found(text: str, found: list[str]) -> None:
    assert private_imports(ast.parse(text), "own") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("scope._variables", ["1: scope._variables"]),
        ("def f(module):\n    return module.scope._rngs['a']", ["2: module.scope._rngs"]),
        ("self._cache = 1\nother._cache", []),
        ("class A:\n    _cache: int\nA()._cache", []),
        ("pair._replace(a=1)\nvalue.__class__", []),
    ],
)
def test_private_attributes_are_found(text: str, found: list[str]) -> None:
    tree = ast.parse(text)
    assert private_attributes(tree, defined_names([tree])) == found


def test_what_may_be_imported_follows_from_the_pyproject() -> None:
    allowed = allowed_imports(PACKAGES["linen-modules"])
    assert {"linen_modules", "linen_core", "linen_transforms", "jax", "math"} <= allowed
    assert not {"linen_train", "optax", "jaxlib"} & allowed
    assert {"grain", "matplotlib", "tensorboard"} <= extra_imports(PACKAGES["linen-train"])
