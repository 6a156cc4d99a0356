"""`Stack`: many blocks of one kind, one after the other, as one loop.

A deep model is `x = block(x)`, many times, each time with other parameters. Written as a Python loop it
is traced and compiled block by block. A **stack** is the same as a `scan`: traced once, with the
parameters of all blocks in arrays that have one axis more, in front. It hides what a scan needs
besides: a block takes and gives what it would in a Python loop.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from linen_core import PARTITION_NAME, Module, Scope
from linen_transforms import lift
from linen_transforms._over_modules import over_modules
from linen_transforms._scan_with_axes import with_axis_name
from linen_transforms._static import positional_parameters
from linen_transforms.errors import StackError, TransformTargetError

M = TypeVar("M", bound=type[Module])


def Stack(  # noqa: N802 - what it gives is a class
    block: M,
    n: int,
    remat: bool | Callable[..., bool] = False,
    unroll: int | bool = 1,
    axis_name: str | None = None,
    methods: str | Sequence[str] | None = None,
) -> M:
    """Make a class of `n` blocks, one after the other.

    The class is constructed as the block is. Its variables are those of the block, with an axis of
    size `n` in front, at the same names; `stack_blocks` converts those of separate blocks. Every
    block draws other random numbers. What blocks sow is stacked, too.

    Args:
        block: a Module class. Its `__call__` takes an array, or a pytree of arrays, and perhaps more
            arguments, and returns something of the same structure, shapes and dtypes as the first.
            The other arguments are the same for all blocks; they may be arrays, or not.
        n: the number of blocks.
        remat: whether each block is computed again where its gradient needs it, instead of keeping
            what is inside; or a policy of what to keep, as for `jax.checkpoint`.
        unroll: how many blocks are put into one step of the compiled loop, as for `jax.lax.scan`.
        axis_name: what the new axis is called in boxes and named axes; None if it is not to be split.
        methods: the methods that are stacked, each like `__call__`, which is the one by default.

    Returns:
        A Module class whose methods are called as those of the block.

    Raises:
        TransformTargetError: `block` is no Module class.
        StackError: `n` is no positive integer, `unroll` or `remat` is not what it can be; or, when
            called, there is nothing to begin with, or a block uses a module from outside of the
            stack.
        LiftedMethodError: `methods` names something that is no method.
        CarryMismatchError: (when called) a block returns something else than it takes.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> from linen_transforms import Stack
        >>> class Block(Module):
        ...     @compact
        ...     def __call__(self, x, is_residual=True):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         kernel = self.param("kernel", init, (x.shape[-1], x.shape[-1]))
        ...         return jax.nn.relu(x @ kernel) + (x if is_residual else 0)
        >>> layers = Stack(Block, 24, remat=True)()
        >>> x = jax.numpy.ones((8, 3))
        >>> variables = layers.init(jax.random.key(0), x)
        >>> jax.tree.map(jax.numpy.shape, variables)
        {'params': {'kernel': (24, 3, 3)}}
        >>> layers.apply(variables, x, is_residual=False).shape
        (8, 3)
    """
    if not (isinstance(block, type) and issubclass(block, Module)):
        raise TransformTargetError("Stack", block)
    if not _is_count(n):
        raise StackError.of_number(n)
    if not (isinstance(unroll, bool) or _is_count(unroll)):
        raise StackError.of_unroll(unroll)
    if not (isinstance(remat, bool) or callable(remat)):
        raise StackError.of_remat(remat)

    def make(**_: Any) -> Callable[..., Any]:
        return lambda fn: _stacked(fn, int(n), remat, unroll, axis_name)

    return over_modules("stack", block, make, methods)


def _stacked(
    fn: Callable[..., Any],
    n: int,
    remat: bool | Callable[..., bool],
    unroll: int | bool,
    axis_name: str | None,
) -> Callable[..., Any]:
    """Give a function of scopes that runs another one `n` times."""

    def run(scopes: Sequence[Scope], /, *args: Any, **kwargs: Any) -> Any:
        _check_inside(scopes)
        if not args:
            args = (_passed_by_name(fn, scopes[0], kwargs),)
        x, *rest = args

        # The other arguments are captured, so that they need not be arrays.
        def block(scopes: Any, x: Any) -> Any:
            return fn(scopes, x, *rest, **kwargs)

        if remat is not False:
            # Steps of a loop are not merged with those of another one: only blocks within a step are.
            block = lift.checkpoint(
                block,
                prevent_cse=unroll is True or unroll > 1,
                policy=None if remat is True else remat,
            )
        loop = lift.scan(
            lambda scopes, x: (block(scopes, x), None),
            variable_axes={True: 0},
            split_rngs={True: True},
            length=n,
            unroll=unroll,  # type: ignore[arg-type] - JAX takes booleans too
            metadata_params={PARTITION_NAME: axis_name},
        )
        return with_axis_name(loop, True, 0, axis_name)(scopes, x)[0]

    return run


def _passed_by_name(fn: Callable[..., Any], scope: Scope, kwargs: dict[str, Any]) -> Any:
    """Take the first argument of a block out of those that are passed by name.

    Raises:
        StackError: it is not there.
    """
    first = positional_parameters(fn)[:1]
    if not {*first} & {*kwargs}:
        raise StackError.of_no_carry(scope.path_text, first)
    return kwargs.pop(first[0])


def _is_count(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and operator.index(value) >= 1
    except TypeError:
        return False


def _check_inside(scopes: Sequence[Scope]) -> None:
    """Refuse modules from outside: their variables have no axis of blocks.

    Raises:
        StackError: there is one.
    """
    own, *others = scopes
    for scope in others:
        if not scope.is_same_tree(own) or scope.path[: len(own.path)] != own.path:
            raise StackError.of_outside(own.path_text, scope.path_text)
