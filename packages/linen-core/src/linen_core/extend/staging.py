"""What evaluating a traced `init` needs: which equations variables depend on, and initializers."""

from linen_core._staging import is_initializer, needed_equations, read_by, variables_among

__all__ = ["is_initializer", "needed_equations", "read_by", "variables_among"]
