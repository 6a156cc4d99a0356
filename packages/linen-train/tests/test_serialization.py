"""Objects become bytes and come back; what cannot, and bytes that are damaged, are told of."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import chex
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import FrozenDict, struct
from linen_train import _msgpack
from linen_train.errors import (
    SerializationError,
    SerializedBytesError,
    UnserializableValueError,
)
from linen_train.serialization import from_bytes, msgpack_restore, msgpack_serialize, to_bytes

DTYPES = """
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128
    bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3b11fnuz int4 uint4 int2 datetime64[D] timedelta64[s]
""".split()


class Pair(NamedTuple):
    left: Any
    right: Any


@struct.dataclass
class Settings:
    rate: Any
    name: str = struct.field(pytree_node=False, default="fixed")


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_bit_for_bit(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype("int64").astype(dtype)
    restored = msgpack_restore(msgpack_serialize(array))
    assert type(restored) is np.ndarray
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    assert restored.tobytes() == array.tobytes()
    assert restored.flags.writeable


ARRANGEMENTS: dict[str, np.ndarray] = {
    "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "every other": np.arange(12).reshape(2, 6)[:, ::2],
    "reversed": np.arange(3)[::-1],
    "big-endian": np.arange(3, dtype=">i4"),
    "read-only": np.broadcast_to(np.float32(1), (2, 2)),
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_the_arrangement_in_memory_does_not_matter(name: str) -> None:
    array = ARRANGEMENTS[name]
    np.testing.assert_array_equal(msgpack_restore(msgpack_serialize(array)), array)


VALUES: dict[str, Any] = {
    "None": None,
    "bool": True,
    "int": -(2**63),
    "large int": 2**64 - 1,
    "float": 0.1,
    "infinity": float("-inf"),
    "complex": 1 - 2j,
    "text": "naïve",
    "bytes": b"\x00\xff",
    "numpy float": np.float32(0.1),
    "numpy int": np.int64(-3),
    "numpy bool": np.bool_(True),
    "numpy complex": np.complex64(1j),
    "brain float": jnp.bfloat16(1.5).item(),
    "empty dict": {},
    "list": [1, [2.0, None]],
    "keys that are numbers": {1: {"a": 2}},
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_what_they_are(name: str) -> None:
    restored = msgpack_restore(msgpack_serialize({"value": VALUES[name]}))["value"]
    assert type(restored) is type(VALUES[name])
    assert restored == VALUES[name]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4"])
def test_numpy_scalars_of_other_types_come_back(dtype: str) -> None:
    scalar = np.ones((), dtype)[()]
    restored = msgpack_restore(msgpack_serialize(scalar))
    assert type(restored) is type(scalar)
    assert restored == scalar


OBJECTS: dict[str, Any] = {
    "nested": {"params": {"kernel": np.ones((2, 3)), "empty": {}}, "step": 3},
    "frozen": FrozenDict({"a": {"b": np.arange(3)}}),
    "sequences": [1, (np.float32(2), [None, "text"])],
    "named tuple": Pair(np.zeros(2), Pair(1, ())),
    "struct": Settings(rate=np.float32(0.5)),
    "optimizer": optax.adam(0.1).init({"kernel": jnp.ones(2), "bias": jnp.ones((), jnp.bfloat16)}),
    "multi steps": optax.MultiSteps(optax.sgd(0.1, 0.9), 2).init({"kernel": jnp.ones(2)}),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_come_back_with_their_types(name: str) -> None:
    target = OBJECTS[name]
    restored = from_bytes(target, to_bytes(target))
    assert jax.tree.structure(restored) == jax.tree.structure(target)
    chex.assert_trees_all_equal(restored, target)
    assert [kind(leaf) for leaf in jax.tree.leaves(restored)] == [
        kind(leaf) for leaf in jax.tree.leaves(target)
    ]


def kind(leaf: Any) -> Any:
    return getattr(leaf, "dtype", type(leaf))


def test_without_a_target_the_state_dict_comes_back() -> None:
    assert from_bytes(None, to_bytes([1, (2, Pair(3, 4))])) == {
        "0": 1,
        "1": {"0": 2, "1": {"left": 3, "right": 4}},
    }


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 2)], ids=str)
def test_random_keys_come_back_as_keys(implementation: str, shape: tuple[int, ...]) -> None:
    keys = jax.random.split(jax.random.key(7, impl=implementation), shape)
    restored = from_bytes({"rng": jax.random.key(0)}, to_bytes({"rng": keys}))["rng"]
    assert restored.dtype == keys.dtype
    chex.assert_trees_all_equal(jax.random.key_data(restored), jax.random.key_data(keys))


def test_arrays_on_several_devices_are_gathered() -> None:
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    array = jax.device_put(np.arange(16.0), sharding)
    np.testing.assert_array_equal(msgpack_restore(msgpack_serialize(array)), np.arange(16.0))


# Large arrays are cut.


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_msgpack, "MAX_CHUNK_BYTES", 16)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int32", "bfloat16", "complex128", "int4"])
def test_large_arrays_are_cut_and_joined(dtype: str, in_place: bool) -> None:
    array = np.arange(40).reshape(2, 20).astype("int8").astype(dtype)
    encoded = msgpack_serialize({"a": {"b": array}, "c": array}, in_place=in_place)
    cut = msgpack.unpackb(encoded)["a"]["b"]
    assert len(cut["chunks"]) == -(-40 * array.dtype.itemsize // 16)
    restored = msgpack_restore(encoded)
    chex.assert_trees_all_equal(restored, {"a": {"b": array}, "c": array})
    assert restored["c"].dtype == array.dtype


@pytest.mark.usefixtures("small_chunks")
def test_one_large_array_is_cut() -> None:
    array = np.arange(10)
    np.testing.assert_array_equal(msgpack_restore(msgpack_serialize(array)), array)


@pytest.mark.usefixtures("small_chunks")
def test_an_element_may_be_larger_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_msgpack, "MAX_CHUNK_BYTES", 3)
    np.testing.assert_array_equal(from_bytes([0], to_bytes([np.arange(4)]))[0], np.arange(4))


@pytest.mark.usefixtures("small_chunks")
def test_arrays_of_the_limit_stay_whole() -> None:
    assert isinstance(
        msgpack.unpackb(msgpack_serialize({"a": np.zeros(16, "i1")}))["a"], msgpack.ExtType
    )


@pytest.mark.usefixtures("small_chunks")
def test_only_in_place_changes_the_callers_dicts() -> None:
    tree = {"b": {"a": np.arange(10)}, "a": 1}
    inner, array = tree["b"], tree["b"]["a"]
    msgpack_serialize(tree)
    assert tree == {"b": inner, "a": 1}
    assert inner["a"] is array
    msgpack_serialize(tree, in_place=True)
    assert inner["a"] is not array


@pytest.mark.usefixtures("small_chunks")
def test_to_bytes_does_not_change_its_target() -> None:
    tree = {"b": {"a": np.arange(10)}}
    inner, array = tree["b"], tree["b"]["a"]
    to_bytes(tree)
    assert tree["b"] is inner
    assert inner["a"] is array


def test_entries_are_sorted_unless_in_place() -> None:
    tree = {"b": 1, "a": {"d": 2, "c": 3}}
    assert list(msgpack_restore(msgpack_serialize(tree))) == ["a", "b"]
    assert list(msgpack_restore(msgpack_serialize(tree))["a"]) == ["c", "d"]
    assert list(msgpack_restore(msgpack_serialize(tree, in_place=True))) == ["b", "a"]
    assert msgpack_restore(msgpack_serialize({"b": 1, 2: 3})) == {"b": 1, 2: 3}


# What cannot be serialized.


REFUSED: dict[str, tuple[Any, str]] = {
    "object": ({"a": [0, object()]}, "a/1: found a value of type object, expected dicts"),
    "tuple": ({"a": {"b": (1, 2)}}, "a/b: found a value of type tuple"),
    "key": ({"a": {(1, 2): 3}}, "a: found a value of type tuple"),
    "large integer": ([2**64], "0: found the integer 18446744073709551616, beyond 64 bits"),
    "text array": (np.array(["a"]), "The value itself: found an array of dtype <U1"),
    "record": ({"a": np.zeros(2, [("x", "i4")])}, "a: found an array of dtype [('x', '<i4')]"),
    "raw bytes": ({"a": np.zeros(2, "V3")}, "a: found an array of dtype |V3"),
    "objects": ({"a": np.array([None])}, "a: found an array of dtype object"),
    "abstract": ({"a": jax.ShapeDtypeStruct((2,), "int8")}, "a: found a value of type ShapeDtypeStruct"),
    "lone surrogate": ({"a": "\ud800"}, "a: found '\\ud800'"),
}  # fmt: skip


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_with_its_path(name: str, in_place: bool) -> None:
    value, text = REFUSED[name]
    with pytest.raises(UnserializableValueError) as caught:
        msgpack_serialize(value, in_place=in_place)
    assert str(caught.value).startswith(text)
    assert "to_bytes(...)" in str(caught.value)
    assert isinstance(caught.value, SerializationError | TypeError)


# Damaged bytes.


def extension(code: int, *parts: Any) -> bytes:
    return cast(bytes, msgpack.packb(msgpack.ExtType(code, cast(bytes, msgpack.packb(parts)))))


DAMAGED: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "found 0 bytes that cannot be read"),
    "unused code": (b"\xc1", "found 1 bytes"),
    "cut off": (msgpack_serialize({"a": np.arange(9)})[:-3], "incomplete input"),
    "too long": (msgpack_serialize(1) + b"x", "extra data"),
    "no bytes": (3, "found int that cannot be read"),
    "text": ("text", "found str that cannot be read"),
    "unknown extension": (extension(9), "an extension of code 9"),
    "two parts": (extension(1, [1], "int8"), "an extension without its 3 parts"),
    "no parts": (msgpack.packb(msgpack.ExtType(1, b"\x07")), "an extension without its 3 parts"),
    "unknown dtype": (extension(1, [1], "int7x", b"a"), "an array of dtype 'int7x'"),
    "python objects": (extension(1, [1], "object", b"a" * 8), "an array of dtype 'object'"),
    "records": (extension(1, [1], "i4,i4", b"a" * 8), "an array of dtype 'i4,i4'"),
    "unknown number": (extension(1, [1], "float7", b"a"), "float7"),
    "no name": (extension(1, [1], 3, b"a"), "an array of dtype 3"),
    "too few elements": (extension(1, [3], "int8", b"ab"), "2 bytes for int8[3], which has 3"),
    "guessed size": (extension(1, [-1], "int8", b"ab"), "an array of shape [-1]"),
    "no shape": (extension(1, 1, "int8", b"a"), "not iterable"),
    "scalar of a shape": (extension(3, [1], "int8", b"a"), "a scalar of shape (1,)"),
    "complex text": (extension(2, "a", "b"), "cannot be read"),
    "unknown keys": (extension(16, "dice", msgpack.packb(([2], "uint32", b"a" * 8))), "dice"),
    "pieces without shape": (msgpack.packb({"__msgpack_chunked_array__": True}), "an array in pieces without 'shape'"),
    "pieces missing": (
        msgpack_serialize({"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {"0": np.zeros(2)}}),
        "cannot reshape",
    ),
    "deep": (b"\x81\xa1a" * 3000 + b"\xc0", "cannot be read"),
    "key of a dict": (b"\x81\x80\x01", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_bytes_are_told_of(name: str) -> None:
    encoded, text = DAMAGED[name]
    with pytest.raises(SerializedBytesError) as caught:
        msgpack_restore(encoded)
    assert text in str(caught.value)
    assert "expected what msgpack_serialize(...) or to_bytes(...) returned" in str(caught.value)


WHOLE = to_bytes({"a": np.arange(5.0), "b": [1, 2j, np.float32(3), jax.random.key(0)], "c": "text"})


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_every_cut_is_noticed(length: int) -> None:
    with pytest.raises(SerializedBytesError):
        msgpack_restore(WHOLE[:length])


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_a_flipped_bit_gives_values_or_the_error(bit: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 1 << bit % 8
    outcome_of(lambda: msgpack_restore(bytes(flipped)))


@given(st.binary(max_size=40))
def test_any_bytes_give_values_or_the_error(encoded: bytes) -> None:
    outcome_of(lambda: msgpack_restore(encoded))


def outcome_of(restore: Callable[[], Any]) -> Any:
    try:
        return restore()
    except SerializedBytesError as error:
        return error


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
)
TREES = st.recursive(
    LEAVES, lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts), max_leaves=20
)


@given(TREES)
def test_trees_come_back_equal(tree: Any) -> None:
    assert msgpack_restore(msgpack_serialize(tree)) == tree
    assert from_bytes(tree, to_bytes(tree)) == tree
