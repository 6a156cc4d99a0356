"""Embeddings, as functions of a scope."""

from linen_core import Scope, struct
from linen_modules.embed import default_embed_init, embed_attend, embed_lookup
from linen_modules.typing import Array, Initializer

__all__ = ["Embedding", "embedding"]


class Embedding(struct.PyTreeNode):
    """A table of learned vectors: a pytree whose one leaf is the table.

    Args:
        table: shape (number of embeddings, features).

    >>> import jax.numpy as jnp
    >>> table = Embedding(jnp.array([[1.0, 0.0], [1.0, 1.0]]))
    >>> table.lookup(jnp.array([1, 0])).tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    >>> table.attend(jnp.array([1.0, 2.0])).tolist()
    [1.0, 3.0]
    """

    table: Array

    def lookup(self, indices: Array) -> Array:
        """Takes rows of the table.

        Args:
            indices: integers of any shape. Negative ones count from the end; those outside the
                table give NaN.

        Returns:
            Shape (shape of indices..., features).
        """
        return embed_lookup(self.table, indices)

    def attend(self, query: Array) -> Array:
        """Multiplies queries with every row of the table.

        Args:
            query: shape (..., features).

        Returns:
            Shape (..., number of embeddings).
        """
        return embed_attend(query, self.table)


def embedding(
    scope: Scope,
    num_embeddings: int,
    features: int,
    init_fn: Initializer = default_embed_init,
) -> Embedding:
    """Declares a table of learned vectors.

    Args:
        scope: where the parameter "table" is.
        num_embeddings: the number of rows; the size of the vocabulary.
        features: the size of a vector.
        init_fn: makes the table, of shape (num_embeddings, features).

    Returns:
        The table, to look vectors up in.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> words = jnp.array([2, 0, 1])
    >>> run = init(lambda scope, words: embedding(scope, 5, 4).lookup(words))
    >>> y, variables = run(jax.random.key(0), words)
    >>> y.shape, variables["params"]["table"].shape
    ((3, 4), (5, 4))
    """
    return Embedding(scope.param("table", init_fn, (num_embeddings, features)))
