"""How processes find each other before JAX connects them.

JAX ends the process, from C++, when another one is missing. So that a program can say who waited for whom,
and catch the error, the processes meet here first, on the coordinator's own port: process 0 listens,
the others introduce themselves, and when all are there, process 0 frees the port and tells them to go
on. A line of JSON in each direction is the whole protocol.
"""

import contextlib
import dataclasses
import json
import os
import selectors
import socket
import time
from collections.abc import Iterator
from typing import Any

from linen_train.distributed._settings import Settings, host_and_port
from linen_train.errors import (
    DistributedConnectionError,
    DistributedError,
    DistributedSettingsError,
    DistributedTimeoutError,
)

_PROTOCOL = "linen-train rendezvous 1"
_LINE_BYTES = 4096
_RETRY_SECONDS = 0.1
_FAREWELL_SECONDS = 2.0


def meet(settings: Settings, timeout: float) -> None:
    """Return when every process has called this.

    Raises:
        DistributedTimeoutError: some did not come in time.
        DistributedSettingsError: the processes disagree about their number, or two have the same one.
        DistributedConnectionError: the port is taken, or another program answers there.
    """
    deadline = time.monotonic() + timeout
    if settings.process_id == 0:
        _Host(settings, timeout, deadline).run()
    else:
        _join(settings, timeout, deadline)


@dataclasses.dataclass
class _Guest:
    """A connection to process 0, and who is at the other end of it, once that is known."""

    connection: socket.socket
    received: bytes = b""
    process_id: int | None = None
    place: str = ""


class _Host:
    """The side of process 0."""

    def __init__(self, settings: Settings, timeout: float, deadline: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._deadline = deadline
        self._guests: dict[socket.socket, _Guest] = {}

    def run(self) -> None:
        """Wait for all the others, then let them go on."""
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            stack.callback(self._close)
            try:
                with _listener(self._settings) as listener:
                    selector.register(listener, selectors.EVENT_READ)
                    while len(self._present()) < self._settings.num_processes:
                        self._wait(selector, listener)
            except DistributedError as error:
                self._tell({"error": type(error).__name__, "text": str(error)})
                raise
            # The port is free again before anybody needs it.
            self._tell({"go": True})
            self._wait_for_farewells()

    def _present(self) -> set[int]:
        guests = self._guests.values()
        return {0, *(guest.process_id for guest in guests if guest.process_id is not None)}

    def _wait(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise DistributedTimeoutError(self._missing())
        for key, _ in selector.select(remaining):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setblocking(False)
                self._guests[connection] = _Guest(connection)
                selector.register(connection, selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket) and not self._read(key.fileobj):
                selector.unregister(key.fileobj)
                self._guests.pop(key.fileobj).connection.close()

    def _read(self, connection: socket.socket) -> bool:
        """Take what a guest says; False if it has gone, or is no process of ours."""
        guest = self._guests[connection]
        try:
            data = connection.recv(_LINE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        guest.received += data
        if not data or len(guest.received) > _LINE_BYTES:
            return False
        if guest.process_id is None and b"\n" in guest.received:
            hello = _parsed(guest.received.partition(b"\n")[0])
            numbers = (hello.get("process_id"), hello.get("num_processes"))
            if hello.get("protocol") != _PROTOCOL or not all(type(x) is int for x in numbers):
                return False
            self._welcome(guest, hello)
        return True

    def _welcome(self, guest: _Guest, hello: dict[str, Any]) -> None:
        number, count = hello["process_id"], hello["num_processes"]
        expected = self._settings.num_processes
        if count != expected:
            raise DistributedSettingsError(
                f"initialize: process 0 was started with num_processes={expected}, process {number} "
                f"({hello['place']}) with num_processes={count}, expected the same number everywhere."
            )
        places = {other.process_id: other.place for other in self._guests.values()}
        places[0] = _place()
        if number in places:
            raise DistributedSettingsError(
                f"initialize: two processes have process_id={number}: {places[number]} and "
                f"{hello['place']}. Give every process a number of its own, from 0 to {expected - 1}."
            )
        guest.process_id, guest.place = number, hello["place"]

    def _missing(self) -> str:
        absent = sorted(set(range(self._settings.num_processes)) - self._present())
        shown = ", ".join(map(str, absent[:8])) + (", ..." if len(absent) > 8 else "")
        which = f"process {shown}" if len(absent) == 1 else f"{len(absent)} processes ({shown})"
        return (
            f"initialize: process 0 waited {self._timeout:g} s at {self._settings.coordinator_address} "
            f"for {which} of {self._settings.num_processes}. Start them with the same address, as in "
            f"initialize({self._settings.coordinator_address!r}, "
            f"num_processes={self._settings.num_processes}, process_id={absent[0]}), or give them more "
            f"time with timeout={2 * self._timeout:g}."
        )

    def _tell(self, message: dict[str, Any]) -> None:
        for connection, guest in self._guests.items():
            if guest.process_id is not None or "error" in message:
                with contextlib.suppress(OSError):
                    connection.send(_line(message))

    def _wait_for_farewells(self) -> None:
        """Let the others hang up first, so that no connection lingers on the port."""
        end = time.monotonic() + _FAREWELL_SECONDS
        for connection in self._guests:
            with contextlib.suppress(OSError):
                connection.settimeout(max(0.01, end - time.monotonic()))
                connection.recv(1)

    def _close(self) -> None:
        for connection in self._guests:
            connection.close()


@contextlib.contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    _, port = host_and_port(str(settings.coordinator_address))
    # As JAX does: at every address of the machine.
    is_dual = socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if is_dual else socket.AF_INET,
            backlog=min(settings.num_processes + 16, 4096),
            dualstack_ipv6=is_dual,
        )
    except OSError as error:
        raise DistributedConnectionError(
            f"initialize: process 0 cannot listen at port {port} of {settings.coordinator_address}: "
            f"{os.strerror(error.errno or 0)}. Give all processes another port, or end the program that uses "
            "this one, which may be an earlier run."
        ) from error
    with listener:
        yield listener


def _join(settings: Settings, timeout: float, deadline: float) -> None:
    """Introduce this process to process 0, as often as it takes, and wait for its word."""
    host, port = host_and_port(str(settings.coordinator_address))
    problem = "nothing answered there"
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DistributedTimeoutError(_unanswered(settings, timeout, problem))
        try:
            with socket.create_connection((host, port), timeout=remaining) as connection:
                problem = "it answered, but other processes are missing"
                return _introduce(connection, settings, deadline)
        except DistributedError:
            raise  # some of them are OSErrors
        except TimeoutError:
            continue
        except socket.gaierror as error:
            problem = f"the host {host!r} is unknown ({error.strerror})"
        except OSError as error:
            problem = f"{error.strerror or error}"
        time.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))


