"""A fetcher in a process of its own, in which every connection that Python makes is looked at: whatever the guard has not permitted ends the process.

As a program (`python -m tests.security.watched DNS_PORT LOOP [unguarded]`) it is that process; `Watched` runs it, and measures the memory of it and of
its children. With `unguarded` the guard lets everything pass, to show that the watch would notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.fetcher.download import Downloader
from services.fetcher.guard import Guard
from services.fetcher.main import fetcher
from shared import process
from shared.addresses import may_be_asked
from tests.security.dns import lookup
from tests.security.world import LIMITS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.settings import Settings
    from tests.security.dns import Dns

OUTSIDE_THE_GUARD = 70
ALLOWED = ip_network("127.77.0.0/16")


def watch(*permitted: tuple[str, int]) -> None:
    """From now on a connection, or a datagram, to an address that is neither permitted nor allowed ends the process."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in {"socket.connect", "socket.sendto"}:
            return
        made, address = arguments
        if made.family not in {socket.AF_INET, socket.AF_INET6}:
            allowed = event == "socket.sendto"  # a pair of sockets of our own; nobody connects to a path
        else:
            allowed = tuple(address[:2]) in permitted or may_be_asked(ip_address(address[0]), [ALLOWED])
        if not allowed:
            os.write(2, f"outside the guard: {event} {address!r}\n".encode())
            os._exit(OUTSIDE_THE_GUARD)

    sys.addaudithook(look)


def main() -> int:
    """The fetcher, watched."""
    port, loop, *rest = sys.argv[1:]
    if loop == "asyncio":
        sys.modules["uvloop"] = None  # type: ignore[assignment]  # then importing it fails, as where it isn't installed
    if rest:
        Guard.permits = lambda *_: True  # type: ignore[method-assign]
        Guard.check = lambda *_: None  # type: ignore[method-assign]
    dns = ("127.0.0.1", int(port))
    broker = urlsplit(os.environ["BOWERBIRD_AMQP_URL"])
    brokers = {(str(info[4][0]), int(info[4][1])) for info in socket.getaddrinfo(broker.hostname, broker.port or 5672, type=socket.SOCK_STREAM)}
    watch(dns, *brokers)

    async def ask(host: str) -> list[str]:
        return await lookup(host, dns)

    return process.run(partial(fetcher, downloader=partial(Downloader, lookup=ask, limits=LIMITS)))


class Watched:
    """Runs the process. `peak` is the most memory that it and its children held, in bytes: the sum of each process's own peak.

    `disk` is the most that was seen in its temporary files, in bytes.
    """

    def __init__(self, loop: str = "uvloop", *, unguarded: bool = False) -> None:
        self._loop = loop
        self._unguarded = unguarded
        self.peaks: dict[int, int] = {}
        self.disk = 0
        self.started = 0

    def with_dns(self, dns: Dns) -> Watched:
        """Has it ask this DNS."""
        self._dns = dns
        return self

    @asynccontextmanager
    async def __call__(self, settings: Settings) -> AsyncIterator[None]:
        """The fetcher at work."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")} | {
            "BOWERBIRD_AMQP_URL": settings.require("amqp_url"),
            "BOWERBIRD_FETCH_ALLOW": ",".join(map(str, settings.fetch_allow)),
            "BOWERBIRD_FETCH_TIMEOUT": f"{settings.fetch_timeout:g}s",
            "BOWERBIRD_RETRY_DELAYS": ",".join(f"{delay:g}s" for delay in settings.retry_delays),
            "BOWERBIRD_MAX_IMAGE_BYTES": str(settings.max_image_bytes),
            "BOWERBIRD_MAX_PIXELS": str(settings.max_pixels),
            "BOWERBIRD_MAX_FRAMES": str(settings.max_frames),
            "BOWERBIRD_FETCH_DISK": str(settings.fetch_disk),
            "BOWERBIRD_LOG_LEVEL": "warning",
        }
        arguments = [str(self._dns.address[1]), self._loop, *(["unguarded"] if self._unguarded else [])]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.security.watched", *arguments, cwd=Path(__file__).parents[2], env=environment
        )
        measuring = asyncio.create_task(self._measure())
        try:
            yield
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)
            self.status = self.process.returncode
            if self.status is None:
                self.process.terminate()
            await self.process.wait()

    @property
    def own_peak(self) -> int:
        """Of the fetcher alone."""
        return self.peaks.get(self.process.pid, 0)

    @property
    def peak(self) -> int:
        """Of the fetcher, and of the two children with the highest: no more run at once."""
        return self.own_peak + sum(sorted((peak for pid, peak in self.peaks.items() if pid != self.process.pid), reverse=True)[:2])

    async def _measure(self) -> None:
        while True:
            for pid in (self.process.pid, *_children(self.process.pid)):
                with contextlib.suppress(OSError, StopIteration, ValueError):
                    line = next(line for line in _status(pid) if line.startswith("VmHWM"))
                    self.peaks[pid] = max(self.peaks.get(pid, 0), int(line.split()[1]) * 1024)
            self.disk = max(self.disk, sum(_temporary(self.process.pid)))
            await asyncio.sleep(0.02)


def _temporary(pid: int) -> Iterator[int]:
    """The sizes of the files without a name that a process has open."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).endswith(" (deleted)"):
                    yield link.stat().st_size


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


if __name__ == "__main__":
    sys.exit(main())
