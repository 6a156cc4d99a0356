from typing import Any

import pytest

from linen_train import Every, Hook
from linen_train.errors import LoopArgumentError

WRONG: dict[str, tuple[tuple[Any, Any], str]] = {
    "swapped": ((print, 3), "Hook: found every=<built-in function print>, expected a number of"),
    "never": ((None, print), "Hook: found every=None, expected a number of steps or Every"),
    "zero": ((0, print), "found steps=0, expected 1 or more"),
    "no_function": ((3, "text"), "Hook: found 'text' to call, expected a function. Write Hook(100"),
}


@pytest.mark.parametrize(("arguments", "text"), WRONG.values(), ids=WRONG)
def test_hooks_that_make_no_sense(arguments: tuple[Any, Any], text: str) -> None:
    with pytest.raises(LoopArgumentError) as caught:
        Hook(*arguments)
    assert text in str(caught.value)


def test_hooks_that_do() -> None:
    assert [Hook(every, print).call for every in (1, Every(steps=3), Every(seconds=1))] == [
        print
    ] * 3
