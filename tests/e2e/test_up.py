"""`bowerbird up`: the services as processes of their own, killed at work, started again, and nothing lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.conftest import SETTLED, free_port
from tests.origin import Origin, body, delayed, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

IMAGES = 1000
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")


class Up:
    """A running `bowerbird up`, on servers that are given to it."""

    def __init__(self, process: subprocess.Popen[bytes], base: str, output: Path) -> None:
        self.process = process
        self.base = base
        self.output = output

    def children(self, service: str) -> list[int]:
        """The process ids of a service's processes."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in pids if service in _command(int(pid))]

    def kill(self, service: str) -> None:
        """SIGKILL to all processes of a service."""
        for pid in self.children(service):
            os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it ended meanwhile
        return []


@contextlib.contextmanager
def running_up(amqp_url: str, mongo_url: str, folder: Path) -> Iterator[Up]:
    port = free_port()
    ours = {
        "AMQP_URL": amqp_url, "MONGO_URL": mongo_url, "PORT": str(port), "DATA": str(folder / "data"), "FETCHERS": "2", "STORERS": "1",
        "FETCH_ALLOW": "127.77.0.0/16", "FETCH_PORTS": "1-65535", "RETRY_DELAYS": "300ms,1s,2s", "GRACE": "5s",
    }  # fmt: skip
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
    environ |= {f"BOWERBIRD_{name}": value for name, value in ours.items()}
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "services", "up"], env=environ, stdout=file, stderr=file, cwd=Path(__file__).parents[2])
    try:
        yield Up(process, f"http://127.0.0.1:{port}", output)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


@pytest.fixture
async def up(amqp_url: str, mongo_url: str, tmp_path: Path) -> AsyncIterator[Up]:
    with running_up(amqp_url, mongo_url, tmp_path) as up:
        await ready(up)
        yield up


async def ready(up: Up) -> None:
    async with httpx.AsyncClient(base_url=up.base, trust_env=False) as client:

        async def ask() -> bool:
            assert up.process.poll() is None, up.output.read_text()
            try:
                return (await client.get("/health/ready")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        await until(ask, seconds=60)


async def every_image(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The whole list, page by page."""
    found: list[dict[str, Any]] = []
    address = "/images?limit=500"
    while address:
        answer = (await client.get(address)).raise_for_status().json()
        found += answer["items"]
        address = answer["next"]
    return found


async def test_a_thousand_images_survive_kills_of_fetchers_and_storer(up: Up) -> None:
    async with Origin("127.77.0.1") as origin, httpx.AsyncClient(base_url=up.base, trust_env=False, timeout=30) as client:
        pictures = {}
        for number in range(IMAGES):
            kind = FORMATS[number % len(FORMATS)]
            picture = image(kind, (16 + number % 7, 16 + number % 5) if kind != "ICO" else (16, 16), seed=number)
            pictures[origin.on(f"/{number}", delayed(0.2, body(picture)))] = kind, picture
        gone = [origin.url(f"/gone/{number}") for number in range(20)]

        async def submit(urls: list[str]) -> None:
            for url in urls:
                assert (await client.post("/images", json={"url": url})).status_code == 202

        urls = [*pictures, *gone]

        async def settled() -> int:
            return len([found for found in await every_image(client) if found["status"] in SETTLED])

        async def settled_at_least(count: int) -> int:
            now = await settled()
            return now if now >= count else 0

        submitting = asyncio.gather(*(submit(urls[start::20]) for start in range(20)))
        for service, count in (("fetcher", 100), ("storer", 400)):
            reached = await until(partial(settled_at_least, count), seconds=90)
            assert reached < len(urls), "the kill should find work under way"
            up.kill(service)
        await submitting
        await until(partial(settled_at_least, len(urls)), seconds=120, every=0.2)

        images = {found["source_url"]: found for found in await every_image(client)}
        assert set(images) == set(urls)
        for url, (kind, picture) in pictures.items():
            found = images[url]
            assert (found["status"], found["format"], found["sha256"]) == ("stored", kind.lower(), hashlib.sha256(picture).hexdigest())
            assert (await client.get(found["stored_url"])).content == picture
        assert {images[url]["error"]["reason"] for url in gone} == {"http_status"}
        assert "again" in up.output.read_text()


async def test_a_stop_leaves_nothing_running_and_a_start_finds_everything(amqp_url: str, mongo_url: str, tmp_path: Path) -> None:
    picture = image("PNG")
    async with Origin("127.77.0.1") as origin:
        with running_up(amqp_url, mongo_url, tmp_path) as up:
            await ready(up)
            children = [pid for service in ("api", "fetcher", "storer") for pid in up.children(service)]
            assert len(children) == 4
            async with httpx.AsyncClient(base_url=up.base, trust_env=False) as client:
                posted = await client.post("/images", json={"url": origin.on("/a", body(picture))})
            up.process.send_signal(signal.SIGINT)
            started = time.monotonic()
            assert up.process.wait(30) == 0
            assert time.monotonic() - started < 15
            assert not [pid for pid in children if _command(pid)]
        with running_up(amqp_url, mongo_url, tmp_path) as up:
            await ready(up)
            async with httpx.AsyncClient(base_url=up.base, trust_env=False) as client:

                async def stored() -> bool:
                    return bool((await client.get(posted.headers["location"])).json()["status"] == "stored")

                await until(stored)
                assert (await client.get(posted.headers["location"] + "/content")).content == picture
