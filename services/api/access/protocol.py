"""HTTP as uvicorn and llhttp read it, with the limits that those two don't have: of size, of time, and of connections."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.api.http import problems
from services.api.http.problems import BAD_REQUEST, HEADERS_TOO_LARGE, REQUEST_TIMEOUT, TARGET_TOO_LONG, UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Collection

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from services.api.http.problems import Kind

MAX_TARGET_BYTES = 8 * 1024
"""Of the request line's path and query: three times what the longest URL takes, percent-encoded."""
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024
MAX_FRAMING_BYTES = 1024**2
"""What a chunked body may have beside its bytes: the chunks' sizes, extensions and trailers."""
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep idle connections (60 s for most), so that it is they who close them, and no request meets a closing one."""
LINGER_SECONDS = 5.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process. `request_seconds` are for a whole request, from its first byte (on a new connection, from when that is made).

    `stall_seconds` are for a client to take what was sent, a MiB at most: slower than 9 kB a second is given up.
    """

    connections: int
    request_seconds: float = 30.0
    stall_seconds: float = 120.0
    sweep_seconds: float = 1.0


class Protocol(HttpToolsProtocol):
    """One connection. `deadline` is the loop's time by which the client has to have done what it is waited for; None when it's the server's turn."""

    def __init__(self, *args: Any, limits: Limits, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more)
        self.deadline: float | None = None
        self._limits = limits
        self._in_head = self._arrived = True
        self._beside_the_body = 0  # bytes
        self._stalled_at = math.inf
        self._kind = BAD_REQUEST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Makes room, when there are too many, by closing the connection that would be closed next anyway."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + self._limits.request_seconds
        if len(self.connections) > self._limits.connections:
            waited_for = [c for c in self.connections if isinstance(c, Protocol) and c is not self and c.deadline is not None]
            min(waited_for, key=lambda connection: connection.deadline or 0, default=self).refuse(UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        """Counts what comes; nothing is held for a request beyond these limits."""
        self._beside_the_body += len(data)
        super().data_received(data)
        if self._beside_the_body > (MAX_HEAD_BYTES if self._in_head else MAX_FRAMING_BYTES) and not self.transport.is_closing():
            self.refuse(HEADERS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._arrived = False
        self.deadline = self.loop.time() + self._limits.request_seconds

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        if len(self.url) > MAX_TARGET_BYTES:
            self._stop(TARGET_TOO_LONG)
        many = len(self.headers) > MAX_HEADERS
        if many or (self._beside_the_body > MAX_HEAD_BYTES and sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES):
            self._stop(HEADERS_TOO_LARGE)
        super().on_headers_complete()
        self._in_head = False
        self.headers = []  # for trailers, which are nobody's headers

    def on_body(self, body: bytes) -> None:
        """A part of its body, whose length the application limits."""
        self._beside_the_body -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._in_head = self._arrived = True
        self._beside_the_body = 0
        self.deadline = self._idle_until() if self.cycle.response_complete else None

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        if self._arrived and self.cycle.response_complete:
            self.deadline = self._idle_until()

    def pause_writing(self) -> None:
        """The client doesn't take what was sent."""
        super().pause_writing()
        self._stalled_at = self.loop.time()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stalled_at = math.inf

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """A problem, as every other error."""
        self.refuse(self._kind)

    def refuse(self, kind: Kind) -> None:
        """Closes the connection, saying why if no other answer could be mistaken for this one."""
        self.deadline = self.loop.time() + LINGER_SECONDS
        unused = cast("RequestResponseCycle | None", self.cycle) is None
        due = not self._arrived or unused or kind is BAD_REQUEST
        if due and (self._is_answered() if self._in_head else not self.cycle.response_started):
            head = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            self.transport.write(STATUS_LINE[kind.status] + head + problems.bare(kind))
        self.transport.close()

    def expire(self, now: float) -> None:
        """Closes the connection if its client has been waited for long enough."""
        late = self.deadline is not None and now > self.deadline
        if now - self._stalled_at > self._limits.stall_seconds or (late and self.transport.is_closing()):
            self.transport.abort()
        elif late and self._arrived:
            self.deadline = now + LINGER_SECONDS
            self.transport.close()
        elif late and (self._is_answered() or not self._in_head):
            self.refuse(REQUEST_TIMEOUT)

    def _stop(self, kind: Kind) -> NoReturn:
        self._kind = kind
        raise ValueError(kind.name)  # has the parser stop, and send_400_response called

    def _is_answered(self) -> bool:
        """Whether there is no answer due to the request before the one that is arriving, or may arrive."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _idle_until(self) -> float:
        return self.loop.time() + KEEP_ALIVE_SECONDS + LINGER_SECONDS


async def sweep(connections: Collection[Any], every: float) -> None:
    """Has connections expire, until cancelled. One look at all of them is cheaper than a timer for each request."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every)
        for connection in tuple(connections):
            connection.expire(loop.time())
