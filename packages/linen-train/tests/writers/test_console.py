import io

import pytest

from linen_train.writers import ConsoleWriter


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleWriter(digits=3) as writer:
        writer.write(7, {"loss": 0.123456, "examples": 123456, "best": True})
        writer.write(8, {})
    assert capsys.readouterr().out == "step 7  loss 0.123  examples 123456  best True\nstep 8\n"


def test_into_a_stream_that_stays_open() -> None:
    stream = io.StringIO()
    with ConsoleWriter(stream) as writer:
        writer.write(1, {"rate": 1e-5})
    assert stream.getvalue() == "step 1  rate 1e-05\n"
