"""Comparing two trees: structure, kinds of leaves, and numbers to the unit in the last place.

Distance in *ulps* is measured against the largest magnitude of a leaf: the greatest difference of
two elements, divided by the spacing of the leaf's type at that magnitude. Zero ulps means equal
bits, except for the sign of a zero.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np


def differences(found: Any, expected: Any, ulps: int = 0, path: str = "") -> Iterator[str]:
    """Yields one line for each place where two trees differ."""
    children = parts(expected)
    if children is None or parts(found) is None:
        yield from leaf_differences(found, expected, ulps, path or "(the whole)")
        return
    mine = parts(found) or {}
    if container(found) != container(expected):
        yield f"{path}: found {container(found)}, expected {container(expected)}"
    for key in mine.keys() - children.keys():
        yield f"{path}/{key}: unexpected {outline(mine[key])}"
    for key in children.keys() - mine.keys():
        yield f"{path}/{key}: missing {outline(children[key])}"
    for key in children:
        if key in mine:
            yield from differences(mine[key], children[key], ulps, f"{path}/{key}")


def parts(tree: Any) -> dict[str, Any] | None:
    """Returns the children of a container by key, None for a leaf."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {str(key): child for key, child in tree.items()}
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return {jax.tree_util.keystr(path, simple=True): child for path, child in pairs}


def container(tree: Any) -> str:
    """Names the type of a container; every mapping counts as a dict."""
    return "dict" if isinstance(tree, Mapping) else type(tree).__name__


def kind(leaf: Any) -> str:
    """Names the type of a leaf with its shape and dtype."""
    if isinstance(leaf, jax.Array):
        weak = " weak" if leaf.aval.weak_type else ""
        return f"jax.Array {leaf.dtype}{list(leaf.shape)}{weak}"
    if isinstance(leaf, np.ndarray):
        return f"numpy.ndarray {leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__


def outline(tree: Any) -> Any:
    """Returns the tree with the kind of every leaf in its place."""
    children = parts(tree)
    return kind(tree) if children is None else {k: outline(child) for k, child in children.items()}


def leaf_differences(found: Any, expected: Any, ulps: int, path: str) -> Iterator[str]:
    """Yields a line if two leaves differ in kind or by more than `ulps`."""
    if kind(found) != kind(expected):
        yield f"{path}: found {kind(found)}, expected {kind(expected)}"
    elif not isinstance(expected, jax.Array | np.ndarray):
        if found != expected:
            yield f"{path}: found {found!r}, expected {expected!r}"
    elif (gap := distance(found, expected)) > ulps:
        yield f"{path}: {gap:.3g} ulps apart, {ulps} allowed ({kind(expected)})"


def distance(found: Any, expected: Any) -> float:
    """Returns how many ulps apart two arrays of one kind are."""
    x, y = wide(numbers(found)), wide(numbers(expected))
    if not np.issubdtype(y.dtype, np.inexact):
        return 0.0 if np.array_equal(x, y) else float("inf")
    finite = np.isfinite(x) & np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return float("inf")
    gap = np.abs(x[finite] - y[finite]).max(initial=0.0)
    magnitude = np.abs(y[finite]).max(initial=0.0) or 1.0
    spacing = float(ml_dtypes.finfo(real(expected.dtype)).eps) * 2.0 ** np.floor(np.log2(magnitude))
    return float(gap / spacing)


def numbers(array: Any) -> np.ndarray:
    """Returns the array, or the data of an array of typed keys, on the host."""
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array)


def wide(array: np.ndarray) -> np.ndarray:
    """Returns floating-point numbers of any width in double precision, all else unchanged."""
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        return array.astype(np.complex128)
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def real(dtype: Any) -> Any:
    """Returns the type of the parts of a complex type, a real type unchanged."""
    return np.empty(0, dtype).real.dtype if jnp.issubdtype(dtype, jnp.complexfloating) else dtype
