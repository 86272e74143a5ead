"""What metrics cost: those of Litestar's and FastStream's plug-ins, and ours. `python -m bench.metrics`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from faststream.rabbit.prometheus import RabbitPrometheusMiddleware
from litestar import Litestar, get
from litestar.plugins.prometheus import PrometheusConfig
from prometheus_client import CollectorRegistry, generate_latest

from services.api.monitoring.metering import Metered
from shared import exposition, metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TIMES = 500
ROUNDS = 60
MICROSECONDS = 1e6


async def best(*calls: Callable[[], Awaitable[object]], times: int = TIMES) -> list[float]:
    """Microseconds of each call, in the fastest of its rounds: the others had company. By turns, so that all have the same."""
    found = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for number, call in enumerate(calls):
            began = time.perf_counter()
            for _ in range(times):
                await call()
            found[number] = min(found[number], (time.perf_counter() - began) / times * MICROSECONDS)
    return found


async def nothing(*_: object, **__: object) -> None:
    """What is measured around."""


def a_request(app: Any) -> Callable[[], Awaitable[object]]:  # noqa: ANN401  (any ASGI application)
    """A GET of a route with a parameter."""

    async def receive() -> Any:  # noqa: ANN401  (an ASGI message)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def call() -> None:
        scope = {
            "type": "http", "method": "GET", "path": "/images/abc", "raw_path": b"/images/abc", "query_string": b"", "headers": [(b"host", b"a")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "scheme": "http", "http_version": "1.1", "root_path": "", "extensions": {},
        }  # fmt: skip
        await app(scope, receive, nothing)

    return call


@get("/images/{image:str}")
async def image(image: str) -> bytes:  # noqa: ARG001  (as a route has it)
    """As little as a route can do."""
    return b"x"


async def requests() -> None:
    """Of a request: nothing, Litestar's middleware, ours."""
    bare = Litestar([image], openapi_config=None, logging_config=None)
    theirs = Litestar([image], middleware=[PrometheusConfig(group_path=True).middleware], openapi_config=None, logging_config=None)

    async def ours(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  (ASGI)
        await bare(scope, receive, Metered(scope, send))

    base, litestar, own = await best(a_request(bare), a_request(theirs), a_request(ours))
    for name, took in (("Litestar's middleware", litestar), ("services/api/monitoring/metering.py", own)):
        print(f"a request   {name:32} {took - base:6.1f} µs more than {base:.1f} µs without")


async def messages() -> None:
    """Of a message: FastStream's middleware around handling and publishing, and ours."""
    middleware: Any = RabbitPrometheusMiddleware(registry=CollectorRegistry())
    raw: Any = SimpleNamespace(exchange="bowerbird", routing_key="image-fetched")
    message: Any = SimpleNamespace(raw_message=raw, body=b"x", source_type=None, committed=None)
    command: Any = SimpleNamespace(
        publish_type=None, exchange=SimpleNamespace(name="bowerbird"), routing_key="image-fetched", destination="x", batch_bodies=(b"x",)
    )

    async def consumed() -> None:
        await middleware(raw, context=None).consume_scope(nothing, message)

    async def published() -> None:
        await middleware(None, context=None).publish_scope(nothing, command)

    since = datetime.now(UTC)

    async def our_consumed() -> None:
        began = time.perf_counter()
        metrics.waited("storer.image-fetched", since)
        metrics.HANDLED["storer.image-fetched", "acked"].observe(time.perf_counter() - began)

    async def our_published() -> None:
        with metrics.Timed(metrics.PUBLISHED, "image-fetched"):
            pass

    base, *took = await best(nothing, consumed, our_consumed, published, our_published)
    for what, each in zip(
        ("FastStream's middleware, handled", "shared/metrics.py, handled", "FastStream's, published", "shared/metrics.py, published"),
        took,
        strict=True,
    ):
        print(f"a message   {what:32} {each - base:6.1f} µs")


async def an_image() -> None:
    """All that is counted of an image: submitted, downloaded, recognised, stored in a batch of 16; without what it is served."""
    scope: Any = {"method": "POST", "path_template": "/images"}
    start: Any = {"type": "http.response.start", "status": 202, "headers": []}
    body: Any = {"type": "http.response.body", "body": b"x" * 500}
    requested, fetched = datetime.now(UTC), datetime.now(UTC)
    written = metrics.batched("bench", nothing)
    batches = ["added", "dispatched", "fetched"]
    number = 0

    async def count() -> None:
        nonlocal number
        number += 1
        send = Metered(scope, nothing)
        await send(start)
        await send(body)
        for event in ("download-requested", "image-fetched"):
            with metrics.Timed(metrics.PUBLISHED, event):
                pass
        for queue, since in (("fetcher.download-requested", requested), ("storer.image-fetched", fetched)):
            metrics.waited(queue, since)
            metrics.HANDLED[queue, "acked"].observe(0.1)
        metrics.DOWNLOADED_BYTES.inc(80_000)
        with metrics.Timed(metrics.RECOGNISED):
            pass
        metrics.FETCHES["image-fetched", ""].observe(0.1)
        if number % 16 == 0:
            for _ in batches:
                await written([1] * 16)
            metrics.OUTCOMES["stored",].inc(16)
            metrics.STORED_BYTES.inc(16 * 80_000)
            metrics.SAME_BYTES.inc(0)

    base, took = await best(nothing, count)
    print(f"an image    {'all of shared/metrics.py':32} {took - base:6.1f} µs, in three processes")


async def a_scrape() -> None:
    """Of a scrape, every few seconds."""
    size = len(await exposition.text())

    async def scrape() -> None:
        generate_latest(metrics.REGISTRY)

    [took] = await best(scrape, times=5)
    print(f"a scrape    {f'of {size:,} bytes':32} {took:6.0f} µs")


async def main() -> None:
    """All of it."""
    await requests()
    await messages()
    await an_image()
    await a_scrape()


if __name__ == "__main__":
    asyncio.run(main())
