"""Fashion-MNIST: 70,000 pictures of clothes, 28x28 pixels, in ten classes."""

import gzip
import math
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

Array = np.ndarray | jax.Array

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
HOW_TO_GET_IT = (
    "The Debian package dataset-fashion-mnist has it: install it (apt install dataset-fashion-mnist), "
    "or, without root, unpack it here and say where it is:\n"
    "    apt-get download dataset-fashion-mnist\n"
    "    dpkg -x dataset-fashion-mnist_*.deb fashion\n"
    "    python main.py --data fashion/usr/share/datasets/fashion-mnist"
)
_UNSIGNED_BYTES = 0x08


class MissingDataError(Exception):
    """The files are not where they are looked for, or hold something else."""


class Clothes(TypedDict):
    """Images float32[n, 28, 28, 1] with values from 0 to 1, and labels int32[n]."""

    image: Array
    label: Array


def load_train_and_test(folder: Path | None) -> tuple[Clothes, Clothes]:
    """Return the pictures to train on and those to test on.

    Args:
        folder: where the four files are; None is where the Debian package puts them.
    """
    folder = folder or INSTALLED
    return _load(folder, "train"), _load(folder, "t10k")


def flip(batch: Any, generator: np.random.Generator) -> Any:
    """Mirror half of the pictures of a batch: a shoe that points left is a shoe."""
    is_flipped = generator.random(len(batch["label"])) < 0.5
    images = batch["image"]
    mirrored = np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images)
    return {**batch, "image": mirrored}


def _load(folder: Path, part: str) -> Clothes:
    images = _read_idx(folder / f"{part}-images-idx3-ubyte.gz", ndim=3)
    labels = _read_idx(folder / f"{part}-labels-idx1-ubyte.gz", ndim=1)
    if len(images) != len(labels):
        raise MissingDataError(f"{folder}: found {len(images)} images and {len(labels)} labels")
    return {
        "image": (images[..., None] / np.float32(255)).astype(np.float32),
        "label": labels.astype(np.int32),
    }


def _read_idx(file: Path, ndim: int) -> np.ndarray:
    """Read a file of the IDX format: a magic number, the shape, and the bytes."""
    try:
        content = gzip.decompress(file.read_bytes())
    except FileNotFoundError:
        raise MissingDataError(f"Found no {file}. {HOW_TO_GET_IT}") from None
    except (OSError, EOFError) as error:
        raise MissingDataError(f"{file} cannot be read: {error}") from error
    shape = tuple(np.frombuffer(content, ">u4", count=ndim, offset=4).tolist())
    header = 4 + 4 * ndim
    if content[:4] != bytes([0, 0, _UNSIGNED_BYTES, ndim]) or len(content) != header + math.prod(
        shape
    ):
        raise MissingDataError(f"{file} is no IDX file of unsigned bytes in {ndim} dimensions")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
