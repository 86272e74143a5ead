"""One slow host beside fast ones: the fast ones finish about as if it were not there.

TESTS_SLOW_HOST=full takes the size that the reliability page speaks of; the figures are printed (pytest -s).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from shared.settings import Settings
from tests.e2e.conftest import running
from tests.origin import Origin, body, delayed, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Pipeline

pytestmark = pytest.mark.anyio

FULL = os.environ.get("TESTS_SLOW_HOST") == "full"
URLS = 500 if FULL else 60
"""On the slow host, and as many on the fast ones together."""
SLOW_SECONDS = 10.0 if FULL else 4.0
FAST_SECONDS = 0.02
FAST_HOSTS = 5
DEFAULTS = Settings()
HOST_CONCURRENCY = DEFAULTS.host_concurrency if FULL else 2
FETCH_CONCURRENCY = DEFAULTS.fetch_concurrency if FULL else 20
"""The prefetch window: fewer than the slow host has URLs, so that they could fill it."""
RETRY_DELAYS = DEFAULTS.retry_delays if FULL else (0.5, 2.0, 8.0)

RATIO = 2.0
"""Twice as many URLs are submitted and looked at."""
SLACK_SECONDS = 2.0
"""Less than a single turn of the slow host, so that none is waited for; more than the time for which a turn is waited for (hosts.py)."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Nobody waits for the slow ones at the end either.
    return dataclasses.replace(settings, host_concurrency=HOST_CONCURRENCY, fetch_concurrency=FETCH_CONCURRENCY, retry_delays=RETRY_DELAYS, grace=0.1)


def paths(run: str) -> Iterator[str]:
    """Which differ from run to run: a URL is submitted once."""
    return (f"/{run}/{number}" for number in range(URLS))


async def submit(pipeline: Pipeline, urls: list[str]) -> None:
    async def some(start: int) -> None:
        for url in urls[start::10]:
            await pipeline.post(url)

    await asyncio.gather(*(some(start) for start in range(10)))


async def statuses(pipeline: Pipeline, urls: list[str]) -> dict[str, str]:
    """The status of each of some URLs' images."""
    found: dict[str, str] = {}
    address = "/images?limit=500"
    while address:
        page = (await pipeline.client.get(address)).raise_for_status().json()
        found |= {item["source_url"]: item["status"] for item in page["items"]}
        address = page["next"]
    return {url: found[url] for url in urls}


async def seconds_until_stored(pipeline: Pipeline, urls: list[str], started: float) -> float:
    async def all_stored() -> bool:
        return set((await statuses(pipeline, urls)).values()) == {"stored"}

    await until(all_stored, seconds=100, every=0.1)
    return time.monotonic() - started


@pytest.mark.timeout(600 if FULL else 120)
async def test_fast_hosts_finish_as_if_a_slow_one_were_not_there(settings: Settings) -> None:
    picture = body(image("PNG"))
    async with AsyncExitStack() as stack:
        # In threads of their own: what is measured is the pipeline.
        slow, *fast = [stack.enter_context(Origin(f"127.77.0.{number + 1}")) for number in range(1 + FAST_HOSTS)]
        pipeline = await stack.enter_async_context(running(settings))

        alone = [fast[number % FAST_HOSTS].on(path, delayed(FAST_SECONDS, picture)) for number, path in enumerate(paths("alone"))]
        started = time.monotonic()
        await submit(pipeline, alone)
        without = await seconds_until_stored(pipeline, alone, started)

        beside = [fast[number % FAST_HOSTS].on(path, delayed(FAST_SECONDS, picture)) for number, path in enumerate(paths("beside"))]
        held_up = [slow.on(path, delayed(SLOW_SECONDS, picture)) for path in paths("slow")]
        mixed = [url for pair in zip(held_up, beside, strict=True) for url in pair]
        started = time.monotonic()
        await submit(pipeline, mixed)
        with_slow = await seconds_until_stored(pipeline, beside, started)

        left = list((await statuses(pipeline, held_up)).values())
        sys.stderr.write(
            f"\n{URLS} URLs on fast hosts: {without:.2f} s alone, {with_slow:.2f} s beside {URLS} URLs on a host that takes {SLOW_SECONDS:g} s;"
            f" of those {left.count('stored')} were stored by then\n"
        )
        assert with_slow < RATIO * without + SLACK_SECONDS
        assert set(left) <= {"queued", "stored"}
        assert "queued" in left, "the slow ones should still be under way"
