"""Everything that can be run on this repository: `nox -l` lists it, bare `nox` runs what CI holds.

Names, order and Python versions come from the `pyproject.toml` files, see `tests/packaging/repository.py`.
Sessions that develop install the packages editable; sessions that show what a user gets (`isolated`,
`downstream`, `integration`) install the wheels that `build` leaves in `dist/`. Bare `nox` runs the tests of a
package once, on its wheel; `tests` runs them on the sources, on each Python that is there. What follows
`--` on the command line goes to pytest, or to the script that the session runs.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests/packaging"))

from distributions import built_wheel  # noqa: E402
from repository import Package, closure, floors, foreign, load_packages  # noqa: E402

DIST = ROOT / "dist"
CHECKS = ROOT / "tests/packaging"
DOWNSTREAM = ROOT / "tests/downstream"
EXAMPLES = ROOT / "docs/examples"

PACKAGES = load_packages(ROOT)
WHEELS = [f"{p.name} @ {built_wheel(p, DIST).as_uri()}" for p in PACKAGES.values()]
BACKENDS = sorted({r for p in PACKAGES.values() for r in p.pyproject["build-system"]["requires"]})
TOOLS = nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"]
TEST_NEEDS = sorted({r for p in PACKAGES.values() for r in p.test_requirements})
EXAMPLE_NEEDS = [f"--requirement={path}" for path in EXAMPLES.glob("*/requirements.txt")]

# One worker for each core; `-- --numprocesses=0` turns that off, for a debugger say.
IN_PARALLEL = "--numprocesses=auto"

# Most of the time of tests is XLA's, for programs that do not change between sessions.
COMPILED = ROOT / ".nox/compiled"

# The whole public surface has types that no checker has to infer.
COMPLETELY_TYPED = [package.import_name for package in PACKAGES.values()]

# After Ctrl-C an example writes a checkpoint, which takes longer than nox would wait by itself.
SECONDS_TO_SAVE = 60

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
DECLARED = sorted(
    {v for package in PACKAGES.values() for v in nox.project.python_versions(package.pyproject)},
    key=lambda version: tuple(map(int, version.split("."))),
)
PYTHONS = DECLARED if RUNNING in DECLARED else [*DECLARED, RUNNING]

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint",
    "types",
    "isolated",
    "downstream",
    "integration",
    "parity",
]

per_package = nox.parametrize("package", [nox.param(p, id=p.name) for p in PACKAGES.values()])


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and its formatter."""
    session.install(*TOOLS["lint"])
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types: pyright over sources, tests and examples, and whether all that users see is annotated."""
    extra = [*TOOLS["types"], *TEST_NEEDS, *EXAMPLE_NEEDS, "nox"]
    install_editable(session, *PACKAGES.values(), extra=extra)
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", env=quiet)
    for name in COMPLETELY_TYPED:
        session.run("pyright", "--verifytypes", name, "--ignoreexternal", env=quiet, silent=True)


@nox.session(python=PYTHONS)
@per_package
def tests(session: nox.Session, package: Package) -> None:
    """Tests of one package, on every declared Python that is present."""
    install_editable(session, package, extra=package.test_requirements)
    pytest(session, IN_PARALLEL, package.folder / "tests")


@nox.session
def build(session: nox.Session) -> None:
    """Wheels and source distributions into dist/, with their contents checked."""
    session.install(*TOOLS["build"], *BACKENDS)
    shutil.rmtree(DIST, ignore_errors=True)
    command = ["python", "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", DIST]
    for package in PACKAGES.values():
        session.run(*command, package.folder, silent=True)
    session.run("python", CHECKS / "distributions.py", DIST)


@nox.session(requires=["build"])
@per_package
def isolated(session: nox.Session, package: Package) -> None:
    """One wheel with those it needs, far from the checkout, and nothing of ours above it."""
    install_wheels(session, package)
    above = [other.import_name for other in foreign(package, PACKAGES)]
    session.run("python", CHECKS / "isolation.py", package.import_name, "--forbid", *above)
    session.install(*package.test_requirements)
    with tempfile.TemporaryDirectory(prefix=f"{package.name}-") as scratch:
        for settings in ("pyproject.toml", "conftest.py"):
            shutil.copy(ROOT / settings, scratch)
        shutil.copytree(package.folder / "tests", Path(scratch, "tests"))
        with session.chdir(scratch):
            pytest(session, IN_PARALLEL, "tests")


@nox.session(python=DECLARED[0])
@per_package
def minimums(session: nox.Session, package: Package) -> None:
    """Tests of one package on the lowest versions that it and its tests declare."""
    direct = [*package.requirements, *map(Requirement, package.test_requirements)]
    lowest = [pin for pin in floors(direct) if Requirement(pin).name not in PACKAGES]
    extra = [*package.test_requirements, *constraints(session, lowest)]
    install_editable(session, package, extra=extra)
    pytest(session, IN_PARALLEL, package.folder / "tests")


@nox.session(requires=["build"])
def downstream(session: nox.Session) -> None:
    """A framework of somebody else's, which depends on linen-core alone, trains a step."""
    project = nox.project.load_toml(DOWNSTREAM / "pyproject.toml")
    needs = nox.project.dependency_groups(project, "test")
    session.install(str(DOWNSTREAM), *needs, *constraints(session, WHEELS))
    pytest(session, DOWNSTREAM)


