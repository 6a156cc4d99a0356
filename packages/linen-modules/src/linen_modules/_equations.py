"""Equations of two operands, in the notation of `jax.numpy.einsum`.

A letter *labels* an axis. An ellipsis stands for axes that are broadcast and have no letter; they
are labelled by where they are, counted from the last: -1, -2, ... Spaces mean nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from linen_core import Module
from linen_modules.errors import EquationError, location

_Labels = tuple[str | int, ...]


@dataclass(frozen=True)
class Equation:
    """What an equation of an input and a kernel says about a bias.

    Attributes:
        bias_shape: the sizes of those axes of the kernel that are left in the output, in the order
            of the output.
        axes_without_bias: the other axes of the output.
    """

    bias_shape: tuple[int, ...]
    axes_without_bias: tuple[int, ...]

    @classmethod
    def parse(
        cls,
        text: str,
        input_shape: Sequence[int],
        kernel_shape: Sequence[int],
        layer: Module | str,
    ) -> "Equation":
        """Reads an equation and compares it with the shapes of its operands.

        Raises:
            EquationError: if it has no meaning or does not fit the shapes; it names the layer.
        """
        input_term, kernel_term, output_term = _terms(text, layer)
        input_labels = _labels(input_term, input_shape, "an input", layer)
        kernel_labels = _labels(kernel_term, kernel_shape, "a kernel", layer)
        broadcast = [label for label in (*input_labels, *kernel_labels) if isinstance(label, int)]
        before, _, after = output_term.partition("...")
        ellipsis = range(min(broadcast, default=0), 0) if "..." in output_term else ()
        output_labels: _Labels = (*before, *ellipsis, *after)
        if len({*output_labels}) < len(output_labels) or not {*output_labels} <= {
            *input_labels,
            *kernel_labels,
        }:
            raise EquationError(
                f"{location(layer)}: found the output {output_term!r} in einsum_str={text!r}; "
                "expected letters of the operands, each once. "
                'Write for example einsum_str="...a,ab->...b".'
            )
        sizes = dict(zip(kernel_labels, kernel_shape, strict=True))
        _check_sizes(dict(zip(input_labels, input_shape, strict=True)), sizes, text, layer)
        return cls(
            tuple(sizes[label] for label in output_labels if label in sizes),
            tuple(axis for axis, label in enumerate(output_labels) if label not in sizes),
        )


def _terms(text: str, layer: Module | str) -> tuple[str, str, str]:
    operands, *outputs = "".join(text.split()).split("->")
    terms = (*operands.split(","), *outputs)
    letters = [term.replace("...", "", 1) for term in terms]
    if len(outputs) != 1 or len(terms) != 3 or not all(map(_is_word, letters)):
        raise EquationError(
            f"{location(layer)}: found einsum_str={text!r}; expected two operands and an output, "
            'as "inputs,kernel->outputs", with a letter for each axis and at most one "..." in '
            'each. Write for example einsum_str="...a,ab->...b".'
        )
    return terms[0], terms[1], terms[2]


def _is_word(text: str) -> bool:
    return not text or (text.isascii() and text.isalpha())


def _labels(term: str, shape: Sequence[int], whose: str, layer: Module | str) -> _Labels:
    """Names the axes of an operand."""
    before, ellipsis, after = term.partition("...")
    count = len(shape) - len(before) - len(after)
    if count < 0 or (count and not ellipsis):
        least = "at least " if ellipsis else ""
        raise EquationError(
            f"{location(layer)}: found {whose} of shape {tuple(shape)} for {term!r} in the "
            f"equation; expected {least}{len(before) + len(after)} axes. Write one letter for each "
            'axis, or "..." for those that have none.'
        )
    return (*before, *range(-count, 0), *after)


def _check_sizes(
    inputs: dict[str | int, int], kernel: dict[str | int, int], text: str, layer: Module | str
) -> None:
    for label in inputs.keys() & kernel.keys():
        found = inputs[label], kernel[label]
        if found[0] != found[1] and 1 not in found:
            where = (
                f"label {label!r}" if isinstance(label, str) else f"axis {label} of the ellipsis"
            )
            raise EquationError(
                f"{location(layer)}: found {found[0]} in the input and {found[1]} in the kernel for "
                f"{where} of einsum_str={text!r}; expected one size. Write {found[0]} in its place "
                "in shape."
            )
