"""Helpers of programs written for `jax.pmap`, and two for functions of arrays.

*Replicated* here means what `jax.pmap` means by it: an array with a leading axis over devices, one
equal part on each. New programs use `jax.jit` and a `jax.sharding.NamedSharding`: see
`linen_train.distributed` and `linen_train.data.prefetch_to_device`.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal, jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_train._scan_in_dim import scan_in_dim
from linen_train.errors import DataShapeError

__all__ = [
    "pad_shard_unpad",
    "partial_eval_by_shape",
    "pmean",
    "prefetch_to_device",
    "replicate",
    "scan_in_dim",
    "unreplicate",
]

_Tree = TypeVar("_Tree")
_AXIS = "_device_put_sharded"


def replicate(tree: _Tree, devices: Sequence[Any] | None = None, axis_name: str = _AXIS) -> _Tree:
    """Put a copy of every leaf on every device, along a new leading axis.

    Args:
        tree: a pytree of arrays and numbers.
        devices: the devices; those of this process by default.
        axis_name: name of the axis of the mesh in the arrays' shardings.

    Returns:
        The tree with arrays of shapes (devices, ...).

    Example:
        >>> import jax, numpy as np
        >>> replicate({"kernel": np.ones((2, 3))})["kernel"].shape == (jax.device_count(), 2, 3)
        True
    """
    devices = jax.local_devices() if devices is None else list(devices)
    sharding = _leading_axis(devices, axis_name)

    def copy(leaf: Any) -> jax.Array:
        # Weakly typed numbers get the dtype that they stand for.
        row = jnp.asarray(leaf)[None]
        row = row.astype(row.dtype) if row.aval.weak_type else row
        shape = (len(devices), *row.shape[1:])
        copies = [jax.device_put(row, device) for device in devices]
        return jax.make_array_from_single_device_arrays(shape, sharding, copies)

    return jax.tree.map(copy, tree)


def unreplicate(tree: _Tree) -> _Tree:
    """Return one copy of arrays that have one on every device.

    Args:
        tree: a pytree of arrays of shapes (devices, ...), as `replicate` or `jax.pmap` returns.

    Returns:
        The tree with the arrays of the first device, of shapes (...).

    Raises:
        DataShapeError: a leaf has no leading axis.

    Example:
        >>> unreplicate(replicate({"step": 3}))["step"].item()
        3
    """

    def first(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            leaf = leaf.addressable_shards[0].data
        if np.ndim(leaf) == 0:
            raise DataShapeError(
                f"unreplicate: found a scalar{_at(path)}, expected a leading axis of devices. Give it "
                "what replicate(...) or jax.pmap returned."
            )
        return leaf[0]

    return jax.tree_util.tree_map_with_path(first, tree)


def pmean(xs: _Tree, axis_name: str) -> _Tree:
    """Return the mean over a named axis: `jax.lax.pmean`.

    Args:
        xs: a pytree of arrays.
        axis_name: name of the axis, such as that of `jax.pmap`.

    Returns:
        The tree of means.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.vmap(lambda x: pmean(x, "batch"), axis_name="batch")(jnp.array([1.0, 3.0])).tolist()
        [2.0, 2.0]
    """
    return jax.lax.pmean(xs, axis_name)


def prefetch_to_device(
    iterator: Iterable[_Tree],
    size: int,
    devices: Sequence[Any] | None = None,
    axis_name: str = _AXIS,
) -> Iterator[_Tree]:
    """Put batches on the devices ahead of time, split along their leading axis.

    The copies to the devices run in the background, the iterator itself does not:
    `linen_train.data.prefetch_to_device` draws from it in a thread.

    Args:
        iterator: pytrees of arrays whose leading axis the number of devices divides; of shapes
            (devices, ...) for `jax.pmap`.
        size: how many batches are on the way at a time. Two are enough on a GPU.
        devices: the devices; those of this process by default.
        axis_name: name of the axis of the mesh in the arrays' shardings.

    Returns:
        An iterator over the batches as `jax.Array`s.

    Raises:
        DataShapeError: `size` is less than 1, or an array cannot be split.

    Example:
        >>> import jax, numpy as np
        >>> batches = (np.full((jax.device_count(), 2), i) for i in range(3))
        >>> [int(batch[0, 0]) for batch in prefetch_to_device(batches, size=2)]
        [0, 1, 2]
    """
    if size < 1:
        raise DataShapeError(f"prefetch_to_device: found size={size}, expected at least 1 batch.")
    devices = jax.local_devices() if devices is None else list(devices)
    return _prefetched(iter(iterator), size, _leading_axis(devices, axis_name))


def pad_shard_unpad(
    wrapped: Callable[..., Any],
    static_argnums: Sequence[int] = (0,),
    static_argnames: Sequence[str] = (),
    static_return: bool = False,
) -> Callable[..., Any]:
    """Make a function of `jax.pmap` take any batch size.

    Args:
        wrapped: a function of arrays of shapes (devices, batch / devices, ...).
        static_argnums: positions of the arguments that are passed on as they are, such as that of
            the variables.
        static_argnames: names of further ones.
        static_return: whether to return what `wrapped` returns, instead of taking the padding off.

    Returns:
        A function of arrays of shapes (batch, ...). It fills them up with zeros, splits them over
        the local devices, calls `wrapped`, and returns numpy arrays of shapes (batch, ...). With
        `min_device_batch=` it fills up to at least so many examples for each device, which saves
        compilations. It raises DataShapeError where the arrays differ in their batch size.

    Example:
        >>> import jax, numpy as np
        >>> double = pad_shard_unpad(jax.vmap(lambda x: 2 * x), static_argnums=())
        >>> double(np.arange(3.0)).tolist()
        [0.0, 2.0, 4.0]
    """

    @functools.wraps(wrapped)
    def call(*args: Any, min_device_batch: int | None = None, **kwargs: Any) -> Any:
        count = jax.local_device_count()
        batched = [arg for i, arg in enumerate(args) if i not in static_argnums]
        named = {name: arg for name, arg in kwargs.items() if name not in static_argnames}
        size = _batch_size([batched, named])
        rows = max(-(-size // count), min_device_batch or 0)

        def split(x: Any) -> Any:
            if size < count * rows:
                x = np.asarray(x)
                x = np.concatenate([x, np.zeros((count * rows - size, *x.shape[1:]), x.dtype)])
            return x.reshape((count, rows, *x.shape[1:]))

        out = wrapped(
            *(
                arg if i in static_argnums else jax.tree.map(split, arg)
                for i, arg in enumerate(args)
            ),
            **(kwargs | jax.tree.map(split, named)),
        )
        if static_return:
            return out
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:])[:size], out)

    return call


def partial_eval_by_shape(
    fn: Callable[..., Any], input_spec: Sequence[Any], *args: Any, **kwargs: Any
) -> Any:
    """Evaluate what of a function's results does not depend on some of its arguments.

    Args:
        fn: a function.
        input_spec: for each of its first arguments a shape, a pair of shape and dtype, or a
            `jax.ShapeDtypeStruct`. They are float32 without a dtype.
        args: further arguments, by value.
        kwargs: keyword arguments, by value.

    Returns:
        The results of `fn`: an array where it depends on the values given, and a
        `jax.ShapeDtypeStruct` where it depends on the others.

    Example:
        >>> import jax.numpy as jnp
        >>> partial_eval_by_shape(lambda x, n: (x * n, jnp.ones(2) * n), [(4,)], 3)
        (ShapeDtypeStruct(shape=(4,), dtype=float32), Array([3., 3.], dtype=float32))
    """
    specs = [_spec(entry) for entry in input_spec]
    structures: list[Any] = []
    given: dict[int, Any] = {}

    def flat(*inputs: Any) -> list[Any]:
        leaves, structure = jax.tree.flatten(fn(*inputs, *args, **kwargs))
        structures.append(structure)
        given.update((i, x) for i, x in enumerate(leaves) if not isinstance(x, Tracer))
        return leaves

    program = jax.make_jaxpr(flat)(*specs)
    known = _known_outputs(program.jaxpr, [False] * len(specs))

    # The compiler drops whatever the known results do not depend on.
    @jax.jit
    def evaluate() -> list[Any]:
        results = jaxpr_as_fun(program)(*(jnp.zeros(spec.shape, spec.dtype) for spec in specs))
        return [x for x, is_known in zip(results, known, strict=True) if is_known]

    values = iter(evaluate() if any(known) else ())
    results = [
        next(values) if is_known else jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        for aval, is_known in zip(program.out_avals, known, strict=True)
    ]
    return structures[-1].unflatten(given.get(i, result) for i, result in enumerate(results))


def _known_outputs(jaxpr: Any, known_inputs: Sequence[bool]) -> list[bool]:
    """Say which results of a program do not depend on inputs that are unknown."""
    known: dict[Any, bool] = dict(zip(jaxpr.invars, known_inputs, strict=True))

    def is_known(atom: Any) -> bool:
        return isinstance(atom, Literal) or known.get(atom, True)

    for equation in jaxpr.eqns:
        inputs = [is_known(atom) for atom in equation.invars]
        if all(inputs):
            continue
        outputs = [False] * len(equation.outvars)
        if equation.primitive.name in ("jit", "pjit"):
            outputs = _known_outputs(equation.params["jaxpr"].jaxpr, inputs)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [is_known(atom) for atom in jaxpr.outvars]


def _spec(entry: Any) -> jax.ShapeDtypeStruct:
    if isinstance(entry, jax.ShapeDtypeStruct):
        return entry
    if len(entry) == 2 and isinstance(entry[0], Sequence):
        return jax.ShapeDtypeStruct(tuple(entry[0]), entry[1])
    return jax.ShapeDtypeStruct(tuple(entry), jnp.float32)


def _leading_axis(devices: Sequence[Any], axis_name: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (axis_name,)), PartitionSpec(axis_name))


def _prefetched(batches: Iterator[_Tree], size: int, sharding: NamedSharding) -> Iterator[_Tree]:
    ready = deque(_placed(batch, sharding) for batch in itertools.islice(batches, size))
    while ready:
        yield ready.popleft()
        ready.extend(_placed(batch, sharding) for batch in itertools.islice(batches, 1))


def _placed(batch: _Tree, sharding: NamedSharding) -> _Tree:
    count = len(sharding.device_set)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] % count:
            raise DataShapeError(
                f"prefetch_to_device: found shape {np.shape(leaf)}{_at(path)}, expected a leading axis "
                f"that {count} devices divide evenly. Use common_utils.shard(batch), or give devices=."
            )
    return jax.device_put(batch, sharding)


def _batch_size(arguments: Any) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(arguments)}
    if len(sizes) != 1 or sizes == {()}:
        found = sorted(str((*size, "none")[0]) for size in sizes) or "no arrays"
        raise DataShapeError(
            f"pad_shard_unpad: found batch sizes {found}, expected arrays of one batch size. Name the "
            "arguments that are not batched in static_argnums and static_argnames."
        )
    return sizes.pop()[0]


def _at(path: Any) -> str:
    return f" at {jax.tree_util.keystr(path, simple=True, separator='/')}" if path else ""