@nox.session(requires=["build"])
def integration(session: nox.Session) -> None:
    """Tests that need several wheels, and those of the design and of the packaging."""
    install_wheels(session, *PACKAGES.values())
    session.install(*TEST_NEEDS, *EXAMPLE_NEEDS, *TOOLS["build"], *BACKENDS)
    folders = ["tests/design", "tests/packaging", "tests/integration", "tests/faults"]
    pytest(session, IN_PARALLEL, *folders)


@nox.session
def parity(session: nox.Session) -> None:
    """Agreement with flax.linen, which is installed for this comparison alone, on a part of the cases."""
    install_editable(session, *PACKAGES.values(), extra=[*TEST_NEEDS, *TOOLS["parity"]])
    pytest(session, IN_PARALLEL, "tests/parity")


@nox.session
def parity_all(session: nox.Session) -> None:
    """The same with all cases of the tables, in place of every fourth."""
    install_editable(session, *PACKAGES.values(), extra=[*TEST_NEEDS, *TOOLS["parity"]])
    pytest(session, IN_PARALLEL, "tests/parity", env={"LINEN_PARITY": "all"})


@nox.session
def faults(session: nox.Session) -> None:
    """Every case of the table of faults of checkpoints: kills, flipped bits, full disks, lost peers."""
    install_editable(session, *PACKAGES.values(), extra=[*TEST_NEEDS, *EXAMPLE_NEEDS])
    pytest(session, "tests/faults", env={"LINEN_FAULTS": "all"})


@nox.session
def processes(session: nox.Session) -> None:
    """Every case of training in several processes: other meshes, killed peers, signals."""
    install_editable(session, *PACKAGES.values(), extra=[*TEST_NEEDS, *EXAMPLE_NEEDS])
    target = "tests/integration/test_distributed.py"
    pytest(session, target, env={"LINEN_DISTRIBUTED": "all"})


@nox.session
def layouts(session: nox.Session) -> None:
    """Writes down anew which variables the layers have, for the test that they stay."""
    install_editable(session, *PACKAGES.values(), extra=TEST_NEEDS)
    target = PACKAGES["linen-modules"].folder / "tests/test_layouts.py"
    session.run("python", "-m", "pytest", target, env={"LINEN_WRITE_LAYOUTS": "1"})


@nox.session
def reference(session: nox.Session) -> None:
    """Agreement with PyTorch, a large installation for this comparison alone."""
    install_editable(session, *PACKAGES.values(), extra=[*TEST_NEEDS, *TOOLS["reference"]])
    pytest(session, IN_PARALLEL, "tests/reference")


@nox.session
def bench(session: nox.Session) -> None:
    """Prints what tracing, lowering, cold starts and transformations cost, next to flax.linen and JAX."""
    install_editable(session, *PACKAGES.values(), extra=TOOLS["parity"])
    session.run("python", "tests/benchmarks/run.py", *session.posargs)
    session.run("python", "tests/benchmarks/overheads.py")
    session.run("python", "tests/benchmarks/transforms.py")


@nox.session
def bench_train(session: nox.Session) -> None:
    """Prints what the loop and checkpoints cost, next to a bare loop, raw files and Orbax."""
    install_editable(session, PACKAGES["linen-train"])
    session.run("python", "tests/benchmarks/loop.py")
    session.run("python", "tests/benchmarks/checkpoints.py", *session.posargs)


@nox.session
def bench_feeding(session: nox.Session) -> None:
    """Prints how fast images are fed, next to grain; needs `-- --data FOLDER` of Fashion-MNIST."""
    install_editable(session, PACKAGES["linen-train"], extra=["grain"])
    session.run("python", "tests/benchmarks/feeding.py", *session.posargs)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Trains the first example of the documentation."""
    install_editable(session, *PACKAGES.values(), extra=EXAMPLE_NEEDS)
    command = ["python", EXAMPLES / "quickstart/main.py", *session.posargs]
    session.run(*command, interrupt_timeout=SECONDS_TO_SAVE)


@nox.session
def changelog(session: nox.Session) -> None:
    """Prints what the next release of each package would add to its changelog."""
    session.install(*TOOLS["changelog"])
    for package in PACKAGES.values():
        session.run("towncrier", "build", "--draft", "--dir", package.folder, "--version", "next")


def pytest(session: nox.Session, *arguments: str | Path, env: dict[str, str] | None = None) -> None:
    """Runs pytest on the given folders, with what follows `--` added."""
    env = {"LINEN_COMPILED": str(COMPILED), **(env or {})}
    session.run("python", "-m", "pytest", *arguments, *session.posargs, env=env)


def install_editable(session: nox.Session, *packages: Package, extra: Iterable[str] = ()) -> None:
    """Installs packages from the checkout, with the siblings they need."""
    needed = {p.name: p for package in packages for p in closure(package, PACKAGES)}
    session.install(*[f"--editable={p.folder}" for p in needed.values()], *extra)


def install_wheels(session: nox.Session, *packages: Package) -> None:
    """Installs packages from dist/, where their siblings have to come from as well."""
    session.install(*[package.name for package in packages], *constraints(session, WHEELS))


def constraints(session: nox.Session, lines: Iterable[str]) -> list[str]:
    """Returns the arguments that hold an installation to the given requirements."""
    path = Path(session.create_tmp(), "constraints.txt")
    path.write_text("".join(f"{line}\n" for line in lines))
    return ["--constraint", str(path)]
