"""Points around centres, to be told apart: data that every process makes for itself, alike."""

import numpy as np

FEATURES = 32
CLASSES = 8


def examples(count: int, seed: int) -> dict[str, np.ndarray]:
    """Make examples.

    Args:
        count: how many.
        seed: of the points; the centres are always the same.

    Returns:
        Features "x", float32 [count, FEATURES], and classes "y", int32 [count].
    """
    centres = np.random.default_rng(42).normal(size=(CLASSES, FEATURES))
    generator = np.random.default_rng(seed)
    labels = generator.integers(CLASSES, size=count)
    points = centres[labels] + 1.5 * generator.normal(size=(count, FEATURES))
    return {"x": points.astype(np.float32), "y": labels.astype(np.int32)}
