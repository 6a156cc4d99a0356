"""The packages of this repository, read from their `pyproject.toml` files.

Everything that has to know which wheels there are asks here: the noxfile for its matrix, the design
tests for what a wheel may import, the packaging tests for what a wheel must declare. A **sibling** of a
package is another package of this repository. The packages that a package needs, itself included, are
its **closure**; every other sibling is **foreign** to it and must be neither installed nor imported
where the package runs on its own. There is no list of names to keep: a fifth folder under `packages/`
with a `pyproject.toml` joins by being there.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Package:
    """One folder under `packages/`, seen through its `pyproject.toml`."""

    folder: Path
    pyproject: dict[str, Any]

    @property
    def name(self) -> str:
        """The name that pip installs."""
        return self.pyproject["project"]["name"]

    @property
    def version(self) -> str:
        """The version of the package."""
        return self.pyproject["project"]["version"]

    @property
    def source(self) -> Path:
        """The folder that becomes the import package."""
        (source,) = self.pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        return self.folder / source

    @property
    def import_name(self) -> str:
        """The name that Python imports."""
        return self.source.name

    @cached_property
    def requirements(self) -> tuple[Requirement, ...]:
        """What the wheel requires at run time, extras included."""
        project = self.pyproject["project"]
        groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
        return tuple(map(Requirement, chain.from_iterable(groups)))

    @cached_property
    def test_requirements(self) -> tuple[str, ...]:
        """What the package's own tests require on top."""
        return tuple(self.pyproject["dependency-groups"]["test"])


def floors(requirements: Iterable[Requirement]) -> list[str]:
    """Returns one `name==version` for the lowest version that each requirement admits.

    Requirements without a lower bound have no floor and are left out.

    >>> floors([Requirement("jax>=0.8.0"), Requirement("numpy>=2.0,<3"), Requirement("rich")])
    ['jax==0.8.0', 'numpy==2.0']
    """
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


def load_packages(root: Path = ROOT) -> dict[str, Package]:
    """Returns the packages by name, each one after those it depends on."""
    found: dict[str, Package] = {}
    for path in sorted(root.glob("packages/*/pyproject.toml")):
        package = Package(path.parent, tomllib.loads(path.read_text(encoding="utf-8")))
        found[package.name] = package
    order = TopologicalSorter({name: _siblings(found[name], found) for name in found})
    return {name: found[name] for name in order.static_order()}


def closure(package: Package, packages: dict[str, Package]) -> list[Package]:
    """Returns the siblings that a package needs, lowest first, and the package itself at the end."""
    needed = {package.name}
    for name in reversed(packages):
        if name in needed:
            needed |= _siblings(packages[name], packages)
    return [packages[name] for name in packages if name in needed]


def foreign(package: Package, packages: dict[str, Package]) -> list[Package]:
    """Returns the siblings that a package must do without."""
    needed = closure(package, packages)
    return [other for other in packages.values() if other not in needed]


def _siblings(package: Package, packages: dict[str, Package]) -> set[str]:
    return {name for name in map(_canonical_name, package.requirements) if name in packages}


def _canonical_name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)
