"""Meshes: sizes that fit the devices, and what is said of those that do not."""

import re
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from linen_train.distributed import make_mesh
from linen_train.errors import DistributedArgumentError, DistributedError, MeshShapeError

SIZES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "default": ({}, {"data": 8}),
    "all": ({"data": -1}, {"data": 8}),
    "the_rest": ({"data": -1, "model": 2}, {"data": 4, "model": 2}),
    "the_rest_is_one": ({"data": 8, "model": -1}, {"data": 8, "model": 1}),
    "exact": ({"replica": 2, "data": 2, "model": 2}, {"replica": 2, "data": 2, "model": 2}),
}


@pytest.mark.parametrize(("sizes", "shape"), SIZES.values(), ids=SIZES)
def test_sizes(sizes: dict[str, int], shape: dict[str, int]) -> None:
    keywords: Any = sizes
    for mesh in (make_mesh(sizes), make_mesh(**keywords)):
        assert list(mesh.shape.items()) == list(shape.items())
        assert set(mesh.devices.flat) == set(jax.devices())
        assert set(mesh.axis_types) == {AxisType.Auto}


def test_devices_and_types_of_axes() -> None:
    mesh = make_mesh(data=-1, devices=jax.devices()[2:5], axis_type=AxisType.Explicit)
    assert mesh.devices.tolist() == jax.devices()[2:5]
    assert mesh.axis_types == (AxisType.Explicit,)


def test_a_mapping_and_keywords_together() -> None:
    assert dict(make_mesh({"data": 4}, model=2).shape) == {"data": 4, "model": 2}
    with pytest.raises(MeshShapeError, match=r"found the axes \['data'\] both in the mapping and"):
        make_mesh({"data": 4}, data=2)


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "too_many": (
        {"data": 16},
        "make_mesh(data=16): found 8 devices, expected 16 (16). Write make_mesh(data=-1).",
    ),
    "too_few": (
        {"data": 2, "model": 2},
        "make_mesh(data=2, model=2): found 8 devices, expected 4 (2 x 2). Write make_mesh(data=-1, "
        "model=2), or make_mesh(data=2, model=2, devices=jax.devices()[:4]) to leave some out.",
    ),
    "not_divisible": (
        {"data": -1, "model": 3},
        "make_mesh(data=-1, model=3): found 8 devices, expected a multiple of 3 (3). Write sizes whose "
        "product is 8, such as make_mesh(data=-1).",
    ),
    "no_way": (
        {"data": 5, "model": 3},
        "make_mesh(data=5, model=3): found 8 devices, expected 15 (5 x 3). Write sizes whose product is "
        "8, such as make_mesh(data=-1).",
    ),
    "two_free": (
        {"data": -1, "model": -1},
        "found -1 for the axes ['data', 'model'], expected it for one axis at most. Write "
        "make_mesh(data=-1, model=1).",
    ),
    "zero": ({"data": 0}, "found data=0, expected a number of devices, at least 1, or -1"),
    "fraction": ({"data": 2.0}, "found data=2.0, expected a number of devices"),
    "truth": ({"data": True}, "found data=True, expected a number of devices"),
    "ones": (
        {"data": 1, "model": 1},
        "found 8 devices, expected 1 (1 x 1). Write make_mesh(data=-1,",
    ),
}


@pytest.mark.parametrize(("sizes", "text"), MISFITS.values(), ids=MISFITS)
def test_sizes_that_do_not_fit(sizes: dict[str, Any], text: str) -> None:
    with pytest.raises(MeshShapeError, match=re.escape(text)):
        make_mesh(sizes)


DEVICE = jax.devices()[0]
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[DistributedError], str]] = {
    "two_sizes": (
        ((4, 2),),
        {},
        MeshShapeError,
        "make_mesh: found (4, 2), expected the size of each axis by name. Write make_mesh(data=4, "
        "model=2).",
    ),
    "a_size": ((8,), {}, MeshShapeError, "found 8, expected the size of each axis by name. Write "),
    "pairs": (
        ([("data", 8)],),
        {},
        MeshShapeError,
        "found [('data', 8)], expected the size of each",
    ),
    "a_name": (
        ("data",),
        {},
        MeshShapeError,
        "found 'data', expected the size of each axis by name.",
    ),
    "a_number_as_name": (({0: 8},), {}, MeshShapeError, "Write make_mesh(data=8)."),
    "no_devices": (
        (),
        {"devices": [], "data": 2},
        MeshShapeError,
        "make_mesh: found no devices, expected at least one. Write devices=jax.devices(), or leave it "
        "out for those of all processes.",
    ),
    "a_device_twice": (
        (),
        {"devices": [DEVICE, DEVICE]},
        MeshShapeError,
        f"make_mesh: found the devices {[DEVICE]} more than once, expected each once. Write "
        "devices=jax.devices()[:2].",
    ),
    "a_number_of_devices": (
        (),
        {"devices": 4},
        DistributedArgumentError,
        "make_mesh: found devices=4, expected a flat sequence of devices. Write "
        "devices=jax.devices()[:4].",
    ),
    "numbers_of_devices": (
        (),
        {"devices": [0, 1]},
        DistributedArgumentError,
        "found devices=[0, 1], expected a flat sequence of devices. Write devices=jax.devices().",
    ),
    "a_grid_of_devices": (
        (),
        {"devices": np.array(jax.devices()).reshape(4, 2)},
        DistributedArgumentError,
        "expected a flat sequence of devices.",
    ),
    "type_of_axes": (
        (),
        {"axis_type": "auto"},
        DistributedArgumentError,
        "make_mesh: found axis_type='auto', expected a type of axes. Write "
        "axis_type=jax.sharding.AxisType.Auto.",
    ),
}


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "text"), ARGUMENTS.values(), ids=ARGUMENTS
)
def test_arguments_of_another_kind(
    arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[DistributedError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make_mesh(*arguments, **keywords)
