"""A module as a table: `tabulate`, `summary_rows` and `module_paths`.

All of them trace a call of the module without computing anything, and tell which methods of which
submodules it runs, with what, and which variables they have.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from linen_core._filters import CollectionFilter, DenyList
from linen_core._module.intercept import CaptureFilter
from linen_core._module.pure import (
    PureFunctions,
    check_instance,
    scope_function,
    with_intermediates,
)
from linen_core._rngs import Rngs
from linen_core.tracebacks import hide_frames

# The rest of what summaries are made of is imported by the first of them: few programs make one.
if TYPE_CHECKING:
    from linen_core._summary.rows import SummaryRow
    from linen_core._summary.summarize import Subject

_NOT_INTERMEDIATES = DenyList("intermediates")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Summaries(PureFunctions):
    """What a module can tell of itself."""

    def tabulate(
        self,
        rngs: Rngs,
        *args: Any,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        console_kwargs: Mapping[str, Any] | None = None,
        table_kwargs: Mapping[str, Any] = _NOTHING,
        column_kwargs: Mapping[str, Any] = _NOTHING,
        compute_flops: bool = False,
        compute_vjp_flops: bool = False,
        method: Callable[..., Any] | str | None = None,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> str:
        """Draw a table of the submodules: what goes in, what comes out, and their variables.

        The call is traced, so that nothing is computed and no memory is needed, however large the
        model is. There is a row for each module, in the order in which they are first called; a
        module that is shared or called again has one. A module that is never called, but whose
        variables are used, is part of the one around it. Rows add up to the variables of the model.

        FLOPs are floating-point operations: two for each product that is added up in a
        matrix product or convolution, one for each element of what an elementwise operation gives,
        and none for integers and for moving data. Those of a call include the calls in it and are
        counted as often as a loop around it runs. They are those of `apply`, with parameters that
        do not change. "n/a" stands for what is not known: loops of unknown length, callbacks,
        kernels; the caption names what it is.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method. Arrays may be given as `jax.ShapeDtypeStruct`.
            depth: how many levels of submodules have rows; deeper ones are counted in the row of
                the module around them. None for all.
            show_repeated: whether each call of a module has a row, and not only the first.
            mutable: a filter of the collections to create and show.
            console_kwargs: arguments of `rich.console.Console`, besides `force_terminal=True` and
                `force_jupyter=False`. With `{"width": 240}` there is room for all columns; where
                there is not, the facts of a module are below each other.
            table_kwargs: arguments of `rich.table.Table`.
            column_kwargs: arguments of `rich.table.Table.add_column`, for every column.
            compute_flops: whether to show FLOPs.
            compute_vjp_flops: whether to show FLOPs with those of the vector-Jacobian product, from
                what a call gives to all that it reads: inputs, parameters and other variables.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            capture_intermediates: whether to show what methods return in "intermediates".
            **kwargs: keyword arguments of the method.

        Returns:
            The table, with the escape sequences of a terminal unless `console_kwargs` has
            `force_terminal=False`.

        Raises:
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
            SummaryValueError: the model needs the values of arrays, as a Python `if` on one does.
            SummaryDepthError: `depth` is no number of levels.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Mix(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x @ self.param("kernel", jax.nn.initializers.ones, (3, 2))
            >>> x = jax.ShapeDtypeStruct((8, 3), "float32")
            >>> console = {"force_terminal": False, "width": 80}
            >>> table = Mix().tabulate(
            ...     jax.random.key(0), x, compute_flops=True, console_kwargs=console)
            >>> print(table)
                                             Mix Summary
            ┏━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┓
            ┃ path ┃ module ┃ inputs       ┃ outputs      ┃ flops ┃ params               ┃
            ┡━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━┩
            │      │ Mix    │ float32[8,3] │ float32[8,2] │ 96    │ kernel: float32[3,2] │
            │      │        │              │              │       │                      │
            │      │        │              │              │       │ 6 (24 B)             │
            ├──────┼────────┼──────────────┼──────────────┼───────┼──────────────────────┤
            │      │        │              │              │ Total │ 6 (24 B)             │
            └──────┴────────┴──────────────┴──────────────┴───────┴──────────────────────┘
            <BLANKLINE>
                                      Total Parameters: 6 (24 B)
        """
        from linen_core._summary.table import render

        check_instance(self, "tabulate")
        rows = self.summary_rows(
            rngs,
            *args,
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            compute_flops=compute_flops,
            compute_vjp_flops=compute_vjp_flops,
            method=method,
            capture_intermediates=capture_intermediates,
            **kwargs,
        )
        columns = {"flops": compute_flops, "vjp_flops": compute_vjp_flops}
        return render(
            rows,
            f"{type(self).__name__} Summary",
            [name for name, is_shown in columns.items() if is_shown],
            console_kwargs,
            table_kwargs,
            column_kwargs,
        )

    def summary_rows(
        self,
        rngs: Rngs,
        *args: Any,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        compute_flops: bool = False,
        compute_vjp_flops: bool = False,
        method: Callable[..., Any] | str | None = None,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> "list[SummaryRow]":
        """Give the rows of the table that `tabulate` draws, as data.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method. Arrays may be given as `jax.ShapeDtypeStruct`.
            depth: how many levels of submodules have rows; deeper ones are counted in the row of
                the module around them. None for all.
            show_repeated: whether each call of a module has a row, and not only the first.
            mutable: a filter of the collections to create and show.
            compute_flops: whether to count floating-point operations.
            compute_vjp_flops: whether to count them with those of the vector-Jacobian product.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            capture_intermediates: whether to show what methods return in "intermediates".
            **kwargs: keyword arguments of the method.

        Returns:
            The rows. `pandas.DataFrame(row.flat() for row in rows)` makes a data frame of them.

        Raises:
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
            SummaryValueError: the model needs the values of arrays, as a Python `if` on one does.
            SummaryDepthError: `depth` is no number of levels.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Mix(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return x @ self.param("kernel", jax.nn.initializers.ones, (3, 2))
            >>> x = jax.ShapeDtypeStruct((8, 3), "float32")
            >>> (row,) = Mix().summary_rows(jax.random.key(0), x, compute_flops=True)
            >>> row.class_name, row.flops, row.counts
            ('Mix', 96, {'params': 6})
        """
        from linen_core._summary.summarize import summarize

        try:
            subject = _subject(
                self, "summary_rows", rngs, args, kwargs, method, mutable, capture_intermediates
            )
            return summarize(subject, depth, show_repeated, compute_flops, compute_vjp_flops)
        except Exception as error:
            hide_frames(error)
            raise

    def module_paths(
        self,
        rngs: Rngs,
        *args: Any,
        show_repeated: bool = False,
        mutable: CollectionFilter = _NOT_INTERMEDIATES,
        method: Callable[..., Any] | str | None = None,
        capture_intermediates: bool | CaptureFilter = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Find the modules that a call runs.

        Args:
            rngs: a key, for the stream "params", or a dict from stream names to keys.
            *args: arguments of the method. Arrays may be given as `jax.ShapeDtypeStruct`.
            show_repeated: whether a module that is called several times is given as it was at the
                last call, and not at the first.
            mutable: a filter of the collections to create.
            method: the method to call, its name, or a function of a module; `__call__` if None.
            capture_intermediates: whether the call captures what methods return.
            **kwargs: keyword arguments of the method.

        Returns:
            A dict from paths, as in "encoder/Dense_0", to modules that stand alone, without a
            name; "" is the module itself. It is in the order in which they are called.

        Raises:
            InvalidRngError: `rngs` is no key and no dict of keys, or a stream is missing.
            ApplyModuleInvalidMethodError: `method` is no method.
            InvalidInstanceModuleError: called on a class.
            InvalidFilterError: `mutable` is no filter.
            SummaryValueError: the model needs the values of arrays, as a Python `if` on one does.

        Example:
            >>> import jax
            >>> from linen_core import Module
            >>> class Double(Module):
            ...     def __call__(self, x):
            ...         return 2 * x
            >>> class Model(Module):
            ...     def setup(self):
            ...         self.layers = [Double(), Double()]
            ...     def __call__(self, x):
            ...         return self.layers[1](self.layers[0](x))
            >>> Model().module_paths(jax.random.key(0), 1.0)
            {'': Model(), 'layers_0': Double(), 'layers_1': Double()}
        """
        from linen_core._summary.summarize import calls_of

        try:
            subject = _subject(
                self, "module_paths", rngs, args, kwargs, method, mutable, capture_intermediates
            )
            calls = calls_of(subject, show_repeated)
        except Exception as error:
            hide_frames(error)
            raise
        return {"/".join(call.path): call.module for call in calls}


def _subject(
    module: Any,
    caller: str,
    rngs: Rngs,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: Callable[..., Any] | str | None,
    mutable: CollectionFilter,
    capture_intermediates: bool | CaptureFilter,
) -> "Subject":
    from linen_core._summary.summarize import Subject

    run = scope_function(module, caller, method, capture_intermediates)
    name = method if isinstance(method, str) else getattr(method, "__name__", "__call__")
    mutable = with_intermediates(mutable, capture_intermediates)
    return Subject(module, run, name, rngs, args, kwargs, mutable)
