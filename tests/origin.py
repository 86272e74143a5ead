"""An HTTP origin on loopback that does whatever a test wants, well-behaved or hostile, and counts who came.

    async with Origin("127.77.0.1") as origin:
        origin.on("/a.png", body(image("PNG"), "image/png"))
        origin.on("/busy", sequence(status(503, retry_after="1"), body(image("PNG"))))
        … origin.url("/a.png") …
        assert origin.hits["/a.png"] == 1

`with Origin(…)` (without async) runs it in a thread with an event loop of its own, for tests that have none. A path
without a behaviour answers 404. An origin without any is a canary: assert that `connections` is 0.

A behaviour is `async (request, writer) -> None` and writes any bytes at all; those below cover the usual cases. A
connection is kept alive unless the behaviour closes its writer.
"""

from __future__ import annotations

import asyncio
import functools
import gzip as gzip_module
import io
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

from PIL import Image

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

PORTS = range(8000, 9000)
"""Those that settings allow by default."""


class Request(NamedTuple):
    """A request as it came: the target is the bytes between the spaces; names of headers are in lower case."""

    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


if TYPE_CHECKING:
    Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A server. `hits` and `peak` (most requests at once) are by path; `requests` has all of them in order."""

    def __init__(self, address: str = "127.77.0.1", port: int | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.connections = 0
        self.hits: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.socket = _listen(address, port)
        self.port = self.socket.getsockname()[1]
        self._tls = tls
        self._behaviours: dict[str, Behaviour] = {}
        self._active: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    def on(self, path: str, behaviour: Behaviour) -> str:
        """Sets what a path does, and returns its URL. The query isn't part of it."""
        self._behaviours[path] = behaviour
        return self.url(path)

    def url(self, target: str, host: str | None = None) -> str:
        """The URL of a target here, by the address or by a name that the test's DNS has for it."""
        shown = host or (f"[{self.address}]" if ":" in self.address else self.address)
        return f"{'https' if self._tls else 'http'}://{shown}:{self.port}{target}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, sock=self.socket, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __enter__(self) -> Self:
        started, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()

        async def serve() -> None:
            async with self:
                started.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),), name=f"origin {self.address}", daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread:
            self._thread.join()
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            while not writer.is_closing():
                await self._answer(_parse(await reader.readuntil(b"\r\n\r\n")), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, asyncio.CancelledError):
            pass  # the client left, as it may, or the test is over
        except RuntimeError:
            if not writer.is_closing():  # uvloop's word for a connection that the client has closed
                raise
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.path
        self.requests.append(request)
        self.hits[path] += 1
        self._active[path] += 1
        self.peak[path] = max(self.peak[path], self._active[path])
        try:
            await self._behaviours.get(path, status(404))(request, writer)
        finally:
            self._active[path] -= 1


def image(name: str = "JPEG", size: tuple[int, int] = (64, 48), seed: int = 0) -> bytes:
    """A small image in a format of Pillow's; another seed gives other bytes."""
    return _image(name, size, seed)


@functools.cache
def _image(name: str, size: tuple[int, int], seed: int) -> bytes:
    file = io.BytesIO()
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    colour = (seed % 256, seed // 256 % 256, seed // 65536 % 256)
    Image.blend(picture, Image.new("RGB", size, colour), 0.5).save(file, name, **({"sizes": [size]} if name == "ICO" else {}))
    return file.getvalue()


def head(code: int = 200, **headers: str | int | None) -> bytes:
    """The start of an answer: status and headers (underscores for hyphens; None leaves one out)."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"HTTP/1.1 {code} Whatever\r\n{''.join(lines)}\r\n".encode("utf-8", "surrogateescape")


def body(content: bytes, content_type: str | None = "image/jpeg", code: int = 200, **headers: str) -> Behaviour:
    """A plain answer."""
    return raw(head(code, content_type=content_type, content_length=len(content), **headers) + content, close=False)


def status(code: int, content: bytes = b"", **headers: str) -> Behaviour:
    """A status with headers."""
    return raw(head(code, content_length=len(content), **headers) + content, close=False)


def redirect(location: str, code: int = 302) -> Behaviour:
    """A redirect to a location, which is sent as it is, as UTF-8."""
    return status(code, location=location)


def raw(*pieces: bytes, close: bool = True) -> Behaviour:
    """Exactly these bytes, and the end of the connection."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            writer.close()

    return behave


def chunked(pieces: Iterable[bytes], *, end: bool = True, content_type: str = "image/jpeg") -> Behaviour:
    """A body in chunks, without a length; `pieces` may be endless. Without `end` it stops before its last chunk."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type=content_type, transfer_encoding="chunked"))
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return behave


def truncated(content: bytes, missing: int = 1) -> Behaviour:
    """A body shorter than its Content-Length by so many bytes."""
    return raw(head(content_type="image/jpeg", content_length=len(content)) + content[:-missing])


def gzip(content: bytes) -> Behaviour:
    """A body in gzip, whether it was asked for or not."""
    return body(gzip_module.compress(content), content_encoding="gzip")


def endless_headers() -> Behaviour:
    """Headers that never end."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-More: of the same\r\n" * 100)
            await writer.drain()

    return behave


def drip(content: bytes, *, every: float) -> Behaviour:
    """A body that comes a byte at a time, so many seconds apart."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_type="image/jpeg", content_length=len(content)))
        for at in range(len(content)):
            writer.write(content[at : at + 1])
            await writer.drain()
            await asyncio.sleep(every)

    return behave


def silent() -> Behaviour:
    """Takes the request and never answers."""

    async def behave(_: Request, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return behave


def delayed(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Another behaviour, later."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await behaviour(request, writer)

    return behave


def held(gate: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """Another behaviour, once the gate is open: for tests that must see what happens meanwhile."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await behaviour(request, writer)

    return behave


def sequence(*behaviours: Behaviour) -> Behaviour:
    """One behaviour after the other, the last for ever."""
    left = list(behaviours)

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return behave


def _parse(data: bytes) -> Request:
    first, *lines = data.decode("latin-1").split("\r\n")
    return Request(first.split(" ")[1], {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)})


def _listen(address: str, port: int | None) -> socket.socket:
    for candidate in [port] if port is not None else PORTS:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            # Ports are few, and those of connections that have just ended are free for us; one that is listened on is not.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, candidate))
            listener.listen(1024)
        except OSError:
            listener.close()
        else:
            return listener
    raise OSError(f"no port of {address} is free")
