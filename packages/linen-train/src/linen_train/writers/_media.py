"""Images and audio as bytes: PNG (ISO/IEC 15948) and WAV."""

import io
import struct
import wave
import zlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from linen_train.errors import WriterValueError

__all__ = ["as_audio", "as_images", "encode_png", "encode_wav"]

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: grey, grey and alpha, RGB, RGBA


def as_images(image: Any) -> np.ndarray:
    """Return images of any form as uint8[images, height, width, channels]."""
    array = _real("image", image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in _COLOR_TYPES or 0 in array.shape:
        raise WriterValueError(
            f"SummaryWriter.image: found an array of shape {np.shape(image)}, expected [height, "
            "width], [height, width, channels] or [images, height, width, channels] with 1 to 4 "
            "channels."
        )
    if array.dtype.kind in "iu":
        return np.clip(array, 0, 255).astype(np.uint8)
    return np.rint(np.clip(_without_nan(array), 0, 1) * 255).astype(np.uint8)


def as_audio(audio: Any) -> np.ndarray:
    """Return audio of any form as int16[clips, frames, channels]."""
    array = _real("audio", audio)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.shape[-1]:
        raise WriterValueError(
            f"SummaryWriter.audio: found an array of shape {np.shape(audio)}, expected [frames], "
            "[frames, channels] or [clips, frames, channels]."
        )
    return np.rint(np.clip(_without_nan(array), -1, 1) * 32767).astype("<i2")


def encode_png(image: np.ndarray) -> bytes:
    """Return uint8[height, width, channels] as a PNG file."""
    height, width, channels = image.shape
    unfiltered = np.zeros((height, 1), np.uint8)
    rows = np.concatenate([unfiltered, image.reshape(height, width * channels)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encode_wav(clip: np.ndarray, sample_rate: int) -> bytes:
    """Return int16[frames, channels] as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(clip.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(clip.tobytes())
    return file.getvalue()


def _without_nan(array: np.ndarray) -> np.ndarray:
    return np.nan_to_num(array.astype(np.float32), nan=0.0)


def _real(kind: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biu" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise WriterValueError(
            f"SummaryWriter.{kind}: found an array of {array.dtype}, expected real numbers."
        )
    return array
