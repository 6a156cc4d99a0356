"""Changelog fragments have names that the release tool reads; it would skip others in silence."""

import re
from collections.abc import Iterable

import pytest
from repository import Package, load_packages

PACKAGES = load_packages()


def misnamed(names: Iterable[str], package: Package) -> list[str]:
    """Returns the files among a package's fragments that no release would pick up."""
    kinds = "|".join(kind["directory"] for kind in package.pyproject["tool"]["towncrier"]["type"])
    valid = re.compile(rf"(\d+|\+[\w-]+)\.({kinds})\.md|README\.md")
    return [name for name in names if not valid.fullmatch(name)]


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_fragments_are_named_as_the_readme_says(package: Package) -> None:
    names = [path.name for path in (package.folder / "changelog.d").iterdir()]
    assert "README.md" in names
    assert misnamed(names, package) == []


def test_misnamed_fragments_are_found() -> None:
    names = ["12.added.md", "+docs.fixed.md", "README.md", "12.feature.md", "added.md", "12.added"]
    assert misnamed(names, PACKAGES["linen-core"]) == ["12.feature.md", "added.md", "12.added"]
