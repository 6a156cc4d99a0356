"""The model. The axes of its parameters have names, and no device is mentioned."""

import jax

import linen_modules as nn
from data import CLASSES


class Classifier(nn.Module):
    """Three layers.

    Attributes:
        width: numbers between the layers.
    """

    width: int = 128

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits.

        Args:
            x: features [batch, FEATURES].

        Returns:
            Logits [batch, CLASSES].
        """
        x = nn.relu(named_dense(self.width, "embed", "mlp")(x))
        x = nn.relu(named_dense(self.width, "mlp", "embed")(x))
        return named_dense(CLASSES, "embed", "classes")(x)


def named_dense(features: int, inputs: str, outputs: str) -> nn.Dense:
    """Make a dense layer whose axes have names."""
    lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
    return nn.Dense(
        features,
        kernel_init=nn.with_logical_partitioning(lecun, (inputs, outputs)),
        bias_init=nn.with_logical_partitioning(zeros, (outputs,)),
    )
