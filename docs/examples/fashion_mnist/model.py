"""A small convolutional network for pictures of 28x28 pixels."""

import jax

import linen_modules as nn


class ConvNet(nn.Module):
    """Two stages of convolutions, each halving the picture, and two dense layers on top."""

    classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Return the logits [batch, classes] of images [batch, height, width, 1]."""
        x = images
        for features in (32, 64):
            x = nn.Conv(features, kernel_size=(3, 3), use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = nn.max_pool(nn.relu(x), window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(rate=0.3, deterministic=not train)(x)
        x = nn.relu(nn.Dense(128)(x))
        return nn.Dense(self.classes)(x)
