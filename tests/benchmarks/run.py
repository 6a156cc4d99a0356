"""Prints how long linen, flax.linen and plain `jax.numpy` take to trace, lower, run and initialise.

Every pair of contestants is timed in a process of its own, in turns. A time is the median over both
pairs of a contestant; a ratio comes from its own pair. A cold `init` is the first one of a fresh
process, with its compilation and without the imports. Nothing here judges: it reports.

    python tests/benchmarks/run.py --quick --models mlp --metrics apply gradient
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from models import MODELS
from timing import Timings

METRICS = {
    "init": "trace init",
    "apply": "trace apply",
    "gradient": "trace gradient",
    "lower": "trace and lower gradient",
    "compile": "compile gradient",
    "step": "compiled gradient step",
    "memory": "temporaries of the step [MB]",
    "eager": "eager apply",
    "cold": "cold init",
    "cold-jit": "cold jitted init",
}
CONTESTANTS = ("linen", "flax", "hand")
PAIRS = (("linen", "hand"), ("flax", "hand"), ("linen", "flax"))
MEASURE = Path(__file__).with_name("measure.py")


def process(model: str, names: tuple[str, ...], metrics: list[str], repeats: int) -> Any:
    """Measures in a fresh process, without a compilation cache on disk."""
    arguments = [model, *names, "--metrics", *metrics, "--repeats", str(repeats)]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [sys.executable, str(MEASURE), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def warm_rows(model: str, metrics: list[str], repeats: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each metric that is timed in a warm process."""
    pairs = {pair: process(model, pair, metrics, repeats) for pair in PAIRS} if metrics else {}
    for metric in metrics:
        timings = {pair: Timings(found[metric]) for pair, found in pairs.items()}
        yield row(model, metric, timings)


def cold_rows(model: str, metrics: list[str], repeats: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each metric that needs a fresh process for every number."""
    for metric in metrics:
        seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(repeats):
            for name, found in seconds.items():
                found.append(process(model, (name,), [metric], 1))
        yield row(model, metric, dict.fromkeys(PAIRS, Timings(seconds)))


def row(model: str, metric: str, timings: Mapping[tuple[str, str], Timings]) -> dict[str, Any]:
    """Returns medians, in seconds or bytes, and ratios of one line of the table."""
    turns = {
        name: [second for found in timings.values() for second in found.seconds.get(name, ())]
        for name in CONTESTANTS
    }
    return {
        "model": model,
        "metric": metric,
        "medians": {name: median(seconds) for name, seconds in turns.items()},
        "ratios": {"/".join(pair): found.ratio(*pair) for pair, found in timings.items()},
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints milliseconds and ratios."""
    table = Table(title="Medians in milliseconds, and ratios within pairs")
    table.add_column("")
    for heading in (*CONTESTANTS, *("/".join(pair) for pair in PAIRS)):
        table.add_column(heading, justify="right")
    model = None
    for line in rows:
        if line["model"] != model:
            model = line["model"]
            table.add_section()
            table.add_row(f"[bold]{MODELS[model].title}")
        unit = 1e-6 if line["metric"] == "memory" else 1e3
        table.add_row(
            f"  {METRICS[line['metric']]}",
            *(f"{unit * line['medians'][name]:,.1f}" for name in CONTESTANTS),
            *(f"{ratio:.2f}" for ratio in line["ratios"].values()),
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--repeats", type=int, default=5, help="turns of each pair")
    parser.add_argument("--cold-repeats", type=int, default=3, help="fresh processes each")
    parser.add_argument("--quick", action="store_true", help="three turns, one cold start")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    repeats, cold_repeats = (3, 1) if options.quick else (options.repeats, options.cold_repeats)
    cold = [metric for metric in options.metrics if metric.startswith("cold")]
    warm = [metric for metric in options.metrics if metric not in cold]
    rows = []
    for model in options.models:
        print(f"measuring {model} ...", file=sys.stderr)
        rows += warm_rows(model, warm, repeats)
        rows += cold_rows(model, cold, cold_repeats)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    print_table(rows)


if __name__ == "__main__":
    main()
