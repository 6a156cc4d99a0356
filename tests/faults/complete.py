"""How much is run: by default a part of the trials, with `LINEN_FAULTS=all` in the environment all."""

import os


def is_complete() -> bool:
    """Whether all trials are to be run."""
    return os.environ.get("LINEN_FAULTS") == "all"
