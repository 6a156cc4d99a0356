"""How the windows of convolutions and pools are written.

A *window* slides over the spatial dimensions of an array. Its strides and dilations are one number
for all dimensions or one for each. Its *padding* is a name, one number for all sides, or an entry
for each dimension: a number for both sides or a pair (low, high).

Everything is brought to tuples here, which can be compared, so that equal layers share one trace.
"""

from collections.abc import Sequence

from linen_core import Module
from linen_modules.errors import PaddingError, WindowError, location
from linen_modules.typing import PaddingLike

XLA_PADDINGS = ("SAME", "SAME_LOWER", "VALID")
"""The names that XLA turns into numbers itself."""

FOLLOWING_PADDINGS = ("CIRCULAR", "REFLECT", "CAUSAL")
"""The names of paddings that are made of the input, before it is dilated, by as much as the window
reaches beyond one element."""

Padding = str | tuple[tuple[int, int], ...]


def per_dimension(
    value: int | Sequence[int] | None, count: int, layer: Module | str, field: str
) -> tuple[int, ...]:
    """Brings strides or dilations to one number for each spatial dimension; None is 1.

    Raises:
        WindowError: if there are not `count` numbers; it names the layer and the field.
    """
    if value is None or isinstance(value, int):
        return (1 if value is None else value,) * count
    numbers = tuple(value)
    if len(numbers) != count:
        raise WindowError(
            f"{location(layer)}: found {field}={numbers} with {len(numbers)} entries; expected "
            f"{count}, one for each dimension of the window. Write one number for all of them or "
            f"{count} numbers."
        )
    return numbers


def canonicalize_padding(
    padding: PaddingLike, count: int, layer: Module | str, names: Sequence[str] = XLA_PADDINGS
) -> Padding:
    """Brings a padding to one of `names` or to a pair for each spatial dimension.

    Raises:
        PaddingError: if the name is unknown or there are not `count` entries; it names the layer.
    """
    if isinstance(padding, str):
        if padding.upper() in names:
            return padding.upper()
    elif isinstance(padding, int):
        return ((padding, padding),) * count
    else:
        entries = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
        if len(entries) == count and all(len(entry) == 2 for entry in entries):
            return tuple((low, high) for low, high in entries)
    example = ", ".join(["(1, 1)"] * count)
    raise PaddingError(
        f"{location(layer)}: found padding={padding!r}; expected one of {', '.join(names)}, one "
        f"number, or {count} entries that are a number or a pair (low, high). "
        f'Write for example padding="SAME" or padding=[{example}].'
    )


def output_sizes(
    sizes: Sequence[int],
    window: Sequence[int],
    *,
    strides: Sequence[int],
    padding: Padding,
    input_dilation: Sequence[int],
    kernel_dilation: Sequence[int],
) -> tuple[int, ...]:
    """Counts the places of a window in each spatial dimension.

    Args:
        sizes: the spatial dimensions of the input.
        window: one size for each of them, as strides and dilations.
        strides: the steps of the window.
        padding: a name or (low, high) for each dimension.
        input_dilation: the distance of neighbouring inputs.
        kernel_dilation: the distance of neighbouring elements of the window.

    Returns:
        The spatial dimensions of the output.
    """
    counts = []
    for i, size in enumerate(sizes):
        reach = kernel_dilation[i] * (window[i] - 1)
        if padding in ("SAME", "SAME_LOWER"):
            counts.append(-(-size // strides[i]))
            continue
        padded = size + reach if padding in FOLLOWING_PADDINGS else size
        dilated = max((padded - 1) * input_dilation[i] + 1, 0)
        if not isinstance(padding, str):
            dilated += sum(padding[i])
        counts.append(max((dilated - reach - 1) // strides[i] + 1, 0))
    return tuple(counts)
