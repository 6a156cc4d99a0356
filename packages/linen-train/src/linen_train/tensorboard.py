"""Images, audio, text, histograms and hyperparameters for TensorBoard, without TensorFlow.

`SummaryWriter` has the methods that users of `flax.metrics.tensorboard` know, with the same arguments.
Needs `pip install 'linen-train[tensorboard]'`. For numbers alone, `linen_train.writers` has a
`TensorBoardWriter`, which goes together with other writers.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linen_train._extras import extra
from linen_train.errors import WriterValueError
from linen_train.writers._event_file import EventFile
from linen_train.writers._media import as_audio, as_images, encode_png, encode_wav
from linen_train.writers.writer import checked_row

__all__ = ["SummaryWriter"]

_BINS = 30


class SummaryWriter:
    """Writes summaries of a run into an event file.

    Args:
        log_dir: the folder of the event files, one run of TensorBoard; it is made.
        auto_flush: whether each summary is in the file when its method returns. When False, they
            are written by a thread, at the latest by `flush` and `close`.

    Raises:
        MissingExtraError: the package `tensorboard` is not installed.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from linen_train.tensorboard import SummaryWriter
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.hparams({"optimizer": {"name": "adam", "rate": 1e-3}})
        ...     writer.scalar("loss", 0.5, step=1)
        ...     writer.image("digit", np.zeros((8, 8)), step=1)
        ...     writer.text("note", "all **good**", step=1)
    """

    def __init__(self, log_dir: str | os.PathLike[str], auto_flush: bool = True) -> None:
        self._events = EventFile("SummaryWriter", log_dir)
        self._auto_flush = auto_flush

    def scalar(self, tag: str, value: ArrayLike, step: int) -> None:
        """Write a number.

        Args:
            tag: the name it is shown under.
            value: a real number, or an array of no axes; kept as float32.
            step: the number of updates that were made.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: it is no such number.
        """
        step, numbers = checked_row("SummaryWriter", step, {tag: value})
        self._add(step, {"tag": tag, "simple_value": numbers[tag]})

    def image(self, tag: str, image: ArrayLike, step: int, max_outputs: int = 3) -> None:
        """Write one image, or several under one name.

        Args:
            tag: the name they are shown under.
            image: [height, width], [height, width, channels] or [images, height, width, channels],
                with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels. Floating-point values
                are from 0 to 1, integers from 0 to 255; what is outside is clipped.
            step: the number of updates that were made.
            max_outputs: how many of several images to write, the first ones.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: the array is of another form.
        """
        images = as_images(image)
        height, width = images.shape[1:3]
        encoded = [encode_png(one) for one in images[:max_outputs]]
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.plugins.image.metadata import create_summary_metadata
        self.write(
            tag,
            np.array([str(width).encode(), str(height).encode(), *encoded], object),
            step,
            create_summary_metadata(display_name=None, description=None),
        )

    def audio(
        self,
        tag: str,
        audiodata: ArrayLike,
        step: int,
        sample_rate: int = 44100,
        max_outputs: int = 3,
    ) -> None:
        """Write one audio clip, or several under one name.

        Args:
            tag: the name they are shown under.
            audiodata: [frames], [frames, channels] or [clips, frames, channels], with values from
                -1 to 1; what is outside is clipped. Kept with 16 bits.
            step: the number of updates that were made.
            sample_rate: frames per second, in hertz.
            max_outputs: how many of several clips to write, the first ones.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: the array is of another form.
        """
        clips = as_audio(audiodata)[:max_outputs]
        encoded = np.empty((len(clips), 2), object)
        for row, clip in zip(encoded, clips, strict=True):
            row[:] = encode_wav(clip, sample_rate), b""
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.plugins.audio import metadata
        wav = metadata.Encoding.Value("WAV")
        self.write(
            tag,
            encoded,
            step,
            metadata.create_summary_metadata(display_name=None, description=None, encoding=wav),
        )

    def histogram(self, tag: str, values: ArrayLike, step: int, bins: int | None = None) -> None:
        """Write how values are distributed.

        Args:
            tag: the name it is shown under.
            values: real numbers of any shape; what is not finite is left out.
            step: the number of updates that were made.
            bins: how many equally wide bins; None is 30.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: the values are not real.
        """
        array = np.asarray(values)
        if array.dtype.kind not in "biu" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise WriterValueError(
                f"SummaryWriter.histogram: found {tag!r} of {array.dtype}, expected real numbers."
            )
        array = array.astype(np.float64)
        counts, edges = np.histogram(
            array[np.isfinite(array)], bins=_BINS if bins is None else bins
        )
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.plugins.histogram.metadata import create_summary_metadata
        self.write(
            tag,
            np.stack([edges[:-1], edges[1:], counts], axis=-1),
            step,
            create_summary_metadata(display_name=None, description=None),
        )

    def text(self, tag: str, textdata: str | Sequence[str], step: int) -> None:
        """Write text, which TensorBoard shows as Markdown.

        Args:
            tag: the name it is shown under.
            textdata: a string, or a list of strings, which is shown as a table.
            step: the number of updates that were made.

        Raises:
            WriterClosedError: the writer is closed.
        """
        texts = [textdata] if isinstance(textdata, str) else list(textdata)
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.plugins.text.metadata import create_summary_metadata
        encoded = np.array([text.encode() for text in texts], object)
        self.write(
            tag,
            encoded[0] if isinstance(textdata, str) else encoded,
            step,
            create_summary_metadata(display_name=None, description=None),
        )

    def write(self, tag: str, tensor: Any, step: int, metadata: Any = None) -> None:
        """Write any array, for a plugin of TensorBoard that knows it.

        Args:
            tag: the name of the array.
            tensor: an array of numbers, or of bytes.
            step: the number of updates that were made.
            metadata: a `SummaryMetadata` of the package `tensorboard`, which names the plugin.

        Raises:
            WriterClosedError: the writer is closed.
            WriterValueError: the step is no integer from 0, or the metadata is something else.
        """
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.compat.proto import summary_pb2
            from tensorboard.util.tensor_util import make_tensor_proto
        protos: Any = summary_pb2  # protobuf makes its classes at run time
        step, _ = checked_row("SummaryWriter", step, {})
        if metadata is not None and not isinstance(metadata, protos.SummaryMetadata):
            raise WriterValueError(
                f"SummaryWriter.write: found metadata of type {type(metadata).__name__}, expected "
                "tensorboard.compat.proto.summary_pb2.SummaryMetadata."
            )
        value = tensor if isinstance(tensor, bytes) else np.asarray(tensor)
        self._add(step, {"tag": tag, "tensor": make_tensor_proto(value), "metadata": metadata})

    def hparams(self, hparams: Mapping[str, Any]) -> None:
        """Write the hyperparameters of the run.

        Args:
            hparams: values by name. Nested mappings are flattened, with the names joined by dots;
                what is neither text, number nor boolean is written as text.

        Raises:
            WriterClosedError: the writer is closed.
        """
        with extra("tensorboard", needed_by="SummaryWriter"):
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        summary = hparams_pb(dict(_flattened(hparams)))
        self._add(
            0, *({"tag": v.tag, "metadata": v.metadata, "tensor": v.tensor} for v in summary.value)
        )

    def flush(self) -> None:
        """Return when every summary is in the event file.

        Raises:
            WriterClosedError: the writer is closed.
        """
        self._events.flush()

    def close(self) -> None:
        """Flush and close the event file. Closing twice is fine."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add(self, step: int, *values: dict[str, Any]) -> None:
        self._events.add(step, values)
        if self._auto_flush:
            self._events.flush()


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, str | bool | int | float):
            yield f"{prefix}{name}", value
        elif isinstance(value, np.generic) and value.dtype.kind in "biuf":
            yield f"{prefix}{name}", value.item()
        else:
            yield f"{prefix}{name}", str(value)
