"""A tiny neural network framework on top of linen-core, with a base layer of its own."""

from tinyframework.layers import Layer, Linear, Perceptron
from tinyframework.training import sgd_step

__all__ = ["Layer", "Linear", "Perceptron", "sgd_step"]