def _introduce(connection: socket.socket, settings: Settings, deadline: float) -> None:
    hello = {
        "protocol": _PROTOCOL,
        "process_id": settings.process_id,
        "num_processes": settings.num_processes,
        "place": _place(),
    }
    connection.sendall(_line(hello))
    received = b""
    while b"\n" not in received and len(received) <= _LINE_BYTES:
        # Process 0 says why it gives up, at its own deadline; leave it a moment to do so.
        connection.settimeout(max(0.01, deadline - time.monotonic() + 1.0))
        data = connection.recv(_LINE_BYTES)
        if not data:
            break
        received += data
    answer = _parsed(received)
    if "error" in answer:
        raise _error_of(answer)
    if "go" not in answer:
        if not received:
            raise ConnectionResetError(None, "process 0 hung up")
        raise DistributedConnectionError(
            f"initialize: process {settings.process_id} found a program at "
            f"{settings.coordinator_address} that is no process of this run: it answered "
            f"{received[:40]!r}. Give all processes another port."
        )


def _error_of(answer: dict[str, Any]) -> DistributedError:
    kinds = (DistributedSettingsError, DistributedTimeoutError)
    kind = {kind.__name__: kind for kind in kinds}.get(answer["error"], DistributedError)
    return kind(answer["text"])


def _unanswered(settings: Settings, timeout: float, problem: str) -> str:
    return (
        f"initialize: process {settings.process_id} waited {timeout:g} s for process 0 at "
        f"{settings.coordinator_address}: {problem}. Start process 0 with this address, as in "
        f"initialize({settings.coordinator_address!r}, num_processes={settings.num_processes}, "
        f"process_id=0), or give it more time with timeout={2 * timeout:g}."
    )


def _place() -> str:
    return f"{socket.gethostname()}, pid {os.getpid()}"


def _line(message: dict[str, Any]) -> bytes:
    # One packet, so that a guest that does not read cannot stop the others.
    return json.dumps(message).encode()[: _LINE_BYTES - 1] + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
