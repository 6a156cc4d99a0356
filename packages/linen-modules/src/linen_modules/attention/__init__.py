"""Attention: averages of values, weighted by how well keys fit queries.

See `README.md` in this folder for what it guarantees.
"""

from linen_modules.attention.dot_product import (
    dot_product_attention,
    dot_product_attention_weights,
)
from linen_modules.attention.masks import combine_masks, make_attention_mask, make_causal_mask
from linen_modules.attention.multi_head import (
    MultiHeadAttention,
    MultiHeadDotProductAttention,
    SelfAttention,
)
from linen_modules.attention.rotary import rotary_embedding

__all__ = [
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "SelfAttention",
    "combine_masks",
    "dot_product_attention",
    "dot_product_attention_weights",
    "make_attention_mask",
    "make_causal_mask",
    "rotary_embedding",
]
