from collections.abc import Mapping
from typing import Any

import pytest

from linen_core.errors import LinenError
from linen_train.errors import MultiWriterError, WriterValueError
from linen_train.writers import MultiWriter, Writer


class Memory(Writer):
    """Remembers what was called, and fails on request."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[Any] = []

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        self._call((step, dict(values)))

    def flush(self) -> None:
        self._call("flush")

    def close(self) -> None:
        self._call("close")

    def _call(self, call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


def use(writer: MultiWriter, method: str) -> None:
    getattr(writer, method)(*((3, {"loss": 0.5}) if method == "write" else ()))


@pytest.mark.parametrize(
    "wrong",
    [[Memory(), Memory()], "runs", print, Memory, None],
    ids=["list", "text", "function", "class", "none"],
)
def test_what_is_no_writer(wrong: Any) -> None:
    with pytest.raises(WriterValueError) as caught:
        MultiWriter(Memory(), wrong)
    assert str(caught.value) == (
        f"MultiWriter: found {wrong!r:.80}, expected a writer. Write MultiWriter(a, b), each a writer of "
        "its own."
    )


each_method = pytest.mark.parametrize("method", ["write", "flush", "close"])


@each_method
def test_an_error_comes_after_the_others_had_their_turn(method: str) -> None:
    first, second, third = Memory(), Memory(OSError("full")), Memory()
    with pytest.raises(OSError, match="full"):
        use(MultiWriter(first, second, third), method)
    assert len(first.calls) == 1
    assert first.calls == second.calls == third.calls


@each_method
def test_several_errors_come_together(method: str) -> None:
    errors = [OSError("full"), KeyError("gone")]
    with pytest.raises(MultiWriterError) as caught:
        use(MultiWriter(Memory(errors[0]), Memory(), Memory(errors[1])), method)
    assert list(caught.value.exceptions) == errors
    assert isinstance(caught.value, LinenError)
    assert str(caught.value) == (
        "MultiWriter: 2 of 3 writers failed (KeyError, OSError) (2 sub-exceptions)"
    )


def test_all_are_closed() -> None:
    inner = [Memory(), Memory()]
    with MultiWriter(*inner) as writer:
        writer.write(1, {"loss": 2.0})
    assert [memory.calls for memory in inner] == [[(1, {"loss": 2.0}), "close"]] * 2
