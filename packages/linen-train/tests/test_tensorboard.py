import io
import sys
import wave
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from linen_train.errors import MissingExtraError, WriterClosedError, WriterValueError
from linen_train.tensorboard import SummaryWriter

PROTOS: Any = summary_pb2, plugin_data_pb2  # protobuf makes their classes at run time


def accumulated(folder: Path) -> Any:
    events: Any = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return events.Reload()


def tensors(folder: Path, tag: str) -> list[tuple[int, Any]]:
    return [
        (event.step, tensor_util.make_ndarray(event.tensor_proto))
        for event in accumulated(folder).Tensors(tag)
    ]


def plugin(folder: Path, tag: str) -> str:
    return accumulated(folder).SummaryMetadata(tag).plugin_data.plugin_name


def test_scalars(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.scalar("loss", 0.5, 1)
        writer.scalar("loss", jnp.bfloat16(0.25), step=2)
        events = accumulated(tmp_path).Scalars("loss")  # each is flushed
        assert [(event.step, event.value) for event in events] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize(("auto_flush", "flushes"), [(True, 2), (False, 0)])
def test_flushing_each(
    auto_flush: bool, flushes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[None] = []
    with SummaryWriter(tmp_path, auto_flush=auto_flush) as writer, monkeypatch.context() as patch:
        patch.setattr(EventFileWriter, "flush", lambda self: flushed.append(None))
        writer.scalar("loss", 0.5, 1)
        writer.text("note", "a", 1)
    assert len(flushed) == flushes
    assert accumulated(tmp_path).Tags()["scalars"] == ["loss"]


RAMP = np.linspace(0, 1, 24, dtype=np.float32)


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (RAMP.reshape(4, 6), (4, 6)),
        (RAMP.reshape(4, 6, 1), (4, 6)),
        (RAMP.reshape(4, 2, 3), (4, 2, 3)),
        (RAMP.reshape(2, 3, 4), (2, 3, 4)),
        (np.arange(24, dtype=np.uint8).reshape(1, 4, 2, 3) * 10, (4, 2, 3)),
    ],
    ids=["grey", "one_channel", "rgb", "rgba", "bytes"],
)
def test_images(image: np.ndarray, shape: tuple[int, ...], tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.image("picture", image, 3)
    ((step, parts),) = tensors(tmp_path, "picture")
    assert (step, plugin(tmp_path, "picture")) == (3, "images")
    assert [int(part) for part in parts[:2]] == [shape[1], shape[0]]
    pixels = imread(io.BytesIO(parts[2]))
    scale = 255 if image.dtype == np.uint8 else 1
    np.testing.assert_allclose(pixels, image.reshape(shape) / scale, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(("max_outputs", "written"), [(3, 3), (1, 1), (9, 5)])
def test_several_images(max_outputs: int, written: int, tmp_path: Path) -> None:
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) / 4
    with SummaryWriter(tmp_path) as writer:
        writer.image("pictures", images, 0, max_outputs=max_outputs)
    ((_, parts),) = tensors(tmp_path, "pictures")
    values = [float(imread(io.BytesIO(part))[0, 0]) for part in parts[2:]]
    np.testing.assert_allclose(values, images.ravel()[:written], atol=1 / 255)


def test_pixels_outside_are_clipped(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.image("wild", np.array([[-1.0, 0.5, 2.0, np.nan, np.inf]]), 0)
    ((_, parts),) = tensors(tmp_path, "wild")
    pixels = imread(io.BytesIO(parts[2]))
    np.testing.assert_allclose(pixels, [[0, 0.5, 1, 0, 1]], atol=1 / 255)


@pytest.mark.parametrize(
    ("shape", "channels", "clips"), [((80,), 1, 1), ((80, 2), 2, 1), ((5, 80, 2), 2, 3)]
)
def test_audio(shape: tuple[int, ...], channels: int, clips: int, tmp_path: Path) -> None:
    sound = np.sin(np.arange(np.prod(shape))).reshape(shape) * 1.2
    with SummaryWriter(tmp_path) as writer:
        writer.audio("sound", sound, 1, sample_rate=8000)
    ((_, parts),) = tensors(tmp_path, "sound")
    assert (plugin(tmp_path, "sound"), parts.shape) == ("audio", (clips, 2))
    with wave.open(io.BytesIO(parts[0, 0])) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, channels)
        samples = np.frombuffer(file.readframes(80), "<i2").reshape(80, channels) / 32767
    expected = np.clip(sound.reshape(-1, 80, channels)[0], -1, 1)
    np.testing.assert_allclose(samples, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "bins", "counts"),
    [
        ([0.0, 1.0, 1.0, 4.0], 2, [3, 1]),
        ([[0, 1], [1, 4]], 4, [1, 2, 0, 1]),
        ([0.0, np.nan, np.inf, 4.0], 2, [1, 1]),
        ([np.nan], 2, [0, 0]),
        ([3.0, 3.0], None, [2]),
    ],
)
def test_histograms(values: Any, bins: int | None, counts: list[int], tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.histogram("weights", np.asarray(values), 2, bins=bins)
    ((_, found),) = tensors(tmp_path, "weights")
    assert (plugin(tmp_path, "weights"), found.shape) == ("histograms", (bins or 30, 3))
    assert [count for count in found[:, 2] if count or bins] == counts
    np.testing.assert_array_equal(found[1:, 0], found[:-1, 1])


@pytest.mark.parametrize("text", ["**bold**", ["a", "größer"]], ids=["one", "several"])
def test_text(text: Any, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.text("note", text, 5)
    ((step, found),) = tensors(tmp_path, "note")
    assert (step, plugin(tmp_path, "note")) == (5, "text")
    decoded = [part.decode() for part in np.ravel(found)]
    assert (decoded, np.ndim(found)) == (([text], 0) if isinstance(text, str) else (text, 1))


def test_any_tensor(tmp_path: Path) -> None:
    metadata = PROTOS[0].SummaryMetadata(summary_description="grid")
    metadata.plugin_data.plugin_name = "own"
    with SummaryWriter(tmp_path) as writer:
        writer.write("grid", jnp.arange(6).reshape(2, 3), 4, metadata=metadata)
        writer.write("plain", np.array([1.5], np.float32), 4)
    np.testing.assert_array_equal(tensors(tmp_path, "grid")[0][1], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors(tmp_path, "plain")[0][1], [1.5])
    assert plugin(tmp_path, "grid") == "own"


def test_hyperparameters(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.hparams(
            {
                "seed": 3,
                "optimizer": {"name": "adam", "rate": np.float32(0.5), "nesterov": True},
                "features": [1, 2],
            }
        )
    content = accumulated(tmp_path).SummaryMetadata("_hparams_/session_start_info")
    info = PROTOS[1].HParamsPluginData.FromString(content.plugin_data.content).session_start_info
    found = {name: getattr(v, v.WhichOneof("kind")) for name, v in info.hparams.items()}
    assert found == {
        "seed": 3,
        "optimizer.name": "adam",
        "optimizer.rate": 0.5,
        "optimizer.nesterov": True,
        "features": "[1, 2]",
    }


@pytest.mark.parametrize(
    ("method", "value", "text"),
    [
        (
            "scalar",
            np.zeros(2, np.float32),
            "SummaryWriter: found 'x' of float32[2], expected a real number or an array "
            "of no axes. Reduce it, with .mean() for one, before it is written.",
        ),
        (
            "image",
            np.zeros((2, 2, 5)),
            "SummaryWriter.image: found an array of shape (2, 2, 5), expected [height, width], "
            "[height, width, channels] or [images, height, width, channels] with 1 to 4 channels.",
        ),
        (
            "image",
            np.zeros((2, 2), np.complex64),
            "SummaryWriter.image: found an array of complex64, expected real numbers.",
        ),
        (
            "audio",
            np.zeros(()),
            "SummaryWriter.audio: found an array of shape (), expected [frames], [frames, channels] "
            "or [clips, frames, channels].",
        ),
        (
            "histogram",
            np.array(["a"]),
            "SummaryWriter.histogram: found 'x' of <U1, expected real numbers.",
        ),
    ],
    ids=["scalar", "channels", "complex", "no_frames", "text"],
)
def test_what_cannot_be_written(method: str, value: Any, text: str, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer, pytest.raises(WriterValueError) as caught:
        getattr(writer, method)("x", value, 1)
    assert str(caught.value) == text


def test_metadata_of_another_type(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer, pytest.raises(WriterValueError) as caught:
        writer.write("x", 1.0, 1, metadata={})
    assert str(caught.value) == (
        "SummaryWriter.write: found metadata of type dict, expected "
        "tensorboard.compat.proto.summary_pb2.SummaryMetadata."
    )


def test_a_closed_writer(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(WriterClosedError, match=r"^SummaryWriter: the writer of .* is closed"):
        writer.scalar("loss", 1.0, 1)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'linen-train\[tensorboard\]'"):
        SummaryWriter(tmp_path)
