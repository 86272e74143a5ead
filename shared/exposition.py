"""Shows a process's metrics to Prometheus, on a port of its own.

Not on the api's port alone: that one may be public, several processes may share it, and fetchers and storers have none. What is served here
is figures, without a host, an id or a URL in them; nobody is asked for a key, so that the port belongs into a network of one's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from shared.errors import SettingsError
from shared.metrics import REGISTRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from prometheus_client import Metric

    from shared.settings import Settings

log = logging.getLogger("bowerbird.metrics")

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
HEAD_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
REFRESH_SECONDS = 2.0
"""Much less than the 10 s after which Prometheus gives a scrape up: what isn't there by then is missing from it."""
AT_ONCE = 8
"""Connections: one Prometheus needs one of them."""
PATH = b"/metrics"


class Figures(Protocol):
    """Metrics that must be asked for, of a server: `refresh` does that, and `collect` gives what was last heard."""

    async def refresh(self) -> None:
        """Asks, or is content with what was heard a short while ago. Raises nothing when there is no answer: then there are no figures."""

    def collect(self) -> Iterable[Metric]:
        """The figures."""


_shown: list[Figures] = []


@contextmanager
def showing(figures: Figures) -> Iterator[None]:
    """Has figures among the metrics for as long as the block takes."""
    REGISTRY.register(figures)
    _shown.append(figures)
    try:
        yield
    finally:
        _shown.remove(figures)
        REGISTRY.unregister(figures)


async def text(*, seconds: float = REFRESH_SECONDS) -> bytes:
    """All metrics of this process, in Prometheus' text format, but for figures that take longer than `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for error in await asyncio.gather(*(figures.refresh() for figures in _shown), return_exceptions=True):
                if error:
                    log.error("some metrics are missing", exc_info=error)
    return generate_latest(REGISTRY)


@asynccontextmanager
async def exposing(settings: Settings, *, seconds: float = REQUEST_SECONDS) -> AsyncIterator[None]:
    """Serves GET /metrics for the length of the block, if BOWERBIRD_METRICS_PORT is set; a client has so many seconds for all of it.

    Raises SettingsError when nothing can listen there.
    """
    if settings.metrics_port is None:
        yield
        return
    served: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(served) >= AT_ONCE:
            writer.close()
            return
        task = asyncio.create_task(_serve(reader, writer, seconds))
        served.add(task)
        task.add_done_callback(served.discard)

    try:
        server = await asyncio.start_server(connected, settings.metrics_host, settings.metrics_port, limit=HEAD_BYTES)
    except (OSError, UnicodeError) as error:
        where = f"{settings.metrics_host} port {settings.metrics_port}"
        said = getattr(error, "strerror", None) or error
        raise SettingsError([f"Metrics can't be shown on {where}: {said} (BOWERBIRD_METRICS_HOST, BOWERBIRD_METRICS_PORT)."]) from None
    of_the_process = (ProcessCollector(registry=REGISTRY), PlatformCollector(registry=REGISTRY), GCCollector(registry=REGISTRY))
    try:
        yield
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        for collector in of_the_process:
            REGISTRY.unregister(collector)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """One request, and the end of the connection (RFC 9112, section 9.6): a scrape is all that is served, and those are far between."""
    try:
        async with asyncio.timeout(seconds):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = [*head.partition(b"\r\n")[0].split(b" "), b"", b""]
            writer.write(await _answer(method, target.partition(b"?")[0]))
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        log.debug("a connection for metrics ended without a request")
    finally:
        writer.close()


async def _answer(method: bytes, path: bytes) -> bytes:
    if path != PATH:
        return _response("404 Not Found", "text/plain", b"The metrics are at /metrics.\n")
    if method not in {b"GET", b"HEAD"}:
        return _response("405 Method Not Allowed", "text/plain", b"Metrics can be read, with GET.\n", "Allow: GET, HEAD")
    body = await text()
    answer = _response("200 OK", CONTENT_TYPE, body)
    return answer if method == b"GET" else answer[: -len(body)]


def _response(status: str, content_type: str, body: bytes, *more: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close",
        "X-Content-Type-Options: nosniff", "Cache-Control: no-store", *more,
    ]  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode() + body
