"""Bytes and files that flax.training writes are read here, and the other way round."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.serialization as theirs
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct as theirs_struct
from flax.core import FrozenDict as TheirFrozenDict

from linen_core import FrozenDict, struct
from linen_train import _msgpack
from linen_train import serialization as ours

from .comparison import differences

DTYPES = """
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128
    bfloat16 float8_e4m3fn float8_e4m3b11fnuz float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz int4 uint4
    int2 uint2 datetime64[D]
""".split()


class Pair(NamedTuple):
    left: Any
    right: Any


@struct.dataclass
class OurStruct:
    rate: Any
    name: str = struct.field(pytree_node=False, default="fixed")


@theirs_struct.dataclass
class TheirStruct:
    rate: Any
    name: str = theirs_struct.field(pytree_node=False, default="fixed")


def array(dtype: str, *shape: int) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype("int64").astype(dtype)


# Plain trees, for msgpack_serialize.
TREES: dict[str, Any] = {
    **{f"numpy {dtype}": array(dtype, 2, 3) for dtype in DTYPES},
    **{f"scalar {dtype}": array(dtype)[()] for dtype in DTYPES},
    **{
        f"jax {dtype}": jnp.ones((3,), dtype)
        for dtype in ("bool", "int32", "float32", "bfloat16", "complex64", "float8_e4m3fn", "int4")
    },
    "zero dimensions": np.array(3.0),
    "no elements": np.zeros((0, 3)),
    "columns first": np.asfortranarray(array("int16", 2, 3)),
    "every other": array("int16", 2, 6)[:, ::2],
    "None": None,
    "int": 3,
    "large int": 2**64 - 1,
    "negative": -(2**63),
    "bool": True,
    "float": 0.1,
    "complex": 1 - 2j,
    "text": "naïve",
    "bytes": b"\x00\xff",
    "lists": [1, [array("int8", 2), None], {"a": 2.5}],
    "dicts": {"b": {"d": array("bfloat16", 3), "c": {}}, "a": 1},
    "keys that are numbers": {2: {"a": 1}, 1: "b"},
    "large": {"b": array("int32", 2, 10), "a": {"c": array("complex128", 3), "d": array("int8", 16)}},
    "large in a list": [array("int32", 10), {"a": array("int32", 10)}],
    "one large": array("float32", 3, 5),
    "large brain floats": {"a": jnp.arange(30.0, dtype=jnp.bfloat16)},
}  # fmt: skip


def objects(library: Any) -> dict[str, Any]:
    """Returns objects for to_bytes, with the types of one library in them."""
    params = {"kernel": array("float32", 4, 5), "bias": jnp.ones((), jnp.bfloat16)}
    return {
        "named tuple": Pair(array("int8", 2), Pair(None, (1, [2.0]))),
        "struct": library.struct(rate=np.float32(0.5)),
        "frozen": library.frozen({"b": {"a": array("int8", 3)}, "a": 1}),
        "adam": optax.adam(0.1).init(params),
        "chain": optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)).init(params),
        "multi steps": optax.MultiSteps(optax.adam(0.1), 2).init(params),
        "old random key": {"rng": jax.random.PRNGKey(3)},
        "nothing": {},
    }


class Ours:
    struct: Callable[..., Any] = OurStruct
    frozen: Callable[..., Any] = FrozenDict


class Theirs:
    struct: Callable[..., Any] = TheirStruct
    frozen: Callable[..., Any] = TheirFrozenDict


@pytest.fixture(params=["whole", "in pieces"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(_msgpack, "MAX_CHUNK_BYTES", 24)
        monkeypatch.setattr(theirs, "MAX_CHUNK_SIZE", 24)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", TREES)
def test_trees_have_equal_bytes_and_come_back_equal(name: str, in_place: bool) -> None:
    # In place, either library changes the dicts that it is given.
    mine, expected = copy.deepcopy(TREES[name]), copy.deepcopy(TREES[name])
    encoded = ours.msgpack_serialize(mine, in_place=in_place)
    assert encoded == theirs.msgpack_serialize(expected, in_place=in_place)
    found, restored = ours.msgpack_restore(encoded), theirs.msgpack_restore(encoded)
    assert list(differences(found, restored)) == []
    assert type(found) is type(restored)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("name", objects(Ours))
def test_objects_have_equal_bytes_and_come_back_equal(name: str) -> None:
    mine, their = objects(Ours)[name], objects(Theirs)[name]
    encoded = ours.to_bytes(mine)
    assert encoded == theirs.to_bytes(their)
    assert list(differences(ours.from_bytes(mine, encoded), on_host(mine))) == []
    assert list(differences(theirs.from_bytes(their, encoded), on_host(their))) == []


def on_host(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, tree
    )


def test_flax_refuses_typed_keys_which_are_kept_here() -> None:
    keys = {"rng": jax.random.key(0)}
    with pytest.raises(TypeError):
        theirs.to_bytes(keys)
    assert ours.from_bytes(keys, ours.to_bytes(keys))["rng"].dtype == keys["rng"].dtype


REFUSED: dict[str, Any] = {
    "tuple": {"a": (1, 2)},
    "object": {"a": object()},
    "objects": {"a": np.array([None])},
    "abstract": {"a": jax.ShapeDtypeStruct((2,), "int8")},
    "key": {(1, 2): 3},
    "set": {1, 2},
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(name: str) -> None:
    for library in (ours, theirs):
        with pytest.raises((TypeError, ValueError)):
            library.msgpack_serialize(REFUSED[name])


# What flax writes and cannot read again, or reads as other numbers, is refused or right here.


@pytest.mark.parametrize("dtype", ["<U1", "S1", "V2"])
def test_dtypes_that_flax_writes_and_cannot_read(dtype: str) -> None:
    value = np.zeros(2, dtype)
    with pytest.raises(TypeError):
        theirs.msgpack_restore(theirs.msgpack_serialize(value))
    with pytest.raises(TypeError, match="found an array of dtype"):
        ours.msgpack_serialize(value)


def test_the_order_of_bytes() -> None:
    value = np.arange(3, dtype=">i4")
    assert theirs.msgpack_restore(theirs.msgpack_serialize(value))[1] == 2**24
    encoded = ours.msgpack_serialize(value)
    assert theirs.msgpack_restore(encoded)[1] == ours.msgpack_restore(encoded)[1] == 1
