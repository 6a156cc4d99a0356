"""`ByPlace`: variables in the form that users see."""

from typing import Any

import pytest

from linen_core import Scope, bind
from linen_transforms._by_place import ByPlace, is_same_place, leaves_by_path
from linen_transforms._pack import Cut

ROOT = bind({"params": {"a": {"w": 1.0}, "b": {"w": 2.0}}})
A, B = ROOT.push("a"), ROOT.push("b")
OF_A, OF_B = {"params": {"w": 1.0}}, {"params": {"w": 2.0}}
OF_ROOT = {"params": {"a": {"w": 1.0}, "b": {"w": 2.0}}}

FORMS: dict[str, tuple[Any, Any]] = {
    "one": (A, OF_A),
    "a tuple": ((A, B), (OF_A, OF_B)),
    "a dict": ({"x": B, "y": [A]}, {"x": OF_B, "y": [OF_A]}),
    "one below another": ((A, ROOT), ({}, OF_ROOT)),
    "one twice": ([A, A], [OF_A, {}]),
}


@pytest.mark.parametrize("name", FORMS)
def test_there_and_back(name: str) -> None:
    scopes, expected = FORMS[name]
    cut = Cut(scopes, (True,))
    (group,) = cut.variables((True,))
    by_place = ByPlace(cut, scopes)
    assert by_place.join(group) == expected
    assert by_place.split(expected) == group


def test_places_are_paths_of_one_tree() -> None:
    again: Scope = ROOT.push("a", reuse=True)
    assert is_same_place(A, again)
    assert not is_same_place(A, B)
    assert not is_same_place(A, bind({}).push("a"))


def test_leaves_have_paths() -> None:
    assert leaves_by_path({"a": [1, {"b": 2}]}) == {"['a'][0]": 1, "['a'][1]['b']": 2}
    assert leaves_by_path(3) == {"": 3}
