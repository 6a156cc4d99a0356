"""Checks what is inside a built wheel and a built source distribution.

    python distributions.py DIST_FOLDER

looks at the wheel and the sdist of every package of the repository and reports all that is wrong at
once. A check returns a list of complaints, so that an empty list means that all is well.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import Package, load_packages


def built_wheel(package: Package, folder: Path) -> Path:
    """Returns the path of a package's wheel in a folder of built distributions."""
    return folder / f"{package.import_name}-{package.version}-py3-none-any.whl"


def built_sdist(package: Package, folder: Path) -> Path:
    """Returns the path of a package's sdist in a folder of built distributions."""
    return folder / f"{package.import_name}-{package.version}.tar.gz"


def wheel_complaints(wheel: Path, package: Package, packages: dict[str, Package]) -> list[str]:
    """Returns what is wrong with a wheel: its files and the requirements that it declares."""
    with zipfile.ZipFile(wheel) as archive:
        files = [PurePosixPath(name) for name in archive.namelist()]
        information = f"{package.import_name}-{package.version}.dist-info"
        metadata = archive.read(f"{information}/METADATA").decode()
    names = {str(path) for path in files}
    required = [f"{package.import_name}/py.typed", f"{information}/licenses/LICENSE"]
    source = {path.relative_to(package.source) for path in package.source.rglob("*.py")}
    required += [f"{package.import_name}/{path.as_posix()}" for path in sorted(source)]
    stray = [
        str(path)
        for path in files
        if path.parts[0] not in {package.import_name, information} or "tests" in path.parts
    ]
    return [
        *(f"{wheel.name}: {name} is missing" for name in required if name not in names),
        *(f"{wheel.name}: {name} does not belong in a wheel" for name in stray),
        *(f"{wheel.name}: {text}" for text in requirement_complaints(metadata, packages)),
    ]


def requirement_complaints(metadata: str, packages: dict[str, Package]) -> list[str]:
    """Returns what is wrong with the requirements in the text of a wheel's METADATA.

    No requirement may pin one version. A sibling is required as the range of versions that share its
    minor version, such as `>=0.1,<0.2`, and the version in this repository is inside.
    """
    complaints = []
    for text in Parser().parsestr(metadata, headersonly=True).get_all("Requires-Dist", []):
        requirement = Requirement(text)
        operators = sorted(specifier.operator for specifier in requirement.specifier)
        sibling = packages.get(canonicalize_name(requirement.name))
        if "==" in operators or "===" in operators:
            complaints.append(f"{text} pins one version; write a range")
        elif sibling is not None and operators != ["<", ">="]:
            complaints.append(f"{text} is no range; write {requirement.name}>=LOW,<HIGH")
        elif sibling is not None and sibling.version not in requirement.specifier:
            complaints.append(f"{text} excludes the version in this repository, {sibling.version}")
    return complaints


def sdist_complaints(sdist: Path, wheel: Path, package: Package) -> list[str]:
    """Returns what is wrong with an sdist: its files, and whether it builds the same wheel."""
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(sdist) as archive:
        archive.extractall(scratch, filter="data")
        unpacked = Path(scratch) / f"{package.import_name}-{package.version}"
        required = ["LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests"]
        missing = [name for name in required if not (unpacked / name).exists()]
        build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", scratch]
        subprocess.run([*build, str(unpacked)], check=True, stdout=subprocess.DEVNULL)
        same = contents(Path(scratch) / wheel.name) == contents(wheel)
    return [
        *(f"{sdist.name}: {name} is missing" for name in missing),
        *([] if same else [f"{sdist.name}: builds another wheel than the source tree does"]),
    ]


def contents(wheel: Path) -> dict[str, bytes]:
    """Returns the bytes of every file in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def main() -> None:
    """Checks the distributions in the folder that is named on the command line."""
    parser = argparse.ArgumentParser(description="Check built wheels and source distributions.")
    parser.add_argument("folder", type=Path, help="folder that holds the built distributions")
    folder = parser.parse_args().folder
    packages = load_packages()
    complaints = []
    for package in packages.values():
        wheel, sdist = built_wheel(package, folder), built_sdist(package, folder)
        complaints += wheel_complaints(wheel, package, packages)
        complaints += sdist_complaints(sdist, wheel, package)
    if complaints:
        sys.exit("\n".join(complaints))
    print(f"{len(packages)} wheels and their source distributions are as they should be")


if __name__ == "__main__":
    main()
