"""The summaries as functions of a module, which give functions of the arguments."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from linen_core._filters import CollectionFilter, DenyList
from linen_core._module.module import Module
from linen_core._rngs import Rngs
from linen_core._summary.rows import SummaryRow

_NOT_INTERMEDIATES = DenyList("intermediates")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def tabulate(
    module: Module,
    rngs: Rngs,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = _NOT_INTERMEDIATES,
    console_kwargs: Mapping[str, Any] | None = None,
    table_kwargs: Mapping[str, Any] = _NOTHING,
    column_kwargs: Mapping[str, Any] = _NOTHING,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **kwargs: Any,
) -> Callable[..., str]:
    """Give a function that draws the table of a module from the arguments of its call.

    Args:
        module: the module.
        rngs: a key, for the stream "params", or a dict from stream names to keys.
        depth: how many levels of submodules have rows; None for all.
        show_repeated: whether each call of a module has a row, and not only the first.
        mutable: a filter of the collections to create and show.
        console_kwargs: arguments of `rich.console.Console`.
        table_kwargs: arguments of `rich.table.Table`.
        column_kwargs: arguments of `rich.table.Table.add_column`, for every column.
        compute_flops: whether to show floating-point operations.
        compute_vjp_flops: whether to show them with those of the vector-Jacobian product.
        **kwargs: other keyword arguments of `Module.tabulate`, such as `method`, and of the call.

    Returns:
        A function `(*args, **kwargs)` of the arguments of the call. It returns what
        `Module.tabulate` does, and raises what that raises.

    Example:
        >>> import jax
        >>> from linen_core import Module, tabulate
        >>> class Double(Module):
        ...     def __call__(self, x):
        ...         return 2 * x
        >>> table_of = tabulate(Double(), jax.random.key(0), console_kwargs={"width": 100})
        >>> "Double Summary" in table_of(jax.numpy.ones(3))
        True
    """

    def table_of(*args: Any, **call_kwargs: Any) -> str:
        return Module.tabulate(
            module,
            rngs,
            *args,
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            console_kwargs=console_kwargs,
            table_kwargs=table_kwargs,
            column_kwargs=column_kwargs,
            compute_flops=compute_flops,
            compute_vjp_flops=compute_vjp_flops,
            **kwargs,
            **call_kwargs,
        )

    return table_of


def summary_rows(
    module: Module,
    rngs: Rngs,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = _NOT_INTERMEDIATES,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **kwargs: Any,
) -> Callable[..., list[SummaryRow]]:
    """Give a function that gives the rows of a module's table from the arguments of its call.

    Args:
        module: the module.
        rngs: a key, for the stream "params", or a dict from stream names to keys.
        depth: how many levels of submodules have rows; None for all.
        show_repeated: whether each call of a module has a row, and not only the first.
        mutable: a filter of the collections to create and show.
        compute_flops: whether to count floating-point operations.
        compute_vjp_flops: whether to count them with those of the vector-Jacobian product.
        **kwargs: other keyword arguments of `Module.summary_rows`, such as `method`, and of the
            call.

    Returns:
        A function `(*args, **kwargs)` of the arguments of the call. It returns what
        `Module.summary_rows` does, and raises what that raises.

    Example:
        >>> import jax
        >>> from linen_core import Module, summary_rows
        >>> class Double(Module):
        ...     def __call__(self, x):
        ...         return 2 * x
        >>> [row.class_name for row in summary_rows(Double(), jax.random.key(0))(1.0)]
        ['Double']
    """

    def rows_of(*args: Any, **call_kwargs: Any) -> list[SummaryRow]:
        return Module.summary_rows(
            module,
            rngs,
            *args,
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            compute_flops=compute_flops,
            compute_vjp_flops=compute_vjp_flops,
            **kwargs,
            **call_kwargs,
        )

    return rows_of
