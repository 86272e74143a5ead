"""docs/events.md, and the service that it shows: docs/examples/dominant_colour.py, as a process of its own, under a broker user of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aio_pika
import httpx
import pytest
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import ChannelAccessRefused
from PIL import Image

from deploy.demo.make import make
from shared import events, topology
from tests.documents import Shell, follow
from tests.e2e.conftest import running
from tests.origin import Origin, body, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.settings import Settings
    from tests.e2e.conftest import Pipeline
    from tests.servers import Servers

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "dominant_colour.py"
PASSWORD = "a-password-of-its-own"
PERMISSIONS = {"configure": "^colours", "write": "^colours", "read": "^(colours|bowerbird$)"}
TOPICS = {"exchange": "bowerbird", "write": "^$", "read": "^(image-stored|image-failed|image-delayed|page-expanded)$"}
ORANGE = (217, 119, 6)


@pytest.fixture
def user(running_servers: Servers) -> Iterator[str]:
    """The name of a broker user that may be made, and is gone afterwards: users are the whole broker's."""
    name = f"colours-{uuid.uuid4().hex[:8]}"
    yield name
    with httpx.Client(base_url=running_servers.management, trust_env=False, timeout=30) as client:
        client.delete(f"/api/users/{name}")


@pytest.fixture
def own_url(running_servers: Servers, amqp_url: str, user: str) -> str:
    """The broker's URL for a user with the permissions that the document gives."""
    vhost = urlsplit(amqp_url).path.strip("/")
    with httpx.Client(base_url=running_servers.management, trust_env=False, timeout=30) as client:
        for path, given in (
            (f"users/{user}", {"password": PASSWORD, "tags": ""}),
            (f"permissions/{vhost}/{user}", PERMISSIONS),
            (f"topic-permissions/{vhost}/{user}", TOPICS),
        ):
            client.put(f"/api/{path}", json=given).raise_for_status()
    parts = urlsplit(amqp_url)
    return f"amqp://{user}:{PASSWORD}@{parts.hostname}:{parts.port}{parts.path}"


@asynccontextmanager
async def colours(own_url: str, api: str, folder: Path) -> AsyncIterator[Path]:
    """The example, running; where it prints."""
    printed = folder / "colours.log"
    environ = {**os.environ, "AMQP_URL": own_url, "BOWERBIRD_URL": api, "COLOURS": str(folder / "colours.db")}
    with printed.open("wb") as output:
        process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), env=environ, stdout=output, stderr=asyncio.subprocess.STDOUT)
    try:
        yield printed
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0, printed.read_text("utf-8")


def lines(printed: Path, image: str) -> list[str]:
    """What was printed about an image."""
    return [line for line in printed.read_text("utf-8").splitlines() if line.startswith(image)]


def picture(name: str = "PNG") -> bytes:
    """Orange, but for a corner."""
    drawn = Image.new("RGB", (400, 300), ORANGE)
    drawn.paste((0, 0, 255), (0, 0, 100, 100))
    file = io.BytesIO()
    drawn.save(file, name)
    return file.getvalue()


async def test_what_is_stored_gets_its_colour_once_however_often_it_is_announced(
    pipeline: Pipeline, origin: Origin, amqp_url: str, own_url: str, tmp_path: Path
) -> None:
    api = str(pipeline.client.base_url)
    async with colours(own_url, api, tmp_path) as printed, await aio_pika.connect(amqp_url) as broker:
        channel = await broker.channel()
        work = await until(lambda: _consumed(broker, "colours.image-stored"))
        assert work
        heard = await channel.declare_queue(exclusive=True)
        await heard.bind("colours", "colour-found")
        copy = await channel.declare_queue(exclusive=True)
        await copy.bind("bowerbird", "image-stored")

        image = (await pipeline.post(origin.on("/a.png", body(picture(), "image/png")))).rpartition("/")[2]
        await until(lambda: _says(lines(printed, image)))
        announced = await copy.get(timeout=5)
        exchange = await channel.get_exchange("bowerbird", ensure=False)
        for _ in range(5):
            await exchange.publish(_again(announced), "image-stored")
        # A message that is no event of its kind, and one of a version that it doesn't know: behind them all is done.
        await exchange.publish(aio_pika.Message(b"hello", content_type="application/json", type="image-stored", headers={"v": 1}), "image-stored")
        await exchange.publish(_again(announced, v=2), "image-stored")
        await until(lambda: _has(broker, "colours.dead-letters", 2))
        assert await until(lambda: _empty(broker, "colours.image-stored"))

        [line] = lines(printed, image)
        colour = bytes.fromhex(line.rpartition("#")[2])
        assert all(abs(one - other) < 12 for one, other in zip(colour, ORANGE, strict=True))
        found = await heard.get(timeout=5)
        assert found.message_id == f"colour-found.{image}.{_revision(announced)}"
        assert await heard.get(fail=False) is None


