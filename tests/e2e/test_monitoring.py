"""Every metric that a dashboard or an alert names is there, with the labels that it asks for, in a scrape of processes that did some of everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

import aio_pika
import httpx
import msgspec
import pytest

from services.local.ports import FOR_TESTS, is_free
from shared import topology
from shared.broker import Publisher
from shared.mongo import Mongo
from tests import monitoring
from tests.e2e.conftest import SETTLED, free_port
from tests.origin import Origin, body, held, image, sequence, status
from tests.polling import until
from tests.receiver import Receiver
from tests.redelivery import fetched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.monitoring import Sample
    from tests.servers import Servers

pytestmark = pytest.mark.anyio

DELAY = 0.3
PATHS = ("/one", "/two")
PROCESSES = ("bowerbird-storer", "bowerbird-fetcher", "bowerbird-api")
"""In the order in which `bowerbird up` gives them ports."""
PAGE, NO_MESSAGE, UNWRITABLE = b"<img src=/found.png>", b"hello", b"x"
UNSTORABLE = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
"""No time in UTC: whoever writes it to MongoDB fails."""


class World(NamedTuple):
    """A running `bowerbird up` of one process each, and where it shows its metrics."""

    client: httpx.AsyncClient
    targets: dict[str, str]
    amqp_url: str
    mongo_url: str

    async def scrape(self) -> list[Sample]:
        """What Prometheus would see."""
        found = []
        for target, job in self.targets.items():
            answer = (await self.client.get(target)).raise_for_status()
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            found += monitoring.samples(answer.text, job)
        return found


def consecutive_ports(number: int) -> int:
    """The first of so many that are free."""
    while True:
        first = random.choice(FOR_TESTS)
        if all(is_free(port) for port in range(first, first + number)):
            return first


@contextlib.contextmanager
def running(settings: dict[str, str], folder: Path) -> Iterator[Callable[[], str | None]]:
    """`bowerbird up`; gives what says what it printed if it has ended."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
    environ |= {f"BOWERBIRD_{name}": value for name, value in settings.items()}
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "services", "up"], env=environ, stdout=file, stderr=file, cwd=monitoring.ROOT)
        try:
            yield lambda: None if process.poll() is None else output.read_text()
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
async def world(running_servers: Servers, amqp_url: str, mongo_url: str, tmp_path: Path) -> AsyncIterator[World]:
    if running_servers.metrics is None:
        pytest.skip("where the given RabbitMQ shows its metrics isn't known")
    port, metrics = free_port(), consecutive_ports(len(PROCESSES))
    settings = {
        "AMQP_URL": amqp_url, "MONGO_URL": mongo_url, "PORT": str(port), "DATA": str(tmp_path / "data"), "FETCHERS": "1", "METRICS_PORT": str(metrics),
        "FETCH_ALLOW": "127.77.0.0/16", "FETCH_PORTS": "1-65535", "RETRY_DELAYS": f"{DELAY:g}s,1s", "GRACE": "5s", "HOST_CONCURRENCY": "1",
    }  # fmt: skip
    targets = {f"http://127.0.0.1:{metrics + number}/metrics": job for number, job in enumerate(PROCESSES)}
    detailed = "metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count"
    targets |= {f"{running_servers.metrics}metrics": "rabbitmq", f"{running_servers.metrics}{detailed}": "rabbitmq-queues"}
    with running(settings, tmp_path) as ended:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

            async def ready() -> bool:
                assert ended() is None, ended()
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/health/ready")).status_code == httpx.codes.OK
                return False

            await until(ready, seconds=60)
            yield World(client, targets, amqp_url, mongo_url)


def test_what_is_scraped_here_is_what_is_scraped() -> None:
    assert {*PROCESSES, "rabbitmq", "rabbitmq-queues"} == set(monitoring.jobs())


async def do_some_of_everything(world: World, origin: Origin, receiver: Receiver) -> None:
    client = world.client
    receiver.answers = [503, 410, 200]
    picture, tag = image("PNG"), '"1"'
    urls = [
        origin.on("/a.png", sequence(body(picture, "image/png", etag=tag), status(304))),
        origin.on("/large.bmp", body(image("BMP", (1000, 800)), "image/bmp")),
        origin.on("/page", body(PAGE, "text/html")),
        origin.on("/busy", sequence(status(503), body(image("PNG", seed=1), "image/png"))),
        origin.url("/gone"),
        "http://127.77.0.1:1/nobody-listens",
        "http://nobody.invalid/no-such-name",
    ]
    origin.on("/found.png", body(image("PNG", seed=2), "image/png"))
    places = [
        (await client.post("/images", json={"url": url, "callback_url": receiver.url})).raise_for_status().headers["location"] for url in urls[:3]
    ]
    places += [(await client.post("/images", json={"url": url})).raise_for_status().headers["location"] for url in urls[3:]]
    assert (await client.post("/images", json={"url": urls[0]})).status_code == 409
    (await client.post("/batches", json={"urls": urls[:2]})).raise_for_status()

    async def settled() -> bool:
        return {(await client.get(place)).json()["status"] for place in places} <= SETTLED

    await until(settled, seconds=30)
    assert (await client.get(f"{places[0]}/content")).content == picture
    # Now only: when two have the same bytes at once, both may store them, and the second takes its own away again.
    places.append((await client.post("/images", json={"url": origin.on("/same.png", body(picture, "image/png"))})).headers["location"])
    await until(settled)
    (await client.put("/images", json={"url": urls[0]})).raise_for_status()
    await be_slow(world)
    await break_things(world, places[0])
    (await client.put("/images", json={"url": origin.on("/later", status(503))})).raise_for_status()
    async with client.stream("GET", "/events") as stream:
        assert stream.status_code == 200


