"""The packages are read from their pyprojects as they stand on disk, in the order of dependency."""

from pathlib import Path

import pytest
import repository
from packaging.requirements import Requirement
from repository import Package, closure, floors, foreign, load_packages

PACKAGES = load_packages()


def write_package(root: Path, name: str, dependencies: list[str]) -> None:
    folder = root / "packages" / name
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        f"""
        [project]
        name = "{name}"
        version = "0.1.0"
        dependencies = {dependencies}
        [tool.hatch.build.targets.wheel]
        packages = ["src/{name.replace("-", "_")}"]
        """
    )


@pytest.fixture
def diamond(tmp_path: Path) -> dict[str, Package]:
    """Four packages, `a-top` above `left` and `right`, both above `z-bottom`."""
    write_package(tmp_path, "a-top", ["left>=0.1", "right>=0.1", "numpy"])
    write_package(tmp_path, "left", ["Z_Bottom>=0.1"])
    write_package(tmp_path, "right", ["z.bottom>=0.1"])
    write_package(tmp_path, "z-bottom", ["numpy"])
    return load_packages(tmp_path)


def test_every_folder_under_packages_is_a_package() -> None:
    folders = {path.name for path in (repository.ROOT / "packages").iterdir() if path.is_dir()}
    assert set(PACKAGES) == folders


def test_packages_come_after_those_they_depend_on(diamond: dict[str, Package]) -> None:
    order = list(diamond)
    assert order[0] == "z-bottom"
    assert order[-1] == "a-top"


@pytest.mark.parametrize(
    ("name", "needed", "unneeded"),
    [
        ("z-bottom", ["z-bottom"], {"left", "right", "a-top"}),
        ("left", ["z-bottom", "left"], {"right", "a-top"}),
        ("a-top", ["z-bottom", "left", "right", "a-top"], set()),
    ],
    ids=["lowest", "middle", "highest"],
)
def test_closure_and_foreign_divide_the_packages(
    diamond: dict[str, Package], name: str, needed: list[str], unneeded: set[str]
) -> None:
    assert [package.name for package in closure(diamond[name], diamond)] == needed
    assert {package.name for package in foreign(diamond[name], diamond)} == unneeded


def test_floors_are_the_lower_bounds() -> None:
    requirements = map(Requirement, ["jax>=0.8.0", "numpy>=2.0,<3", "rich"])
    assert floors(requirements) == ["jax==0.8.0", "numpy==2.0"]


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_every_requirement_has_a_floor(package: Package) -> None:
    direct = [*package.requirements, *map(Requirement, package.test_requirements)]
    assert len(floors(direct)) == len(direct)


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_names_agree(package: Package) -> None:
    assert package.folder.name == package.name
    assert package.import_name == package.name.replace("-", "_")
    assert package.source.is_dir()
