"""Trains a convolutional network on handwritten digits: the quickstart.

Everything that decides the next step is in the train state (parameters, batch statistics, optimizer,
random keys) and in the position in the data. Every checkpoint holds both, so a run that is
interrupted and resumed ends with the very same parameters as one that was not.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from arguments import make_parser
from digits import Digits, load_train_and_test
from plots import plot_learning_curve, plot_predictions
from training import create_state, evaluate, train_step

from linen_core.errors import LinenError
from linen_train import Checkpointer, Event, FitResult, Hook, TrainState, fit
from linen_train.data import ArrayLoader


class UsageError(Exception):
    """The arguments do not fit what is in the output directory."""


def main() -> int:
    """Run the command line and return the exit status."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except (UsageError, LinenError) as error:
        parser.error(str(error))


def run(arguments: argparse.Namespace) -> int:
    """Train from the beginning or from the last checkpoint, and draw the pictures."""
    directory = prepared_directory(arguments)
    train, test = load_train_and_test()
    loader = ArrayLoader(
        train, arguments.batch_size, epochs=arguments.epochs, shuffle_seed=arguments.seed
    )
    with Checkpointer(directory, every_steps=loader.batches_per_epoch) as checkpointer:
        result = trained(arguments, loader, test, checkpointer)
    if result.exit_code:
        print(
            f"Interrupted: saved step {result.saved_step}. To go on, add --resume to the command."
        )
        return result.exit_code
    draw(arguments.output, result.state, test, result.history)
    return 0


def trained(
    arguments: argparse.Namespace, loader: ArrayLoader, test: Digits, checkpointer: Checkpointer
) -> FitResult[TrainState]:
    """Train to the end, or until Ctrl-C."""
    settings = {name: getattr(arguments, name) for name in ("batch_size", "learning_rate", "seed")}
    if arguments.resume:
        check_resumable(arguments, settings, loader.batches_per_epoch, checkpointer)
    return fit(
        create_state(arguments.seed, arguments.learning_rate),
        train_step,
        loader,
        epochs=arguments.epochs,
        log_every=loader.batches_per_epoch,
        evaluate=partial(measured, test),
        hooks=[Hook(loader.batches_per_epoch, partial(print_epoch, arguments.epochs))],
        checkpointer=checkpointer,
        resume=arguments.resume,
        metadata={"settings": settings},
        prefetch=2,
    )


def prepared_directory(arguments: argparse.Namespace) -> Path:
    """Return the directory of the checkpoints, once the arguments fit what is in it."""
    directory = arguments.output / "checkpoints"
    holds_run = directory.is_dir() and any(directory.iterdir())
    if arguments.resume and not holds_run:
        raise UsageError(f"{directory} holds no checkpoint; start a run without --resume")
    if arguments.overwrite and holds_run:
        rmtree(directory)
    elif holds_run and not arguments.resume:
        raise UsageError(
            f"{directory} holds an earlier run; go on with --resume, start anew with --overwrite, "
            "or choose another --output"
        )
    return directory


def check_resumable(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    steps_per_epoch: int,
    checkpointer: Checkpointer,
) -> None:
    """Refuse arguments that do not go on from the last checkpoint."""
    saved = checkpointer.metadata()["settings"]
    for name, value in settings.items():
        if saved[name] != value:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"found {option} {value}, but the run was started with {saved[name]}")
    epochs = (checkpointer.latest_step() or 0) / steps_per_epoch
    if epochs > arguments.epochs:
        raise UsageError(
            f"found --epochs {arguments.epochs}, but the checkpoint has {epochs:.4g} epochs "
            "already; ask for more"
        )


def measured(test: Digits, state: TrainState) -> dict[str, float]:
    """Return the metrics on the test digits."""
    _, metrics = evaluate(state, test)
    return {f"test_{name}": float(value) for name, value in metrics.items()}


def print_epoch(epochs: int, event: Event) -> None:
    """Print one line; the bar stays below it."""
    names = ("accuracy", "loss", "test_accuracy", "test_loss")
    values = "  ".join(f"{name} {event.metrics[name]:.4f}" for name in names)
    rate = event.metrics["examples_per_second"]
    print(f"epoch {event.epoch}/{epochs}  {values}  {rate:,.0f} examples/s")


def draw(output: Path, state: TrainState, test: Digits, history: list[dict[str, float]]) -> None:
    """Draw the learning curve and the predictions, and say how good they are."""
    logits, metrics = evaluate(state, test)
    plot_learning_curve(history, output / "learning_curve.png")
    plot_predictions(test, np.asarray(logits), output / "predictions.png")
    print(f"Test accuracy {float(metrics['accuracy']):.2%} on {len(test['label'])} digits.")
    print(f"Pictures and checkpoints are in {output}/.")


if __name__ == "__main__":
    sys.exit(main())
