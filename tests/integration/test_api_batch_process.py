"""A large batch in an api process of its own: what it takes of others' time and of memory, and what is left when it is killed halfway."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from services.api.lines import MAX_URLS
from shared import topology
from tests.api import gate_to, rabbitmq_says, running_api, taken, through
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.catalog import Catalog

KEY = {"content-type": "text/uri-list", "idempotency-key": "key"}
HELD_UP_SECONDS = 0.25
TRIES = 6
"""A test machine is busy with other things: once it has to go well."""
MEMORY = 400 * 1024**2


@contextlib.contextmanager
def api_process(mongo_url: str, amqp_url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An api, and its address; killed at the end."""
    environ = {"PATH": os.environ["PATH"], "BOWERBIRD_MONGO_URL": mongo_url, "BOWERBIRD_AMQP_URL": amqp_url, "BOWERBIRD_PORT": "0"}
    command = [sys.executable, "-c", "import sys; from services.api.main import main; sys.exit(main())"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "listening" in line)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield process, json.loads(line)["url"]
        finally:
            process.kill()


def longest_answer(url: str, posting: threading.Thread) -> float:
    """Seconds that GET /health/live took at most while a batch was being posted."""
    longest = 0.0
    with contextlib.closing(http.client.HTTPConnection(url.partition("//")[2].rstrip("/"), timeout=30)) as connection:
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        posting.start()
        while posting.is_alive():
            started = time.perf_counter()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            longest = max(longest, time.perf_counter() - started)
    return longest


@pytest.mark.parametrize("media_type", ["application/json", "text/uri-list"])
def test_twenty_megabytes_hold_nobody_up_and_are_not_held_many_times(mongo_url: str, amqp_url: str, media_type: str) -> None:
    with api_process(mongo_url, amqp_url) as (process, url):
        longest = []
        for number in range(TRIES):
            # Others each time, so that each is inserted.
            urls = [f"https://example.org/{place}/".ljust(2039, "x") + "abcdef"[number] for place in range(MAX_URLS)]
            body = json.dumps({"urls": urls}).encode() if media_type == "application/json" else "\n".join(urls).encode()
            assert len(body) > 20_000_000
            statuses: list[int] = []

            def post(body: bytes = body, statuses: list[int] = statuses) -> None:
                with httpx.Client(trust_env=False, timeout=60) as client:
                    statuses.append(client.post(f"{url}/batches", content=body, headers={"content-type": media_type}).status_code)

            longest.append(longest_answer(url, threading.Thread(target=post)))
            assert statuses == [202]
            if longest[-1] < HELD_UP_SECONDS:
                break
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text("utf-8"))[0]) * 1024
    assert min(longest) < HELD_UP_SECONDS, longest
    assert peak < MEMORY


@pytest.mark.anyio
async def test_killed_halfway_it_leaves_images_that_are_downloaded_all_the_same_and_the_next_try_completes_it(
    mongo_url: str, amqp_url: str, catalog: Catalog
) -> None:
    urls = [f"https://example.org/{number}" for number in range(MAX_URLS)]
    content = "\n".join(urls)

    async def begun() -> int:
        return await catalog._images.count_documents({})

    async with gate_to(mongo_url) as gate:
        with api_process(through(gate, mongo_url), amqp_url) as (process, url):
            gate.delay = 0.02
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                posting = asyncio.create_task(client.post(f"{url}/batches", content=content, headers=KEY))
                await until(begun)
                gate.hold()
                process.kill()
                with pytest.raises(httpx.HTTPError):
                    await posting
    left = {document["url"] async for document in catalog._images.find({}, {"url": 1})}
    assert 0 < len(left) < len(urls)
    async with running_api(mongo_url, amqp_url) as api:
        await rabbitmq_says(api, "ok")
        asked: set[str] = set()

        async def all_asked_for() -> bool:
            asked.update(request.url for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
            return asked >= left

        await until(all_asked_for, seconds=40, every=0.2)
        answer = await api.client.post("/batches", content=content, headers=KEY)
        assert (answer.status_code, answer.json()["accepted"], answer.json()["known"]) == (202, len(urls), 0)
        assert await begun() == len(urls)
        assert await api.parts.batches._batches.count_documents({}) == 1
