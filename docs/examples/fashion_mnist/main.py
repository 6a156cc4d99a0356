"""Trains a convolutional network on Fashion-MNIST; run again after it was stopped, it goes on.

However a run ends, by Ctrl-C, SIGTERM or `kill -9`, the same command continues it from the last
checkpoint, and it ends with the very same parameters as a run that nobody stopped.
"""

import argparse
import sys
from pathlib import Path

from clothes import MissingDataError, flip, load_train_and_test
from training import create_state, digest, make_evaluation, train_step

from linen_core.errors import LinenError
from linen_train import Checkpointer, fit
from linen_train.data import ArrayLoader
from linen_train.writers import ConsoleWriter, JSONLWriter, MultiWriter


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="fashion_mnist",
        description=__doc__.partition("\n")[0] if __doc__ else None,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder of the four files; by default that of the package")
    add("--output", type=Path, default=Path("runs/fashion_mnist"), help="checkpoints and metrics")
    add("--epochs", type=int, default=6, help="epochs of the whole run")
    add("--batch-size", type=int, default=128, help="pictures per step")
    add("--learning-rate", type=float, default=3e-3, help="the largest, of AdamW")
    add("--seed", type=int, default=0, help="of parameters, data and dropout")
    add("--save-every", type=int, default=200, help="steps from one checkpoint to the next")
    return parser


def main() -> int:
    """Run the command line and return the exit status."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except (MissingDataError, LinenError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def run(arguments: argparse.Namespace) -> int:
    """Train, from the beginning or from the last checkpoint."""
    train, test = load_train_and_test(arguments.data)
    loader = ArrayLoader(
        train,
        arguments.batch_size,
        epochs=arguments.epochs,
        shuffle_seed=arguments.seed,
        transform=flip,
    )
    steps = arguments.epochs * loader.batches_per_epoch
    with Checkpointer(
        arguments.output / "checkpoints",
        keep_best=1,
        best_metric="test_accuracy",
        best_mode="max",
        every_steps=arguments.save_every,
    ) as checkpointer:
        rows = arguments.output / "metrics.jsonl"
        newest = checkpointer.latest_step() or 0
        with MultiWriter(ConsoleWriter(), JSONLWriter(rows, resume_step=newest)) as writer:
            result = fit(
                create_state(arguments.seed, arguments.learning_rate, steps),
                train_step,
                loader,
                epochs=arguments.epochs,
                log_every=loader.batches_per_epoch,
                evaluate=make_evaluation(test, batch_size=1000),
                checkpointer=checkpointer,
                resume=True,
                writer=writer,
                monitor="test_accuracy",
                prefetch=2,
            )
    if result.exit_code:
        print(
            f"Stopped by {result.stopped_by}, saved step {result.saved_step}. Run it again to go on."
        )
        return result.exit_code
    print(f"Test accuracy {result.history[-1]['test_accuracy']:.2%} after {result.step} steps.")
    print(f"Digest of the parameters: {digest(result.state)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
