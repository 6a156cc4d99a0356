"""Trains a convolutional network on handwritten digits: the quickstart.

Everything that decides the next step is in the train state (parameters, batch statistics, optimizer,
random keys) and in the position in the data. Every checkpoint holds both, so a run that is
interrupted and resumed ends with the very same parameters as one that was not.
"""

import argparse
import sys
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from arguments import make_parser
from digits import Digits, load_train_and_test
from interruption import Interruption
from plots import plot_learning_curve, plot_predictions
from training import create_state, evaluate, train_step

from linen_core.errors import LinenError
from linen_train import Checkpointer, TrainingProgress, TrainState
from linen_train.data import ArrayBatches, ArrayLoader, prefetch_to_device

EXIT_INTERRUPTED = 130  # what a shell reports after Ctrl-C

History = list[dict[str, float]]


class UsageError(Exception):
    """The arguments do not fit what is in the output directory."""


def main() -> int:
    """Run the command line and return the exit status."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        with Checkpointer(prepared_directory(arguments)) as checkpointer:
            return run(arguments, checkpointer)
    except (UsageError, LinenError) as error:
        parser.error(str(error))


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


def run(arguments: argparse.Namespace, checkpointer: Checkpointer) -> int:
    """Train from the beginning or from the last checkpoint, and draw the pictures."""
    train, test = load_train_and_test()
    loader = ArrayLoader(
        train, arguments.batch_size, epochs=arguments.epochs, shuffle_seed=arguments.seed
    )
    batches = iter(loader)
    state = create_state(arguments.seed, arguments.learning_rate)
    settings = {name: getattr(arguments, name) for name in ("batch_size", "learning_rate", "seed")}
    history: History = []
    if arguments.resume:
        state, history = restored(checkpointer, state, batches, settings)
    first_step = int(state.step)
    if first_step > arguments.epochs * loader.batches_per_epoch:
        trained = first_step / loader.batches_per_epoch
        raise UsageError(
            f"found --epochs {arguments.epochs}, but the checkpoint has {trained:.4g} epochs "
            "already; ask for more"
        )

    with (
        Interruption() as interruption,
        prefetch_to_device(batches) as ready,
        TrainingProgress(
            epochs=arguments.epochs,
            steps_per_epoch=loader.batches_per_epoch,
            first_step=first_step,
        ) as progress,
    ):
        for step, batch in enumerate(ready, start=first_step + 1):
            state, metrics = train_step(state, batch)
            progress.update(examples=arguments.batch_size, **metrics)
            epoch, steps_into_epoch = divmod(step, loader.batches_per_epoch)
            if steps_into_epoch == 0:
                test_metrics = measured(state, test)
                means = progress.end_epoch(**test_metrics)
                history.append({"epoch": epoch, **means, **test_metrics})
            if steps_into_epoch == 0 or interruption.requested:
                position = {"settings": settings, "data": ready.get_state(), "history": history}
                checkpointer.save(step, state, metadata=position)
            if interruption.requested:
                checkpointer.wait()
                print(f"Interrupted: saved step {step}. To go on, add --resume to the command.")
                return EXIT_INTERRUPTED

    draw(arguments.output, state, test, history)
    return 0


def restored(
    checkpointer: Checkpointer,
    state: TrainState,
    batches: ArrayBatches,
    settings: dict[str, Any],
) -> tuple[TrainState, History]:
    """Return state and history of the last checkpoint, and set the data to its position."""
    saved = checkpointer.metadata()
    for name, value in settings.items():
        if saved["settings"][name] != value:
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"found {option} {value}, but the run was started with {saved['settings'][name]}"
            )
    batches.set_state(saved["data"])
    return checkpointer.restore(state), saved["history"]


def measured(state: TrainState, test: Digits) -> dict[str, float]:
    """Return the metrics on the test digits."""
    _, metrics = evaluate(state, test)
    return {f"test_{name}": float(value) for name, value in metrics.items()}


def draw(output: Path, state: TrainState, test: Digits, history: History) -> None:
    """Draw the learning curve and the predictions, and say how good they are."""
    logits, metrics = evaluate(state, test)
    plot_learning_curve(history, output / "learning_curve.png")
    plot_predictions(test, np.asarray(logits), output / "predictions.png")
    print(f"Test accuracy {float(metrics['accuracy']):.2%} on {len(test['label'])} digits.")
    print(f"Pictures and checkpoints are in {output}/.")


if __name__ == "__main__":
    sys.exit(main())
