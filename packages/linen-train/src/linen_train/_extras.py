"""Libraries that only an extra installs."""

from collections.abc import Iterator
from contextlib import contextmanager

from linen_train.errors import MissingExtraError

__all__ = ["extra"]


@contextmanager
def extra(name: str, *, needed_by: str) -> Iterator[None]:
    """Say which extra to install when an import inside of the block finds no module.

    Args:
        name: the extra of linen-train.
        needed_by: what needs it.

    Raises:
        MissingExtraError: a module is not installed.

    Example:
        >>> from linen_train._extras import extra
        >>> with extra("plot", needed_by="plot_learning_curve"):
        ...     import matplotlib.figure
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{needed_by}: found no module {error.name!r}, expected it to be installed. Write "
            f"pip install 'linen-train[{name}]'.",
            name=error.name,
        ) from error
