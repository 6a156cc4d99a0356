"""A small convolutional network for images of 8x8 pixels."""

import jax

import linen_modules as nn


class ConvBlock(nn.Module):
    """Convolution, normalisation and activation."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Map an image [batch, height, width, channels] to one with `features` channels."""
        x = nn.Conv(self.features, kernel_size=(3, 3), use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.relu(x)


class ConvNet(nn.Module):
    """Two stages of convolutions, each halving the image, and a classifier on top."""

    classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Return the logits [batch, classes] of images [batch, height, width, 1]."""
        x = images
        for features in (32, 64):
            x = ConvBlock(features)(x, train)
            x = ConvBlock(features)(x, train)
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(rate=0.4, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)
