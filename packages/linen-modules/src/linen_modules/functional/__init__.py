"""Layers as functions of a scope: for models that are written without Modules.

    def model(scope, x):
        x = scope.child(dense, "hidden")(x, 64)
        return scope.child(dense, "logits")(nn.relu(x), 10)

    y, variables = linen_core.init(model)(key, x)

Each function is its layer with the scope in place of a module path: it declares the parameters in the
scope that it is given, and computes with the same arithmetic. What it is not given is float32.
"""

from linen_modules.functional.attention import (
    dot_product_attention,
    multi_head_dot_product_attention,
)
from linen_modules.functional.convolutions import conv, conv_transpose
from linen_modules.functional.embeddings import Embedding, embedding
from linen_modules.functional.linear import dense, dense_general
from linen_modules.functional.norms import batch_norm, group_norm, layer_norm
from linen_modules.functional.stochastic import dropout
from linen_modules.pooling import avg_pool, max_pool

__all__ = [
    "Embedding",
    "avg_pool",
    "batch_norm",
    "conv",
    "conv_transpose",
    "dense",
    "dense_general",
    "dot_product_attention",
    "dropout",
    "embedding",
    "group_norm",
    "layer_norm",
    "max_pool",
    "multi_head_dot_product_attention",
]
