"""Embeddings: learned vectors, looked up by index."""

import jax.numpy as jnp

from linen_core import Module
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.dtypes import promote_dtype
from linen_modules.errors import FeatureSizeError, InputDtypeError, location
from linen_modules.typing import Array, DTypeLike, Initializer, PromoteDtype

__all__ = ["Embed", "default_embed_init", "embed_attend", "embed_lookup"]

default_embed_init: Initializer = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


@cached_jit()
def embed_lookup(
    embedding: Array,
    indices: Array,
    *,
    dtype: DTypeLike | None = None,
    promote_dtype: PromoteDtype = promote_dtype,
) -> Array:
    """Takes rows of a table.

    Args:
        embedding: shape (number of embeddings, features).
        indices: integers of any shape. Negative ones count from the end; those outside the table
            give NaN. A table with a single row gives that row for every index.
        dtype: the dtype of the result; None is that of the table.
        promote_dtype: the operator that brings the table to the dtype.

    Returns:
        Shape (shape of indices..., features).

    >>> import jax.numpy as jnp
    >>> embed_lookup(jnp.array([[0.0], [5.0]]), jnp.array([1, 0])).tolist()
    [[5.0], [0.0]]
    """
    (embedding,) = promote_dtype(embedding, dtype=dtype, inexact=False)
    if embedding.shape[0] == 1:
        return jnp.broadcast_to(
            jnp.expand_dims(embedding[0], range(indices.ndim)), (*indices.shape, embedding.shape[1])
        )
    return jnp.take(embedding, indices, axis=0)


@cached_jit()
def embed_attend(
    query: Array,
    embedding: Array,
    *,
    dtype: DTypeLike | None = None,
    promote_dtype: PromoteDtype = promote_dtype,
) -> Array:
    """Multiplies queries with every row of a table.

    Args:
        query: shape (..., features).
        embedding: shape (number of embeddings, features).
        dtype: the dtype of the computation; None infers it.
        promote_dtype: the operator that brings (query, embedding) to one dtype.

    Returns:
        Shape (..., number of embeddings).

    >>> import jax.numpy as jnp
    >>> embed_attend(jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 3.0]
    """
    query, embedding = promote_dtype(query, embedding, dtype=dtype)
    return jnp.dot(query, embedding.T)


class Embed(Module):
    """A table of learned vectors, one for each integer in [0, num_embeddings).

    Attributes:
        num_embeddings: the number of rows; the size of the vocabulary.
        features: the size of a vector.
        dtype: the dtype of the result; None is that of the table.
        param_dtype: the dtype of the table.
        embedding_init: makes the table, of shape (num_embeddings, features).
        promote_dtype: replaces the promotion of (embedding,) in a look-up and of
            (query, embedding) in `attend`.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Embed(num_embeddings=5, features=3)
    >>> tokens = jnp.array([[0, 1, 2], [3, 3, 0]])
    >>> variables = layer.init(jax.random.key(0), tokens)
    >>> layer.apply(variables, tokens).shape
    (2, 3, 3)
    >>> layer.apply(variables, jnp.ones((2, 3)), method="attend").shape
    (2, 5)
    """

    num_embeddings: int
    features: int
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    embedding_init: Initializer = default_embed_init
    promote_dtype: PromoteDtype = promote_dtype

    def setup(self) -> None:
        """Declares the table."""
        shape = (self.num_embeddings, self.features)
        self.embedding: Array = self.param(
            "embedding", self.embedding_init, shape, self.param_dtype
        )

    def __call__(self, inputs: Array) -> Array:
        """Looks vectors up.

        Args:
            inputs: integers of any shape. Negative ones count from the end; those outside the
                table give NaN. With `num_embeddings=1` every index gives the only vector.

        Returns:
            Shape (shape of inputs..., features).

        Raises:
            InputDtypeError: if the inputs are not integers.
        """
        if not jnp.issubdtype(jnp.result_type(inputs), jnp.integer):
            raise InputDtypeError(
                f"{location(self)}: found inputs of dtype {jnp.result_type(inputs)}; expected "
                "integers, which are indices into the table. Write inputs.astype(jnp.int32), or "
                "use Dense for vectors."
            )
        return embed_lookup(
            self.embedding, inputs, dtype=self.dtype, promote_dtype=self.promote_dtype
        )

    def attend(self, query: Array) -> Array:
        """Multiplies queries with every vector; makes logits with the weights of the embedding.

        Args:
            query: shape (..., features).

        Returns:
            Shape (..., num_embeddings).

        Raises:
            FeatureSizeError: if the queries do not have the features of the vectors.
        """
        if jnp.shape(query)[-1:] != (self.features,):
            raise FeatureSizeError(
                f"{location(self)}: found a query of shape {jnp.shape(query)}; expected its last "
                f"axis to have features={self.features}. Write nn.Dense({self.features})(query) "
                "before attend."
            )
        return embed_attend(
            query, self.embedding, dtype=self.dtype, promote_dtype=self.promote_dtype
        )
