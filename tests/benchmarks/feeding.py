"""Prints how many images of Fashion-MNIST per second `ArrayLoader` and grain feed, with augmentation.

Both shuffle, gather batches in one indexing operation, and apply the same vectorised function: a random
crop of the padded images and a random horizontal flip. grain's vectorised source batches the indices
that grain shuffled, and gathers then. Timed as well: a source of ready-made batches, which shuffles for
itself, so that grain has only whole batches to handle; and grain's usual path, which fetches and augments
one image at a time. The contestants take turns; times are medians, a ratio is the median over turns.

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb fashion
    python tests/benchmarks/feeding.py --data fashion/usr/share/datasets/fashion-mnist
"""

import argparse
import gzip
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import grain
import numpy as np
from rich.console import Console
from rich.table import Table

from linen_train.data import ArrayLoader

PADDING = 2
IDX_HEADER = 16  # bytes before the first image
REFERENCE = "grain, vectorised source"

Feed = Callable[[], Iterable[Any]]


def read_images(folder: Path) -> dict[str, np.ndarray]:
    """Reads the training images, padded for random crops, and their labels."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=IDX_HEADER).reshape(-1, 28, 28)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=IDX_HEADER // 2)
    border = (PADDING, PADDING)
    return {"image": np.pad(images, ((0, 0), border, border)), "label": labels}


def augment(batch: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, Any]:
    """Crops and flips a whole batch at random, and scales it to floats."""
    images = batch["image"]
    rows, columns = generator.integers(0, 2 * PADDING + 1, (2, len(images)))
    flip = generator.random(len(images)) < 0.5
    size = images.shape[1] - 2 * PADDING
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    cropped = windows[np.arange(len(images)), rows, columns]
    cropped[flip] = cropped[flip, :, ::-1]
    return {**batch, "image": cropped * np.float32(1 / 255)}


def augment_one(example: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """Crops and flips one image at random, and scales it to floats."""
    image, size = example["image"], example["image"].shape[0] - 2 * PADDING
    row, column = generator.integers(0, 2 * PADDING + 1, 2)
    cropped = image[row : row + size, column : column + size]
    if generator.random() < 0.5:
        cropped = cropped[:, ::-1]
    return {**example, "image": cropped * np.float32(1 / 255)}


def gathered(arrays: dict[str, np.ndarray], index: Any) -> dict[str, Any]:
    """Indexes every array."""
    return {name: array[index] for name, array in arrays.items()}


class Batches:
    """A source whose records are whole batches, in an order of its own."""

    def __init__(self, arrays: dict[str, np.ndarray], batch_size: int) -> None:
        self.arrays, self.batch_size = arrays, batch_size
        self.order = np.random.default_rng(0).permutation(len(arrays["label"]))

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, index: Any) -> dict[str, Any]:
        start = index * self.batch_size
        return gathered(self.arrays, self.order[start : start + self.batch_size])


def batches(arrays: dict[str, np.ndarray], batch_size: int) -> grain.MapDataset:
    """Returns a dataset of ready-made batches."""
    return grain.MapDataset.source(Batches(arrays, batch_size)).seed(0)


def contestants(arrays: dict[str, np.ndarray], batch_size: int) -> dict[str, Feed]:
    """Returns, by name, what makes an iterator over one epoch."""
    count = len(arrays["label"])
    indices = grain.MapDataset.range(count).seed(0).shuffle()
    vectorised = indices.batch(batch_size, drop_remainder=True).map(lambda i: gathered(arrays, i))
    single = indices.map(lambda i: gathered(arrays, i)).random_map(augment_one)
    loader = ArrayLoader(arrays, batch_size, epochs=1, shuffle_seed=0, transform=augment)
    # One thread each: grain's own prefetching threads are off, as the loader has none either.
    alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return {
        "ArrayLoader": lambda: loader,
        REFERENCE: lambda: vectorised.random_map(augment).to_iter_dataset(alone),
        "grain, source of batches": lambda: (
            batches(arrays, batch_size).random_map(augment).to_iter_dataset(alone)
        ),
        "grain, vectorised, threads": lambda: vectorised.random_map(augment).to_iter_dataset(),
        "grain, one by one": lambda: single.batch(batch_size, drop_remainder=True).to_iter_dataset(
            alone
        ),
    }


def images_per_second(feed: Feed, images: int) -> float:
    """Times an iterator until it has handed out so many images, or ends."""
    begin, seen = time.perf_counter(), 0
    for batch in feed():
        seen += len(batch["image"])
        if seen >= images:
            break
    return seen / (time.perf_counter() - begin)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the IDX gz files")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--images", type=int, default=60_000, help="per turn and contestant")
    arguments = parser.parse_args()
    arrays = read_images(arguments.data)
    table = Table("batch", "feed", "images/s", f"of {REFERENCE}")
    for batch_size in arguments.batch_sizes:
        feeds = contestants(arrays, batch_size)
        speeds: dict[str, list[float]] = {name: [] for name in feeds}
        for _ in range(arguments.turns):
            for name, feed in feeds.items():
                images = arguments.images if name != "grain, one by one" else arguments.images // 10
                speeds[name].append(images_per_second(feed, images))
        for name, found in speeds.items():
            ratio = median(a / b for a, b in zip(found, speeds[REFERENCE], strict=True))
            table.add_row(str(batch_size), name, f"{median(found):,.0f}", f"{ratio:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
