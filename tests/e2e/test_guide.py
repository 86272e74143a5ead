"""docs/guide.md, README's quick start, and what docs/api.md shows: what they say is done, in their order, and comes to what they say."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from deploy.demo.make import make
from services.local.secret import made_once
from services.storer.housekeeping import Housekeeping
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.mongo import Mongo
from shared.settings import load
from tests.documents import Shell, follow
from tests.e2e.conftest import free_port, running
from tests.origin import Origin, body, image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from shared.settings import Settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
AT_ONCE = timedelta(seconds=-1)


@pytest.fixture
def here(settings: Settings) -> Settings:
    """Settings as of `make up` with those that the documents name."""
    return dataclasses.replace(settings, fetch_allow=(ip_network("127.0.0.1/32"),), compat=True)


@pytest.fixture
def mongo(mongo_url: str) -> Iterator[Mongo]:
    mongo = Mongo(mongo_url, timeout=10)
    yield mongo
    mongo.close()


async def test_what_the_guide_says_comes_to_pass(here: Settings, mongo: Mongo, tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    data = tmp_path / ".bowerbird"
    data.mkdir()
    database = urlsplit(here.require("mongo_url"))
    (data / "ports.json").write_text(json.dumps({"mongodb": database.port}), "ascii")
    here = dataclasses.replace(here, webhook_secret=load({"BOWERBIRD_WEBHOOK_SECRET": made_once(data / "webhook-secret")}).webhook_secret)
    site, receiver = free_port(), free_port()
    instead = {
        "127.0.0.1:8000": f"127.0.0.1:{here.port}",
        "127.0.0.1:8080": f"127.0.0.1:{site}",
        "127.0.0.1:8081": f"127.0.0.1:{receiver}",
        "receiver.py 8081": f"receiver.py {receiver}",
        ".venv/bin/python": sys.executable,
        "/bowerbird?directConnection=true": f"{database.path}?{database.query}",
    }

    async def a_while_later() -> None:
        housekeeping = Housekeeping(mongo, DeadLetters(mongo, Blobs(mongo)), unreferenced_for=AT_ONCE)
        while any((await housekeeping.sweep()).values()):
            pass

    then: dict[str, Callable[[], Awaitable[object]]] = {"a while later": a_while_later, "somebody listens": partial(listens, receiver)}
    async with serving(tmp_path / "site", site) as log, running(here), Shell(tmp_path) as shell:
        followed = await follow(ROOT / "docs" / "guide.md", shell, instead=instead, then=then)
    assert followed > 10
    # As the guide says of the second terminal: the page and one image were sent again.
    assert log.read_text().count('" 304 -') == 27
    assert [await mongo[name].count_documents({}) for name in ("fs.chunks", "fs.files", "images")] == [0, 0, 0]


async def test_the_quick_start_in_the_readme_comes_to_pass(here: Settings, tmp_path: Path) -> None:
    picture = image("JPEG", (1280, 853))
    picture += b"\0" * (326_477 - len(picture))
    (tmp_path / "bower.jpg").write_bytes(picture)
    async with Origin("127.0.0.1") as origin, running(here) as pipeline, Shell(tmp_path) as shell:
        url = origin.on("/bower.jpg", body(picture))
        instead = {"127.0.0.1:8000": f"127.0.0.1:{here.port}", "127.0.0.1:8080": f"127.0.0.1:{origin.port}"}

        async def stored() -> None:
            await pipeline.settled((await pipeline.client.get("/images", params={"url": url})).headers["content-location"])

        then = {"it is stored": stored}
        assert await follow(ROOT / "README.md", shell, instead=instead, then=then, only=lambda command: command.startswith("curl")) == 5


async def test_what_the_api_s_page_shows_comes_to_pass(here: Settings, tmp_path: Path) -> None:
    async with Origin("127.0.0.1") as origin, running(here), Shell(tmp_path) as shell:
        instead = {"127.0.0.1:8000": f"127.0.0.1:{here.port}", "127.0.0.1:8080": f"127.0.0.1:{origin.port}"}
        assert await follow(ROOT / "docs" / "api.md", shell, instead=instead) == 1


@asynccontextmanager
async def serving(site: Path, port: int) -> AsyncIterator[Path]:
    """The site, served as the guide says; where its log is."""
    await asyncio.to_thread(make, site)
    log = site.with_suffix(".log")
    command = (sys.executable, "-m", "http.server", "--directory", str(site), "--bind", "127.0.0.1", str(port))
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=written)
    try:
        await listens(port)
        yield log
    finally:
        process.kill()
        await process.wait()


async def listens(port: int) -> None:
    """Waits until somebody does on this port."""

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(answers)
