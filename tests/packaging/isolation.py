"""Shows that a wheel stands on the wheels below it and on nothing else of ours.

Run in an environment that holds one wheel and what it requires:

    python isolation.py IMPORT_NAME --forbid OTHER [OTHER ...]

Two things can go wrong and each is reported. A forbidden package may be **installed**, because some
requirement pulled it in. Or a module of the wheel may **ask for** it: the import may well fail and be
caught (`try: import ... except ImportError`), so looking at `sys.modules` is not enough. A finder at the
front of `sys.meta_path` therefore notes every name that the import system is asked for, found or not,
while every module of the wheel is imported in a fresh interpreter.

The file uses the standard library alone, so that nothing but the wheel is in the environment.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence

_WALK = """
import importlib, json, pkgutil, sys

asked = []

class Witness:
    def find_spec(self, name, path=None, target=None):
        asked.append(name)

sys.meta_path.insert(0, Witness())
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps(asked))
"""


class IsolationError(Exception):
    """A wheel is not independent of the packages that it must do without."""


def modules_imported_by(name: str) -> set[str]:
    """Returns every module name that importing all of a package asks for, found or not.

    Args:
        name: the import name of an installed package.
    """
    command = [sys.executable, "-c", _WALK, name]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(json.loads(output.splitlines()[-1]))


def assert_not_installed(forbidden: Sequence[str]) -> None:
    """Raises IsolationError if one of the packages can be imported here."""
    present = [name for name in forbidden if importlib.util.find_spec(name) is not None]
    if present:
        raise IsolationError(f"installed, but must be absent: {', '.join(present)}")


def assert_nothing_above(name: str, forbidden: Sequence[str]) -> None:
    """Raises IsolationError if importing a package asks for a forbidden one."""
    asked = {module.partition(".")[0] for module in modules_imported_by(name)}
    above = sorted(asked.intersection(forbidden))
    if above:
        raise IsolationError(f"{name} imports {', '.join(above)}, which it must do without")


def main() -> None:
    """Checks the package that is named on the command line."""
    parser = argparse.ArgumentParser(description="Check that a wheel stands alone.")
    parser.add_argument("name", help="import name of the wheel")
    parser.add_argument("--forbid", nargs="*", default=[], help="import names that must be absent")
    arguments = parser.parse_args()
    assert_not_installed(arguments.forbid)
    assert_nothing_above(arguments.name, arguments.forbid)
    absent = ", ".join(arguments.forbid) or "nothing to be absent"
    print(f"{arguments.name} stands alone (without: {absent})")


if __name__ == "__main__":
    main()
