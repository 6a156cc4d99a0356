"""Real handwritten digits: 1,797 images of 8x8 pixels that come with scikit-learn."""

from typing import TypedDict

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = np.ndarray | jax.Array


class Digits(TypedDict):
    """Images float32[n, 8, 8, 1] with values from 0 to 1, and labels int32[n]."""

    image: Array
    label: Array


def load_train_and_test() -> tuple[Digits, Digits]:
    """Return 1,437 digits to train on and 360 to test on, with every class in both alike."""
    pixels, classes = load_digits(return_X_y=True)
    images = (np.asarray(pixels).reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    labels = np.asarray(classes).astype(np.int32)

    def chosen(indices: np.ndarray) -> Digits:
        return {"image": images[indices], "label": labels[indices]}

    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return chosen(np.asarray(train)), chosen(np.asarray(test))
