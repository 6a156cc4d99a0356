"""Normalisation: layers that bring their inputs, or their kernels, to a fixed size.

`statistics` takes means and variances, `normalization` applies them; a layer is its choice of the
axes that are averaged and of where the statistics come from. `SpectralNorm` and `WeightNorm` wrap
a layer and normalise its kernels; `reparametrization` has what they share.
"""

from linen_modules.norm.batch_norm import BatchNorm, batch_norm, batch_norm_inference
from linen_modules.norm.group_norm import GroupNorm, group_norm
from linen_modules.norm.instance_norm import InstanceNorm
from linen_modules.norm.layer_norm import LayerNorm, layer_norm
from linen_modules.norm.rms_norm import RMSNorm, rms_norm
from linen_modules.norm.spectral_norm import SpectralNorm, spectral_norm
from linen_modules.norm.weight_norm import WeightNorm, weight_norm

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "SpectralNorm",
    "WeightNorm",
    "batch_norm",
    "batch_norm_inference",
    "group_norm",
    "layer_norm",
    "rms_norm",
    "spectral_norm",
    "weight_norm",
]
