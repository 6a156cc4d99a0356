"""Normalisation: layers that bring their inputs to mean 0 and variance 1.

`statistics` takes means and variances, `normalization` applies them; a layer is its choice of the
axes that are averaged and of where the statistics come from.
"""

from linen_modules.norm.batch_norm import BatchNorm, batch_norm, batch_norm_inference
from linen_modules.norm.layer_norm import LayerNorm, layer_norm

__all__ = ["BatchNorm", "LayerNorm", "batch_norm", "batch_norm_inference", "layer_norm"]
