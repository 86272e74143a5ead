"""Soft stop, then hard stop: what SIGTERM and a second SIGTERM do to a service at work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared import events, topology, urls
from shared.broker import Publisher
from shared.status import now
from tests.api import taken
from tests.origin import body, held, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.origin import Origin

pytestmark = pytest.mark.anyio

GRACE = 8


@asynccontextmanager
async def fetcher_process(amqp_url: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")} | {
        "BOWERBIRD_AMQP_URL": amqp_url,
        "BOWERBIRD_FETCH_ALLOW": "127.77.0.0/16",
        "BOWERBIRD_FETCH_PORTS": "1-65535",
        "BOWERBIRD_FETCH_CONCURRENCY": "2",
        "BOWERBIRD_GRACE": f"{GRACE}s",
    }
    command = [sys.executable, "-m", "services", "fetcher"]
    process = subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[2])  # noqa: ASYNC220  (forking takes a millisecond)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def ended(process: subprocess.Popen[bytes], *, seconds: float) -> int:
    async def ask() -> bool:
        return process.poll() is not None

    await until(ask, seconds=seconds)
    return int(process.returncode)


@asynccontextmanager
async def at_work(amqp_url: str, origin: Origin, gate: asyncio.Event) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A fetcher with two downloads under way, which the origin holds until the gate opens, and a third in its queue."""
    async with Publisher(amqp_url, delays=(5.0,)) as publisher:
        await publisher.wait()
        for number in range(3):
            url = origin.on(f"/{number}", held(gate, body(image("PNG"))))
            await publisher.publish(events.DownloadRequested(image=urls.image_id(url), revision=1, url=url, requested_at=now()))
        async with fetcher_process(amqp_url) as process:
            await until(lambda: asyncio.sleep(0, sum(origin.hits.values()) == 2), seconds=30)
            yield process


async def test_on_sigterm_what_is_under_way_is_finished_and_the_rest_goes_back_with_no_attempt_spent(amqp_url: str, origin: Origin) -> None:
    gate = asyncio.Event()
    async with at_work(amqp_url, origin, gate) as process:
        process.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(1, gate.set)
        started = time.monotonic()
        assert await ended(process, seconds=GRACE + 5) == 0
        assert time.monotonic() - started < GRACE
    async with Publisher(amqp_url, delays=(5.0,)) as publisher:
        await publisher.wait()
    [left] = await until(lambda: taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
    assert left.attempt == 1
    assert sum(origin.hits.values()) == 2


async def test_a_second_signal_ends_it_at_once_and_everything_goes_back(amqp_url: str, origin: Origin) -> None:
    gate = asyncio.Event()
    async with at_work(amqp_url, origin, gate) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(AssertionError):
            await ended(process, seconds=0.5)
        process.send_signal(signal.SIGTERM)
        assert await ended(process, seconds=2) == 1
    left: set[str] = set()

    async def all_back() -> bool:
        requests = await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name)
        assert all(request.attempt == 1 for request in requests)
        left.update(request.image for request in requests)
        return len(left) == 3

    await until(all_back)


async def test_waiting_for_its_servers_it_stops_at_once() -> None:
    async with fetcher_process("amqp://guest:guest@127.0.0.1:9/") as process:
        with pytest.raises(AssertionError):
            await ended(process, seconds=2)
        process.send_signal(signal.SIGTERM)
        assert await ended(process, seconds=3) == 0