async def test_it_waits_while_the_api_is_away_leaves_what_is_gone_and_takes_nothing_old_after_new(
    origin: Origin, amqp_url: str, own_url: str, tmp_path: Path
) -> None:
    small = picture("WEBP")
    origin.on("/images/a/thumbnail", sequence(status(503), status(429), body(small, "image/webp")))
    origin.on("/images/gone/thumbnail", status(404))
    async with await aio_pika.connect(amqp_url) as broker:
        channel = await broker.channel()
        await topology.declare(channel)
        exchange = await channel.get_exchange(topology.EXCHANGE, ensure=False)
        async with colours(own_url, origin.url(""), tmp_path) as printed:
            assert await until(lambda: _consumed(broker, "colours.image-stored"))
            for image, revision in (("gone", 1), ("a", 2)):
                await exchange.publish(_stored(image, revision), "image-stored")
            await until(lambda: _says(lines(printed, "a #")))
            await exchange.publish(_stored("a", 1), "image-stored")
            await exchange.publish(_stored("a", 3), "image-stored")
            await until(lambda: _says(lines(printed, "a #")[1:]))
            assert len(lines(printed, "a #")) == 2
            assert lines(printed, "gone") == []
        assert origin.hits == {"/images/a/thumbnail": 4, "/images/gone/thumbnail": 1}
        assert await _has(broker, "colours.dead-letters", 0)


async def test_a_user_of_its_own_can_neither_send_bowerbirds_events_nor_hear_its_work_nor_touch_its_queues(pipeline: Pipeline, own_url: str) -> None:
    assert pipeline.settings.amqp_url
    async with await aio_pika.connect(own_url) as broker:
        for attempt in (_publish, _bind_work, _consume, _delete, _fill):
            channel = await broker.channel()
            with pytest.raises(ChannelAccessRefused):
                await attempt(channel)
        channel = await broker.channel()
        queue = await channel.declare_queue("colours.try", exclusive=True)
        await queue.bind("bowerbird", "image-stored")


async def test_what_the_document_says_comes_to_pass(settings: Settings, running_servers: Servers, amqp_url: str, user: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, fetch_allow=(ip_network("127.0.0.1/32"),))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    await asyncio.to_thread(make, tmp_path / "site")
    management, amqp = urlsplit(running_servers.management), urlsplit(amqp_url)
    vhost = amqp.path.strip("/")
    async with Origin("127.0.0.1") as origin, running(settings), Shell(tmp_path) as shell:
        origin.on("/images/bower.jpg", body((tmp_path / "site" / "images" / "bower.jpg").read_bytes()))
        instead = {
            "127.0.0.1:8000": f"127.0.0.1:{settings.port}",
            "127.0.0.1:8080": f"127.0.0.1:{origin.port}",
            "guest:guest@127.0.0.1:18673": management.netloc,
            "127.0.0.1:18672/": f"{amqp.hostname}:{amqp.port}/{vhost}",
            "users/colours": f"users/{user}",
            "permissions/%2F/colours": f"permissions/{vhost}/{user}",
            "/%2F/": f"/{vhost}/",
            "amqp://colours:": f"amqp://{user}:",
            ".venv/bin/python": sys.executable,
        }
        assert await follow(ROOT / "docs" / "events.md", shell, instead=instead) == 15


def _again(message: aio_pika.abc.AbstractIncomingMessage, v: int = 1) -> aio_pika.Message:
    return aio_pika.Message(
        message.body, headers={"v": v}, content_type=message.content_type, type=message.type, message_id=message.message_id,
        correlation_id=message.correlation_id,
    )  # fmt: skip


def _stored(image: str, revision: int) -> aio_pika.Message:
    event = events.ImageStored(
        image=image, revision=revision, url="https://example.org/", stored_at=datetime.now(UTC), format="png", content_type="image/png",
        width=400, height=300, size=1, sha256="ab" * 32,
    )  # fmt: skip
    envelope = events.encode(event)
    return aio_pika.Message(
        envelope.body, headers=envelope.headers, content_type=envelope.content_type, type=envelope.type, message_id=envelope.message_id
    )


def _revision(message: aio_pika.abc.AbstractIncomingMessage) -> int:
    envelope = events.Envelope(message.type, dict(message.headers), message.body, message.content_type, None, None)
    return events.decode(envelope).revision


async def _queue(broker: aio_pika.abc.AbstractConnection, name: str) -> Any:
    """How a queue stands, None when it isn't there. On a channel of its own, which asking for what isn't there closes."""
    try:
        async with broker.channel() as channel:
            return (await channel.declare_queue(name, passive=True)).declaration_result
    except AMQPError:
        return None


async def _consumed(broker: aio_pika.abc.AbstractConnection, name: str) -> Any:
    """As `_queue`, once somebody reads it: before that it may not be bound yet, and hears nothing."""
    found = await _queue(broker, name)
    return found if found and found.consumer_count else None


async def _has(broker: aio_pika.abc.AbstractConnection, name: str, messages: int) -> bool:
    found = await _queue(broker, name)
    return bool(found and found.message_count == messages)


async def _empty(broker: aio_pika.abc.AbstractConnection, name: str) -> bool:
    return await _has(broker, name, 0)


async def _says(found: list[str]) -> bool:
    return bool(found)


async def _publish(channel: aio_pika.abc.AbstractChannel) -> None:
    exchange = await channel.get_exchange("bowerbird", ensure=False)
    await exchange.publish(aio_pika.Message(b"{}"), "image-stored")


async def _bind_work(channel: aio_pika.abc.AbstractChannel) -> None:
    queue = await channel.declare_queue("colours.work", exclusive=True)
    await queue.bind("bowerbird", "image-fetched")


async def _consume(channel: aio_pika.abc.AbstractChannel) -> None:
    await (await channel.get_queue("fetcher.download-requested", ensure=False)).get(fail=False)


async def _delete(channel: aio_pika.abc.AbstractChannel) -> None:
    await channel.queue_delete("fetcher.download-requested")


async def _fill(channel: aio_pika.abc.AbstractChannel) -> None:
    await channel.default_exchange.publish(aio_pika.Message(b"{}"), "storer.download-failed")
