"""Guests: scopes at the place of another one."""

from typing import Any

import jax
import pytest

from linen_core import Scope
from linen_core._guest_scope import GuestScope, moved, vacate
from linen_core.errors import NameInUseError


@pytest.fixture
def host() -> Scope:
    root = Scope({"params": {"host": {"w": 1.0}}}, jax.random.key(0), mutable="state")
    return root.push("host")


def test_a_guest_is_at_the_place_of_its_host(host: Scope) -> None:
    guest = GuestScope(host)
    assert (guest.path, guest.name, guest.parent) == (host.path, host.name, host.parent)
    assert guest.get_variable("params", "w") == 1.0
    guest.put_variable("state", "n", 3)
    assert host.variables() == guest.variables() == {"params": {"w": 1.0}, "state": {"n": 3}}
    keys = [jax.random.key_data(scope.make_rng()) for scope in (host, guest, host)]
    assert len({tuple(key.tolist()) for key in keys}) == 3


@pytest.mark.parametrize("col", ["params", None])
@pytest.mark.parametrize(
    ("takes", "other"),
    [(0, 1), (1, 0), (1, 2), (2, 1)],
    ids=["host first", "guest first", "two guests", "two guests reversed"],
)
def test_a_name_belongs_to_one(host: Scope, takes: int, other: int, col: Any) -> None:
    guest = GuestScope(host)
    scopes = host, guest, GuestScope(guest)
    before = scopes[takes].reservations()
    scopes[takes].reserve("x", col)
    assert all(scope.name_reserved("x", col) for scope in scopes)
    with pytest.raises(NameInUseError):
        scopes[other].reserve("x", col)
    with pytest.raises(NameInUseError):
        scopes[takes].reserve("x", col)
    scopes[takes].restore_reservations(before)
    scopes[takes].reserve("x", col)  # its own is free again
    with pytest.raises(NameInUseError):
        scopes[other].reserve("x", col)


def test_a_name_may_be_of_two_collections(host: Scope) -> None:
    guest = GuestScope(host)
    host.reserve("x", "params")
    guest.reserve("x", "state")
    assert guest.name_reserved("x", "params")
    with pytest.raises(NameInUseError):
        guest.reserve("x")


def test_all_may_sow_under_one_name(host: Scope) -> None:
    guest = GuestScope(host)
    for scope in (host, guest, guest, host):
        scope.reserve_to_sow("x", "intermediates")
    guest.reserve("y", "intermediates")
    with pytest.raises(NameInUseError):
        host.reserve_to_sow("y", "intermediates")


def test_a_scope_that_moves_keeps_its_keys() -> None:
    root = Scope({}, jax.random.key(0))
    old, same = root.push("old"), root.push("same")
    key = old.push("x").make_rng()
    new = moved(Scope({}, jax.random.key(0)).push("old").push("x"), same)
    assert new.path == ("same", "x")
    assert new.make_rng() == key


def test_a_name_is_vacated(host: Scope) -> None:
    vacate(host)
    host.root.push("host")


def test_what_has_no_name_of_its_own_is_not_vacated(host: Scope) -> None:
    root = host.root
    vacate(root)
    vacate(GuestScope(host))
    with pytest.raises(NameInUseError):
        root.push("host")


def test_a_name_below_a_guest_is_vacated_in_the_host(host: Scope) -> None:
    guest = GuestScope(host)
    vacate(guest.push("x"))
    host.push("x")
