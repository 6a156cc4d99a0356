"""What a writer is, and which numbers it takes."""

import operator
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linen_train.errors import WriterValueError

__all__ = ["Number", "Values", "Writer", "checked_row"]

Number: TypeAlias = bool | int | float
Values: TypeAlias = Mapping[str, ArrayLike]


@runtime_checkable
class Writer(Protocol):
    """Takes the numbers of a step, and keeps or shows them.

    Any object with these methods is a writer. Subclass it to get the context manager.

    Example:
        >>> from linen_train.writers import Writer
        >>> class Memory(Writer):
        ...     def __init__(self):
        ...         self.rows = []
        ...     def write(self, step, values):
        ...         self.rows.append((step, dict(values)))
        ...     def flush(self):
        ...         pass
        ...     def close(self):
        ...         pass
        >>> with Memory() as writer:
        ...     writer.write(1, {"loss": 0.5})
        >>> writer.rows
        [(1, {'loss': 0.5})]
    """

    def write(self, step: int, values: Values) -> None:
        """Take one row.

        Args:
            step: the number of updates that were made, from 0.
            values: real numbers by name: Python numbers, or arrays of no axes.
        """
        ...

    def flush(self) -> None:
        """Return when everything that was written is where it stays."""
        ...

    def close(self) -> None:
        """Flush, and let go of files and threads. Closing twice is fine."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def checked_row(
    writer: str, step: Any, values: Mapping[str, Any], reserved: str = ""
) -> tuple[int, dict[str, Number]]:
    """Return a row of Python numbers.

    Args:
        writer: the name of the writer, for errors.
        step: the step.
        values: scalars by name.
        reserved: a name that values may not have.

    Returns:
        The step, and the values in their order.

    Raises:
        WriterValueError: the step is no integer from 0, a name is no string, is empty or reserved,
            or a value is no real scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_train.writers.writer import checked_row
        >>> checked_row("CSVWriter", jnp.int32(3), {"loss": jnp.float32(0.5), "best": True})
        (3, {'loss': 0.5, 'best': True})
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise WriterValueError(f"{writer}: found the step {step!r}, expected an integer from 0.")
    return number, {
        _checked_name(writer, name, reserved): _number(writer, name, value)
        for name, value in values.items()
    }


def _checked_name(writer: str, name: Any, reserved: str) -> str:
    if not isinstance(name, str) or not name or name == reserved:
        remedy = "is the column of the step" if name and name == reserved else "is no name"
        raise WriterValueError(
            f"{writer}: found a value called {name!r}, which {remedy}. Call it otherwise."
        )
    return name


def _number(writer: str, name: str, value: Any) -> Number:
    if isinstance(value, bool | int | float):
        return value
    array = np.asarray(value)
    if array.ndim or not (array.dtype.kind in "biu" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise WriterValueError(
            f"{writer}: found {name!r} of {array.dtype}{list(array.shape)}, expected a real "
            "number or an array of no axes. Reduce it, with .mean() for one, before it is written."
        )
    return array.item()
