"""What is refused before it is a request: too large, too slow, too many. A real listener, an application of the tests' own."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from services.api.access import listening
from services.api.access.protocol import MAX_FRAMING_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, Limits
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = pytest.mark.anyio

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"x" * 1024**2


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, except under /deaf; answers with the headers it saw, or under /large with a MiB, again and again."""
    if scope["path"] != "/deaf":
        while (await receive()).get("more_body"):
            pass
    large = scope["path"] == "/large"
    body = json.dumps([name.decode() for name, _ in scope["headers"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [] if large else [(b"content-length", str(len(body)).encode())]})
    for _ in range(64 * large):
        await send({"type": "http.response.body", "body": BODY, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if large else body})


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:-2])
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(data)
        return await self.answer()

    async def refused(self, status: int, kind: str) -> None:
        """Says that, and closes."""
        answered, headers, body = await self.answer()
        problem = json.loads(body)
        assert (answered, problem["status"], problem["type"]) == (status, status, f"/problems/{kind}")
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["connection"] == "close"
        await self.closed()

    async def closed(self) -> None:
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(self.reader.read(), 20) == b""

    async def pour(self, pieces: Iterable[bytes], pause: float = 0) -> int:
        """Sends until the connection is closed; how many pieces that took."""
        for number, piece in enumerate(pieces):
            try:
                self.writer.write(piece)
                await self.writer.drain()
            except OSError:
                return number
            except RuntimeError:  # uvloop's word for a connection that the other side has closed
                if not self.writer.is_closing():
                    raise
                return number
            await asyncio.sleep(pause)
        pytest.fail("Everything was taken.")


class Server:
    def __init__(self, port: int) -> None:
        self.port = port

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def server(**limits: Any) -> AsyncIterator[Server]:
    with closing(listening.listen(Settings(port=0))) as listener:
        found = Limits(**{"connections": 100, "sweep_seconds": 0.05, **limits})
        async with listening.serving(app, listener, grace=1, limits=found):
            yield Server(listener.getsockname()[1])


async def test_what_is_within_the_limits_is_served_on_one_connection() -> None:
    padding = b"".join(b"x-%d: 1\r\n" % number for number in range(MAX_HEADERS - 1))
    async with server() as here, here.connection() as connection:
        for _ in range(3):
            assert (await connection.ask(HEAD + padding + b"\r\n"))[0] == 200
            assert (await connection.ask(b"GET /?" + b"q" * (MAX_TARGET_BYTES - 2) + b" HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
            assert (await connection.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000))[0] == 200
            assert (await connection.ask(HEAD + b"x: " + b"y" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n"))[0] == 200


@pytest.mark.parametrize(
    ("data", "status", "kind"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad-request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad-request"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "bad-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad-request"),
        (b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
        (HEAD + b"".join(b"x-%d: 1\r\n" % number for number in range(MAX_HEADERS)) + b"\r\n", 431, "headers-too-large"),
        (HEAD + b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "headers-too-large"),
        (HEAD + b"x: " + b"y" * MAX_HEAD_BYTES, 431, "headers-too-large"),
        (HEAD + b"x" * MAX_HEAD_BYTES, 431, "headers-too-large"),
        (b"GET /" + b"x" * MAX_HEAD_BYTES, 431, "headers-too-large"),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
async def test_what_is_not_is_a_problem_and_the_end_of_the_connection(data: bytes, status: int, kind: str) -> None:
    async with server() as here, here.connection() as connection:
        connection.writer.write(data)
        await connection.refused(status, kind)


async def test_endless_headers_end() -> None:
    async with server() as here, here.connection() as connection:
        connection.writer.write(HEAD)
        assert await connection.pour(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100_000)) < 30_000


async def test_endless_trailers_and_chunk_extensions_end_and_are_no_headers() -> None:
    for endless in (b"x-%d: %s\r\n", b"x%d%s"):
        async with server() as here, here.connection() as connection:
            connection.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            sent = 10_000 * await connection.pour(endless % (number, b"y" * 10_000) for number in range(10_000))
            assert sent < MAX_FRAMING_BYTES + 32 * 1024**2, "what the kernel's buffers hold may be beyond"
    async with server() as here, here.connection() as connection:
        request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        assert json.loads((await connection.ask(request))[2]) == ["host", "transfer-encoding"]


@pytest.mark.parametrize(
    "beginning",
    [
        HEAD,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1",
    ],
)
async def test_a_request_that_comes_slowly_is_given_up(beginning: bytes) -> None:
    # Bytes that came after it has closed the connection would have the answer thrown away: time enough for them to come before.
    async with server(request_seconds=1.0) as here, here.connection() as connection:
        started = time.monotonic()
        connection.writer.write(beginning)
        for _ in range(5):  # bytes that come don't put it off
            await asyncio.sleep(0.05)
            connection.writer.write(b"1")
        await connection.refused(408, "request-timeout")
        assert 0.95 < time.monotonic() - started < 5


async def test_a_connection_without_a_request_is_closed_without_a_word() -> None:
    async with server(request_seconds=0.2) as here, here.connection() as connection:
        await connection.closed()


async def test_a_body_that_drips_on_after_the_answer_ends_with_the_connection() -> None:
    async with server(request_seconds=0.3) as here, here.connection() as connection:
        assert (await connection.ask(b"POST /deaf HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\na"))[0] == 200
        await connection.pour([b"a"] * 400, pause=0.02)


async def test_time_between_requests_is_not_held_against_a_connection() -> None:
    async with server(request_seconds=0.2) as here, here.connection() as connection:
        for _ in range(3):
            assert (await connection.ask(HEAD + b"\r\n"))[0] == 200
            await asyncio.sleep(0.4)
        # Pipelined: both are answered.
        assert (await connection.ask((HEAD + b"\r\n") * 2))[0] == 200
        assert (await connection.answer())[0] == 200


async def test_a_client_that_does_not_read_is_given_up() -> None:
    async with server(stall_seconds=0.3) as here, here.connection() as connection:
        connection.writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1.5)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await connection.reader.readexactly(65 * 1024**2)


async def test_who_waits_longest_makes_room_for_new_connections() -> None:
    async with server(connections=3) as here, here.connection() as first, here.connection() as second, here.connection() as third:
        for connection in (second, third):
            assert (await connection.ask(HEAD + b"\r\n"))[0] == 200
        first.writer.write(b"GET / HT")
        await asyncio.sleep(0.05)
        async with here.connection() as fourth:
            await first.refused(503, "unavailable")
            for connection in (second, third, fourth):
                assert (await connection.ask(HEAD + b"\r\n"))[0] == 200


async def test_a_thousand_slow_connections_keep_nobody_out() -> None:
    async with server(connections=50) as here:
        async with asyncio.TaskGroup() as group:
            opened = [group.create_task(asyncio.open_connection("127.0.0.1", here.port)) for _ in range(300)]
        for task in opened:
            task.result()[1].write(b"GET / HTTP/1.1\r\n")
        async with here.connection() as connection:
            assert (await connection.ask(HEAD + b"\r\n"))[0] == 200
        for task in opened:
            task.result()[1].transport.abort()
