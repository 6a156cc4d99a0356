"""The command line of the quickstart."""

import argparse
import math
import tempfile
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def make_parser() -> Parser:
    """Return the parser of the quickstart's arguments."""
    parser = Parser(
        prog="quickstart",
        description="Train a small convolutional network on handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=positive_int, default=20, help="epochs of the whole run")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="digits per step")
    parser.add_argument("--learning-rate", type=positive_float, default=2e-3, help="of AdamW")
    parser.add_argument("--seed", type=whole_number, default=0, help="of parameters, data, dropout")
    parser.add_argument(
        "--output",
        type=writable_directory,
        default="runs/quickstart",
        help="directory of checkpoints and pictures",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --output"
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="delete the checkpoints in --output, start anew"
    )
    return parser


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    return whole_number(text, minimum=1)


def whole_number(text: str, minimum: int = 0) -> int:
    """Parse an integer from `minimum` to the largest that fits 32 bits."""
    if not text.isdecimal() or not minimum <= int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from {minimum}")
    return int(text)


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0")
    return value


def writable_directory(text: str) -> Path:
    """Make a directory, and make sure that files can be written to it."""
    directory = Path(text)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"cannot write to {text!r}: {error.strerror}; choose another directory"
        ) from None
    return directory
