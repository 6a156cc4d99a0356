"""Meshes: sizes that fit the devices, and what is said of those that do not."""

import re
from typing import Any

import jax
import pytest
from jax.sharding import AxisType

from linen_train.distributed import make_mesh
from linen_train.errors import MeshShapeError

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
