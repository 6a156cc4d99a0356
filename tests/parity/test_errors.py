"""What raises in flax.linen raises here, with the class of the same name."""

import builtins

import pytest

from .error_cases import ERRORS, ErrorCase
from .libraries import PEER, SUBJECT, Library

each_library = pytest.mark.parametrize("library", [PEER, SUBJECT], ids=["peer", "subject"])
each_error = pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.name)


@each_library
@each_error
def test_error_class(case: ErrorCase, library: Library) -> None:
    error = getattr(library.errors, case.error, None) or getattr(builtins, case.error)
    with pytest.raises(error):
        case.run(library)
