"""The checks of built distributions pass on a good package and can each fail on a broken one."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from distributions import (
    built_sdist,
    built_wheel,
    requirement_complaints,
    sdist_complaints,
    wheel_complaints,
)
from repository import Package, load_packages

PACKAGES = load_packages()
CORE = PACKAGES["linen-core"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the freshly built wheel and sdist of linen-core."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel"]
    subprocess.run([*build, "--outdir", folder, CORE.folder], check=True, capture_output=True)
    return folder


def rewrite(wheel: Path, folder: Path, keep: Callable[[str], bool], **added: str) -> Path:
    """Writes a copy of a wheel that keeps some of its files and gets others."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w") as new:
        for name in filter(keep, old.namelist()):
            new.writestr(name, old.read(name))
        for name, text in added.items():
            new.writestr(name, text)
    return copy


def test_a_good_wheel_and_sdist_pass(dist: Path) -> None:
    wheel = built_wheel(CORE, dist)
    assert wheel_complaints(wheel, CORE, PACKAGES) == []
    assert sdist_complaints(built_sdist(CORE, dist), wheel, CORE) == []


@pytest.mark.parametrize("name", ["py.typed", "LICENSE", "struct.py"])
def test_a_wheel_without_a_file_is_caught(dist: Path, tmp_path: Path, name: str) -> None:
    wheel = rewrite(built_wheel(CORE, dist), tmp_path, lambda file: not file.endswith(name))
    (complaint,) = wheel_complaints(wheel, CORE, PACKAGES)
    assert complaint.endswith(f"{name} is missing")


@pytest.mark.parametrize("name", ["tests/test_scope.py", "linen_core/tests/a.py", "other/a.py"])
def test_a_wheel_with_stray_files_is_caught(dist: Path, tmp_path: Path, name: str) -> None:
    wheel = rewrite(built_wheel(CORE, dist), tmp_path, lambda file: True, **{name: ""})
    assert wheel_complaints(wheel, CORE, PACKAGES) == [
        f"{wheel.name}: {name} does not belong in a wheel"
    ]


def test_an_sdist_that_builds_another_wheel_is_caught(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(built_sdist(CORE, dist)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    shutil.rmtree(unpacked / "tests")
    (unpacked / "src/linen_core/struct.py").write_text("changed = True\n")
    sdist = tmp_path / "changed.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(unpacked, unpacked.name)
    assert sdist_complaints(sdist, built_wheel(CORE, dist), CORE) == [
        "changed.tar.gz: tests is missing",
        "changed.tar.gz: builds another wheel than the source tree does",
    ]


@pytest.mark.parametrize(
    ("requirement", "complaint"),
    [
        ("linen-core<0.2,>=0.1", None),
        ("numpy>=2.0", None),
        ("numpy==2.0", "numpy==2.0 pins one version; write a range"),
        ("linen-core==0.1.0", "linen-core==0.1.0 pins one version; write a range"),
        ("linen-core", "linen-core is no range; write linen-core>=LOW,<HIGH"),
        ("Linen_Core>=0.1", "Linen_Core>=0.1 is no range; write Linen_Core>=LOW,<HIGH"),
        (
            "linen-core>=0.3,<0.4",
            f"linen-core>=0.3,<0.4 excludes the version in this repository, {CORE.version}",
        ),
    ],
)
def test_requirements(requirement: str, complaint: str | None) -> None:
    found = requirement_complaints(f"Name: x\nRequires-Dist: {requirement}\n", PACKAGES)
    assert found == ([] if complaint is None else [complaint])


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_licence_is_that_of_the_repository(package: Package) -> None:
    root = package.folder.parents[1]
    assert (package.folder / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
