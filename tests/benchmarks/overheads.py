"""Prints what Modules cost by themselves: without arithmetic, without tracing.

python tests/benchmarks/overheads.py
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from measure import LIBRARIES
from timing import interleave

SUBMODULES = 200
CALLS = 100
IMPORT = """
import jax, jax.numpy, time
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
"""


def constructions(nn: Any) -> dict[str, tuple[Callable[[], Any], int]]:
    """Returns what constructs and attaches submodules, and how many."""

    class Leaf(nn.Module):
        features: int
        use_bias: bool = True

    class Compact(nn.Module):
        make: Any

        @nn.compact
        def __call__(self):
            for _ in range(SUBMODULES):
                self.make()

    class Setup(nn.Module):
        def setup(self):
            self.leaves = [Leaf(3) for _ in range(SUBMODULES)]

        def __call__(self):
            return len(self.leaves)

    return {
        "construct and attach a submodule, compact": (
            partial(Compact(lambda: Leaf(3)).apply, {}),
            SUBMODULES,
        ),
        "construct and attach a submodule, setup": (partial(Setup().apply, {}), SUBMODULES),
        "construct and attach nn.Dense": (
            partial(Compact(lambda: nn.Dense(3)).apply, {}),
            SUBMODULES,
        ),
    }


def calls(nn: Any) -> dict[str, tuple[Callable[[], Any], int]]:
    """Returns what calls an empty module again and again, and how often."""

    class Empty(nn.Module):
        @nn.compact
        def __call__(self):
            return None

    empty = Empty()

    def apply() -> None:
        for _ in range(CALLS):
            empty.apply({})

    def bind() -> None:
        for _ in range(CALLS):
            empty.bind({})()

    return {
        "apply an empty compact module": (apply, CALLS),
        "bind and call an empty compact module": (bind, CALLS),
    }


def seconds_to_import(package: str) -> float:
    """Returns how long a fresh process takes to import a package, when it has imported jax."""
    command = [sys.executable, "-c", IMPORT.format(package=package)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Measures and prints."""
    table = Table("", "linen", "flax", "linen/flax", title="Microseconds, medians")
    libraries = {name: import_module(module) for name, module in LIBRARIES.items()}
    for workloads in (constructions, calls):
        by_library = {name: workloads(nn) for name, nn in libraries.items()}
        for title, (_, count) in by_library["linen"].items():
            calls_of = {name: found[title][0] for name, found in by_library.items()}
            prepared = {name: partial(lambda call: call, call) for name, call in calls_of.items()}
            timings = interleave(prepared, repeats=25)
            each = [1e6 * median(timings.seconds[name]) / count for name in libraries]
            ratio = timings.ratio("linen", "flax")
            table.add_row(title, *(f"{value:,.1f}" for value in each), f"{ratio:.2f}")
    imported = 1e6 * median(seconds_to_import("linen_core") for _ in range(5))
    table.add_row("import linen_core after jax", f"{imported:,.0f}", "-", "-")
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    main()
