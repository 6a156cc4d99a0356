"""How processes meet, here as threads, and what each of them says when they do not."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linen_train.distributed import _rendezvous
from linen_train.distributed._settings import Settings
from linen_train.errors import (
    DistributedConnectionError,
    DistributedSettingsError,
    DistributedTimeoutError,
)


@pytest.fixture
def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def meet(
    address: str, processes: Sequence[tuple[int, int]], timeout: float = 20.0
) -> list[BaseException | None]:
    """Let processes meet, each a number and how many it believes there are."""

    def one(number: int, count: int) -> None:
        _rendezvous.meet(Settings(address, count, number, "the test"), timeout)

    with ThreadPoolExecutor(len(processes)) as pool:
        futures = [pool.submit(one, *process) for process in processes]
    return [future.exception() for future in futures]


@pytest.mark.parametrize("count", [1, 2, 17])
def test_everybody_comes(address: str, count: int) -> None:
    assert meet(address, [(i, count) for i in range(count)]) == [None] * count
    # The port is free at once, for JAX.
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        pass


def test_the_host_may_come_last(address: str) -> None:
    guest = threading.Thread(target=meet, args=(address, [(1, 2)]))
    guest.start()
    time.sleep(0.3)
    assert meet(address, [(0, 2)]) == [None]
    guest.join(20)
    assert not guest.is_alive()


def test_some_do_not_come(address: str) -> None:
    errors = meet(address, [(0, 4), (2, 4)], timeout=0.5)
    for error in errors:
        assert isinstance(error, DistributedTimeoutError)
        assert str(error) == (
            f"initialize: process 0 waited 0.5 s at {address} for 2 processes (1, 3) of 4. Start them "
            f"with the same address, as in initialize({address!r}, num_processes=4, process_id=1), or "
            "give them more time with timeout=1."
        )


def test_many_do_not_come(address: str) -> None:
    (error,) = meet(address, [(0, 100)], timeout=0.1)
    assert "for 99 processes (1, 2, 3, 4, 5, 6, 7, 8, ...) of 100" in str(error)


def test_the_host_does_not_come(address: str) -> None:
    started = time.monotonic()
    (error,) = meet(address, [(1, 2)], timeout=0.5)
    assert 0.5 <= time.monotonic() - started < 5
    assert isinstance(error, DistributedTimeoutError)
    assert str(error) == (
        f"initialize: process 1 waited 0.5 s for process 0 at {address}: Connection refused. Start "
        f"process 0 with this address, as in initialize({address!r}, num_processes=2, process_id=0), "
        "or give it more time with timeout=1."
    )


def test_the_host_is_unknown() -> None:
    (error,) = meet("nowhere.invalid:1", [(1, 2)], timeout=0.3)
    assert isinstance(error, DistributedTimeoutError)
    assert "at nowhere.invalid:1: the host 'nowhere.invalid' is unknown" in str(error)


def test_they_disagree_about_their_number(address: str) -> None:
    for error in meet(address, [(0, 2), (1, 3)]):
        assert isinstance(error, DistributedSettingsError)
        assert "process 0 was started with num_processes=2, process 1 (" in str(error)
        assert "with num_processes=3, expected the same number everywhere." in str(error)


def test_two_have_the_same_number(address: str) -> None:
    errors = meet(address, [(0, 3), (1, 3), (1, 3)])
    for error in errors:
        assert isinstance(error, DistributedSettingsError)
        assert "two processes have process_id=1" in str(error)
        assert "Give every process a number of its own, from 0 to 2." in str(error)


def test_two_hosts_on_one_port(address: str) -> None:
    errors = meet(address, [(0, 2), (0, 2)], timeout=0.5)
    taken = next(error for error in errors if isinstance(error, DistributedConnectionError))
    port = address.rpartition(":")[2]
    assert f"process 0 cannot listen at port {port} of {address}: Address already in use." in str(
        taken
    )
    assert "Give all processes another port" in str(taken)


@contextlib.contextmanager
def server(address: str, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Have another program listen at the address."""
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))) as listener:
        listener.settimeout(20)

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join(20)


def test_another_program_answers(address: str) -> None:
    with server(
        address, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ):
        (error,) = meet(address, [(1, 2)])
    assert isinstance(error, DistributedConnectionError)
    assert f"process 1 found a program at {address} that is no process of this run" in str(error)
    assert "it answered b'HTTP/1.1 400 Bad Request" in str(error)


def connected(address: str) -> socket.socket:
    """Connect to the host, once it is there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 1)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    "noise", [b"", b"GET / HTTP/1.1\r\n", b'{"protocol": "x"}\n', b"\x00" * 5000], ids=str
)
def test_strangers_are_ignored(address: str, noise: bytes) -> None:
    host = threading.Thread(target=meet, args=(address, [(0, 2)]))
    host.start()
    stranger = connected(address)
    with stranger, contextlib.suppress(OSError):
        stranger.sendall(noise)
        assert meet(address, [(1, 2)]) == [None]
    host.join(20)
    assert not host.is_alive()


def test_one_that_starts_again_is_welcome(address: str) -> None:
    results: list[Any] = []
    host = threading.Thread(target=lambda: results.extend(meet(address, [(0, 3)])))
    host.start()
    assert isinstance(meet(address, [(1, 3)], timeout=0.3)[0], DistributedTimeoutError)
    assert meet(address, [(1, 3), (2, 3)]) == [None, None]
    host.join(20)
    assert results == [None]
