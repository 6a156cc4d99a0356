"""The share of examples that are classified rightly."""

from typing import Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from linen_train.errors import MetricShapeError, MetricValueError
from linen_train.metrics._values import as_array
from linen_train.metrics.sums import Mean

__all__ = ["Accuracy"]

_Array: TypeAlias = jax.Array | np.ndarray
_REAL = (jnp.floating, jnp.integer, jnp.bool_)


class Accuracy(Mean):
    """The share of labels that are among the classes with the largest logits.

    Args:
        values: the (weighted) number of right ones.
        weights: the (weighted) number of all.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_train.metrics import Accuracy
        >>> logits = jnp.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
        >>> float(Accuracy.from_logits(logits, jnp.array([0, 1])).compute())
        0.5
        >>> float(Accuracy.from_logits(logits, jnp.array([0, 1]), top_k=2).compute())
        1.0
    """

    @classmethod
    def from_logits(
        cls,
        logits: ArrayLike,
        labels: ArrayLike,
        *,
        top_k: int = 1,
        weights: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Self:
        """Return the accuracy over one batch.

        Args:
            logits: real numbers [..., classes]. Probabilities will do; only their order matters.
            labels: the right class of each, integers [...].
            top_k: how many of the largest logits may be the label's. Of equal logits, the one of
                the lower class counts as larger, as in `jax.numpy.argmax`.
            weights: how much each label counts, in the shape of `labels` or of its first axes.
            mask: which labels count, booleans in the shape of `labels` or of its first axes.

        Returns:
            The accuracy, as the two sums that it consists of. A label that is no class, or whose
            logits hold a NaN, counts as wrong: leave it out with `mask=labels >= 0`.

        Raises:
            MetricShapeError: the shapes do not fit, or there are less than `top_k` classes.
            MetricValueError: logits are no real numbers, labels no integers, or a mask is not boolean.

        Example:
            >>> import jax.numpy as jnp
            >>> from linen_train.metrics import Accuracy
            >>> labels = jnp.array([1, -1])  # the second is padding
            >>> accuracy = Accuracy.from_logits(jnp.eye(2), labels, mask=labels >= 0)
            >>> float(accuracy.compute())
            0.0
        """
        where = f"{cls.__name__}.from_logits"
        scores, targets = as_array("logits", logits, where), as_array("labels", labels, where)
        _check(where, scores, targets, top_k)
        logits = jnp.asarray(scores)
        classes = jnp.arange(logits.shape[-1]).reshape((1,) * targets.ndim + (-1,))
        labels = jnp.expand_dims(_without_wrapping(targets, logits.shape[-1]), -1)
        is_label = classes == labels
        own = jnp.sum(jnp.where(is_label, logits, 0), axis=-1, keepdims=True)
        ahead = jnp.sum((logits > own) | ((logits == own) & (classes < labels)), axis=-1)
        valid = jnp.any(is_label, axis=-1) & ~jnp.any(jnp.isnan(logits), axis=-1)
        return cls.from_batch(valid & (ahead < top_k), weights=weights, mask=mask)


def _without_wrapping(labels: _Array, classes: int) -> jax.Array:
    """Return labels as an array of JAX, where one of 64 bits could become another class."""
    if isinstance(labels, np.ndarray) and labels.dtype.itemsize > 4:
        # `classes` is none of the classes, and there is no -1 among numbers without a sign.
        labels = np.where((labels >= 0) & (labels < classes), labels, classes).astype(np.int32)
    return jnp.asarray(labels)


def _check(where: str, logits: _Array, labels: _Array, top_k: int) -> None:
    if not any(jnp.issubdtype(logits.dtype, kind) for kind in _REAL):
        raise MetricValueError(
            f"{where}: found logits of {logits.dtype}, expected real numbers, one for each class."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise MetricValueError(
            f"{where}: found labels of {labels.dtype}, expected integers. From one-hot "
            "labels write labels.argmax(-1)."
        )
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise MetricShapeError(
            f"{where}: found logits of shape {logits.shape} and labels of shape "
            f"{labels.shape}, expected labels of shape {logits.shape[:-1]}: one for each row of "
            "logits."
        )
    if not 1 <= top_k <= logits.shape[-1]:
        raise MetricShapeError(
            f"{where}: found top_k={top_k} with {logits.shape[-1]} classes, expected 1 "
            f"to {logits.shape[-1]}."
        )