async def be_slow(world: World) -> None:
    """A host that keeps one of two images waiting, so that it is put off."""
    gate = asyncio.Event()
    async with Origin("127.77.0.2") as slow:
        for path in PATHS:
            url = slow.on(path, held(gate, body(image("PNG"))))
            (await world.client.post("/images", json={"url": url})).raise_for_status()

        async def put_off() -> bool:
            return any(sample.name == "bowerbird_put_off_total" for sample in await world.scrape())

        await until(put_off)
        gate.set()

        async def stored() -> bool:
            return len((await world.client.get("/images?status=stored&host=127.77.0.2")).json()["items"]) == len(PATHS)

        await until(stored)


async def break_things(world: World, place: str) -> None:
    """A message that is none; a fault while one is being handled; a queue that is gone when somebody publishes to it; an image without its bytes."""
    async with Publisher(world.amqp_url) as publisher, await aio_pika.connect(world.amqp_url) as connection:
        await publisher.wait()
        await publisher.publish(msgspec.structs.replace(fetched("a", content=UNWRITABLE), fetched_at=UNSTORABLE))
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(NO_MESSAGE), topology.DOWNLOAD_FAILED.name)
        await channel.queue_delete(topology.delay_name(topology.DOWNLOAD_REQUESTED.name, DELAY))
    mongo = Mongo(world.mongo_url, timeout=10)
    await mongo["fs.chunks"].delete_many({})
    mongo.close()
    assert (await world.client.get(f"{place}/content")).status_code == 500


async def test_every_metric_that_is_asked_for_is_there_and_counts(world: World) -> None:
    wrong: object = "everything"
    async with Origin("127.77.0.1") as origin, Receiver("127.77.0.1") as receiver:
        await do_some_of_everything(world, origin, receiver)

        async def right() -> bool:
            nonlocal wrong
            scraped = await world.scrape()
            wrong = monitoring.unanswered(scraped) or miscounted(scraped)
            return not wrong

        with contextlib.suppress(AssertionError):
            await until(right, seconds=40, every=0.5)
    assert not wrong


def miscounted(scraped: list[Sample]) -> dict[str, float]:
    """Counters that are always there, and that don't say what came."""
    pictures = sum(map(len, (image("PNG"), image("PNG", seed=1), image("PNG", seed=2), image("BMP", (1000, 800)))))
    # /same.png, /one and /two have the bytes of /a.png. The message that is none is kept as a dead letter, with its body; so is the one that can't be
    # written, whose body is stored at its first try, and there at its second and as the dead letter's.
    expected = {
        "stored_bytes": pictures + len(NO_MESSAGE) + len(UNWRITABLE),
        "same_bytes": 3 + 2,
        "downloaded_bytes": pictures + 3 * len(image("PNG")) + len(PAGE),
    }
    found = {name: sum(sample.value for sample in scraped if sample.name == f"bowerbird_{name}_total") for name in expected}
    return {name: number for name, number in found.items() if number != expected[name]}


async def test_no_label_has_what_a_stranger_chose(world: World) -> None:
    async with Origin("127.77.0.1") as origin, Receiver("127.77.0.1") as receiver:
        await do_some_of_everything(world, origin, receiver)
        for path in ("/nowhere/at-all", "/images/" + "x" * 26, "/.env"):
            await world.client.get(path)
        await world.client.request("PROPFIND", "/images")
        await asyncio.sleep(0)
    found = {value for sample in await world.scrape() if sample.name.startswith("bowerbird_") for value in sample.labels.values()}
    assert {"none", "/images/{image}", "other"} <= found
    assert not [value for value in found if re.search(r"127\.|://|at-all|xxx|env|PROPFIND|\d{6}", value)]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Debian's package prometheus, isn't there")
async def test_the_names_and_meanings_are_as_prometheus_wants_them(world: World) -> None:
    for target, job in world.targets.items():
        if job in PROCESSES:
            text = (await world.client.get(target)).content
            checked = await asyncio.to_thread(subprocess.run, ["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, b""), checked.stderr
