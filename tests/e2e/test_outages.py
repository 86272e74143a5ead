"""RabbitMQ away under load, and the storer away while images come in: nothing fails, nothing is lost, all goes on after.

TESTS_OUTAGE_SECONDS makes RabbitMQ's absence longer than the suite has time for; the figures are printed (pytest -s).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import statistics
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from services.api.main import api
from services.fetcher.main import fetcher
from services.storer.main import storer
from tests.chaos.proxy import Proxy
from tests.e2e.conftest import Pipeline, running
from tests.origin import Origin, body, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings
    from tests.servers import Servers

pytestmark = pytest.mark.anyio

OUTAGE_SECONDS = float(os.environ.get("TESTS_OUTAGE_SECONDS", "5"))
POSTS_A_SECOND = 50
RECOVERY_SECONDS = 30 + OUTAGE_SECONDS

QUEUE_BOUND = 20
FETCH_CONCURRENCY = 10


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Proxy]:
    assert settings.amqp_url
    async with Proxy(urlsplit(settings.amqp_url).port or 5672) as proxy:
        yield proxy


@pytest.fixture
async def pipeline(settings: Settings, proxy: Proxy) -> AsyncIterator[Pipeline]:
    """With a proxy between RabbitMQ and every service."""
    parts = urlsplit(settings.amqp_url or "")
    between = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
    async with running(dataclasses.replace(settings, amqp_url=between)) as pipeline:
        yield pipeline


async def counts(pipeline: Pipeline) -> dict[str, int]:
    """How many images have each status."""
    found: dict[str, int] = {}
    address = "/images?limit=500"
    while address:
        page: dict[str, Any] = (await pipeline.client.get(address)).raise_for_status().json()
        for item in page["items"]:
            found[item["status"]] = found.get(item["status"], 0) + 1
        address = page["next"]
    return found


async def seconds_until_stored(pipeline: Pipeline, images: int, *, seconds: float) -> float:
    started = time.monotonic()

    async def all_stored() -> bool:
        return await counts(pipeline) == {"stored": images}

    await until(all_stored, seconds=seconds, every=0.1)
    return time.monotonic() - started


@pytest.mark.timeout(120 + 4 * OUTAGE_SECONDS)
@pytest.mark.parametrize("how", ["refusing", "hanging"])
async def test_with_rabbitmq_away_every_post_is_accepted_fast_and_all_are_stored_after(
    pipeline: Pipeline, proxy: Proxy, origin: Origin, how: str
) -> None:
    picture = body(image("PNG"))
    urls = [origin.on(f"/{number}", picture) for number in range(int(POSTS_A_SECOND * OUTAGE_SECONDS))]
    begun = time.monotonic() + 0.1
    answers: list[int] = []
    times: list[float] = []

    async def post(number: int, url: str) -> None:
        # On time, however slow those before it are; and late is slow.
        due = begun + number / POSTS_A_SECOND
        await asyncio.sleep(due - time.monotonic())
        answer = await pipeline.client.post("/images", json={"url": url})
        answers.append(answer.status_code)
        times.append(time.monotonic() - due)

    if how == "refusing":
        proxy.shut()
    else:
        proxy.hold()
    await asyncio.gather(*(post(number, url) for number, url in enumerate(urls)))
    away = time.monotonic() - begun
    assert not origin.hits, "nothing should have come through"
    if how == "refusing":
        await proxy.open()
    else:
        proxy.release()
    recovery = await seconds_until_stored(pipeline, len(urls), seconds=RECOVERY_SECONDS)

    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    sys.stderr.write(
        f"\nRabbitMQ {how} for {away:.1f} s under {len(urls)} POSTs: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {max(times) * 1000:.0f} ms;"
        f" all stored {recovery:.1f} s after it was back; {sum(origin.hits.values())} downloads\n"
    )
    assert set(answers) == {202}
    assert p99 < 1


async def bound_queues(servers: Servers, amqp_url: str) -> None:
    """A policy besides the queues' own arguments: of two bounds RabbitMQ takes the smaller."""
    vhost = urlsplit(amqp_url).path.removeprefix("/")
    policy = {"pattern": "^(storer|fetcher)[.]", "definition": {"max-length": QUEUE_BOUND}, "apply-to": "queues"}
    async with httpx.AsyncClient(base_url=servers.management, trust_env=False, timeout=30) as client:
        (await client.put(f"/api/policies/{vhost}/small", json=policy)).raise_for_status()


async def test_with_the_storer_away_the_fetchers_stop_in_time_and_all_goes_on_when_it_is_back(
    settings: Settings, running_servers: Servers, origin: Origin
) -> None:
    picture = body(image("PNG"))
    urls = [origin.on(f"/{number}", picture) for number in range(300)]
    settings = dataclasses.replace(settings, fetch_concurrency=FETCH_CONCURRENCY)
    await bound_queues(running_servers, settings.amqp_url or "")
    async with AsyncExitStack() as stack:
        for service in (fetcher, api):
            await stack.enter_async_context(service(settings))
        base = f"http://127.0.0.1:{settings.port}"
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, trust_env=False, timeout=30))
        pipeline = Pipeline(settings, client)
        await asyncio.gather(*(pipeline.post(url) for url in urls))

        asked: list[int] = []

        async def stopped() -> bool:
            asked.append(sum(origin.hits.values()))
            return len(asked) > 20 and asked[-1] > 0 and len(set(asked[-20:])) == 1

        await until(stopped, seconds=30, every=0.1)
        # Those that wait in the queue, and those in the fetcher's hands. RabbitMQ notices a little late that a queue is full.
        assert QUEUE_BOUND <= asked[-1] <= 3 * QUEUE_BOUND + FETCH_CONCURRENCY
        assert await counts(pipeline) == {"queued": len(urls)}

        await stack.enter_async_context(storer(settings))
        recovery = await seconds_until_stored(pipeline, len(urls), seconds=60)
        sys.stderr.write(
            f"\nWith the storer away {asked[-1]} of {len(urls)} were asked for; all stored {recovery:.1f} s after it was back,"
            f" {sum(origin.hits.values())} downloads\n"
        )
        assert max(origin.hits.values()) == 1
