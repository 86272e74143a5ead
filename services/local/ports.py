"""The ports of the private servers: from a range of our own, remembered, never the servers' standard ones."""

from __future__ import annotations

import dataclasses
import errno
import json
import random
import socket
from typing import TYPE_CHECKING

from services.local.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Below the ports that systems take for outgoing connections (from 32768 on Linux), so that none of those is in the way.
OURS = range(18672, 18772)
FOR_TESTS = range(20000, 32000)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """One for each thing that listens, all on 127.0.0.1."""

    amqp: int
    management: int
    distribution: int
    epmd: int
    mongodb: int
    prometheus: int


def remembered(path: Path) -> Ports:
    """The ports of the last run where they are still free, others where not; written to `path`. Raises StartError."""
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        before = {}
    wanted = [before.get(name) if isinstance(before, dict) else None for name in _names()]
    ports = _choose(wanted, OURS)
    path.write_text(json.dumps(dataclasses.asdict(ports), indent=2) + "\n", "utf-8")
    return ports


def of_tests() -> Ports:
    """Free ports, other ones each time, so that test runs side by side don't meet. Raises StartError."""
    return _choose([None] * len(_names()), random.sample(FOR_TESTS, 200))


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. Raises StartError if it never could: no such address, or not allowed."""
    try:
        _bound(port, host).close()
    except _TakenError:
        return False
    return True


def any_free(host: str) -> int:
    """A port there that the system says is free. Raises StartError if nothing can listen there."""
    with _bound(0, host) as probe:
        return int(probe.getsockname()[1])


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(Ports)]


def _choose(wanted: list[int | None], others: Iterable[int]) -> Ports:
    kept = [port if isinstance(port, int) and 1024 < port < 65536 and is_free(port) else None for port in wanted]  # noqa: PLR2004
    spare = (port for port in others if port not in kept and is_free(port))
    try:
        return Ports(**{name: port or next(spare) for name, port in zip(_names(), kept, strict=True)})
    except StopIteration:
        raise StartError(f"Too few free ports from {OURS.start} to {OURS.stop - 1}; stop what listens there.") from None


class _TakenError(Exception):
    pass


def _bound(port: int, host: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        probe = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"Can't listen on {host}: {error.strerror or error}.") from error
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        # Two sockets with SO_REUSEADDR may be bound to one port; only listening tells.
        probe.listen(1)
    except OSError as error:
        probe.close()
        if error.errno == errno.EADDRINUSE:
            raise _TakenError from error
        raise StartError(f"Can't listen on {host} port {port}: {error.strerror or error}.") from error
    return probe
