"""The two pictures of the quickstart."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from digits import Digits

mpl.use("Agg")  # draws into files, also where there is no screen

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator


def plot_learning_curve(history: list[dict[str, float]], file: Path) -> None:
    """Draw loss and accuracy per epoch, on the training and on the test digits."""
    epochs = [row["epoch"] for row in history]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, metric in zip(panels, ["loss", "accuracy"], strict=True):
        panel.plot(epochs, [row[metric] for row in history], marker=".", label="training")
        panel.plot(epochs, [row[f"test_{metric}"] for row in history], marker=".", label="test")
        panel.set(xlabel="epoch", ylabel=metric)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_yscale("log")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def plot_predictions(digits: Digits, logits: np.ndarray, file: Path) -> None:
    """Draw test digits with what the model takes them for; its mistakes come first, in red."""
    images, labels = np.asarray(digits["image"]), np.asarray(digits["label"])
    predictions = logits.argmax(-1)
    mistakes_first = np.argsort(predictions == labels, kind="stable")[:40]
    figure, panels = plt.subplots(4, 10, figsize=(10, 5), layout="constrained")
    for panel, index in zip(panels.flat, mistakes_first, strict=True):
        prediction, label = predictions[index], labels[index]
        panel.imshow(images[index, :, :, 0], cmap="gray_r", vmin=0, vmax=1)
        if prediction == label:
            panel.set_title(f"{prediction}", color="black")
        else:
            panel.set_title(f"{prediction} (is {label})", color="red")
        panel.axis("off")
    figure.savefig(file, dpi=120)
    plt.close(figure)
