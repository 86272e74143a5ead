"""HTTP requests from several processes, as cheaply as Python can: a protocol for each connection, no parser but for status and length.

Closed loop: a connection sends its next request when it has its answer; says how many a second can be served.
Open loop: requests fall due at a constant rate whether or not the former are answered, and each one's time counts from when it was
due, so that a server that stalls is charged for everybody who would have waited.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from array import array
from collections import Counter, deque
from typing import TYPE_CHECKING

from bench import crew
from bench.measure import BenchError, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.crew import Go

HOST = "127.0.0.1"
NO_BODY = (204, 304)
LINE = b"\r\n"


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as it is sent; underscores in the names of headers are hyphens."""
    headers |= {"content_type": "application/json", "content_length": str(len(body))} if body else {}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n".encode() + body


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One process's part of a load: a request for each number, on so many connections, for `seconds` at most; `rate` makes it an open loop."""

    port: int
    request: Callable[[int], bytes]
    numbers: range
    connections: int
    rate: float | None
    seconds: float

    async def __call__(self, go: Go) -> tuple[array[float], Counter[int], float]:
        """The latencies in seconds, how often each status came (0: a broken connection), and when the last answer came."""
        client = _Client(self)
        await client.connect()
        await go()
        await client.run()
        return client.latencies, client.statuses, client.last


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load measured. `latencies` are in seconds, in their order for each process; `began` is of the monotonic clock."""

    rate: float
    latencies: Sequence[float]
    statuses: Counter[int]
    began: float
    took: float
    cpu_seconds: float

    @property
    def cores(self) -> float:
        """How many the load itself took."""
        return self.cpu_seconds / self.took

    def p(self, part: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        return 1000 * percentile(self.latencies, part)


async def load(  # noqa: PLR0913  (a load has as many sides)
    port: int, request: Callable[[int], bytes], numbers: range, *, expect: int,
    processes: int = 2, connections: int = 32, rate: float | None = None, seconds: float = 60.0,
) -> Loaded:  # fmt: skip
    """Sends a request for each number, for `seconds` at most, from several processes. Raises BenchError unless all answers have one status."""
    parts = [
        Part(
            port=port, request=request, numbers=numbers[number::processes], connections=connections // processes,
            rate=rate and rate / processes, seconds=seconds,
        )
        for number in range(processes)
    ]  # fmt: skip
    outcomes = await crew.together(parts, seconds=seconds + 60)
    statuses: Counter[int] = sum((outcome.value[1] for outcome in outcomes), Counter())
    if set(statuses) != {expect}:
        raise BenchError(f"expected answers {expect}, got {dict(statuses)}")
    if rate and statuses[expect] < len(numbers):
        raise BenchError(f"of {len(numbers):,} requests that fell due, {statuses[expect]:,} were answered within {seconds:g} s")
    began = min(outcome.began for outcome in outcomes)
    took = max(outcome.value[2] for outcome in outcomes) - began
    return Loaded(
        rate=statuses[expect] / took,
        latencies=[latency for outcome in outcomes for latency in outcome.value[0]],
        statuses=statuses,
        began=began,
        took=took,
        cpu_seconds=sum(outcome.cpu for outcome in outcomes),
    )


class _Client:
    def __init__(self, part: Part) -> None:
        self._part = part
        self._numbers = iter(part.numbers)
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()  # when each request that waits for a connection was due
        self._busy = 0
        self._ended = False
        self._finished = asyncio.Event()
        self.latencies: array[float] = array("d")
        self.statuses: Counter[int] = Counter()
        self.last = 0.0

    async def connect(self) -> None:
        """Opens all connections, before anything is timed."""
        loop = asyncio.get_running_loop()
        for _ in range(self._part.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), HOST, self._part.port)
            self._idle.append(connection)

    async def run(self) -> None:
        """Sends everything; returns when all that was sent is answered."""
        loop = asyncio.get_running_loop()
        ending = loop.call_later(self._part.seconds, self._end)
        if self._part.rate is None:
            while self._idle and not self._ended:
                self._send(self._idle.pop(), time.monotonic())
        else:
            await self._at_a_rate(self._part.rate)
        self._end_if_done()
        await self._finished.wait()
        ending.cancel()

    async def _at_a_rate(self, rate: float) -> None:
        start = time.monotonic()
        for number in range(len(self._part.numbers)):
            due = start + number / rate
            while (early := due - time.monotonic()) > 0:  # noqa: ASYNC110  (it is the clock that is waited for)
                await asyncio.sleep(early)
            if self._ended:
                break
            if self._idle:
                self._send(self._idle.pop(), due)
            else:
                self._due.append(due)
        self._ended = True

    def answered(self, connection: _Connection, status: int, due: float) -> None:
        """A connection is free again."""
        self.last = now = time.monotonic()
        self.latencies.append(now - due)
        self.statuses[status] += 1
        self._busy -= 1
        if self._part.rate is None and not self._ended:
            self._send(connection, now)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)
        self._end_if_done()

    def broken(self) -> None:
        """A connection was lost with a request on it."""
        self.statuses[0] += 1
        self._busy -= 1
        self._ended = True
        self._due.clear()
        self._end_if_done()

    def _send(self, connection: _Connection, due: float) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._ended = True
            return
        self._busy += 1
        connection.send(self._part.request(number), due)

    def _end(self) -> None:
        self._ended = True
        self._due.clear()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._ended and not self._busy and not self._due:
            self._finished.set()


class _Connection(asyncio.Protocol):
    def __init__(self, client: _Client) -> None:
        self._client = client
        self._due: float | None = None
        self._head = b""
        self._left = 0
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)  # type: ignore[attr-defined]  # a TCP transport writes

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(LINE + LINE)
            if end < 0:
                return
            head, body = self._head[:end], len(self._head) - end - 4
            self._head = b""
            self._status = int(head[9:12])
            self._left = (0 if self._status in NO_BODY else _length(head)) - body
        if self._left <= 0 and self._due is not None:
            due, self._due, self._left = self._due, None, 0
            self._client.answered(self, self._status, due)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        if self._due is not None:
            self._due = None
            self._client.broken()


def _length(head: bytes) -> int:
    for line in head.split(LINE):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"no content-length in {head!r}")
