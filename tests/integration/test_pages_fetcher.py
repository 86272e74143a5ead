"""A page's URL goes through a fetcher and RabbitMQ and becomes page-scanned; hostile pages end soon, and images are none the worse for it."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

import aio_pika
import pytest

from services.fetcher.main import fetcher
from shared import events, topology, urls
from shared.broker import Publisher
from shared.errors import Reason
from shared.events import DownloadFailed, DownloadRequested, ImageFetched, ImageUnchanged, PageScanned
from shared.settings import Settings
from tests import galleries
from tests.origin import Origin, body, image, redirect, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.events import Event

pytestmark = pytest.mark.anyio

DELAYS = (0.1, 0.2)
SETTINGS = Settings(fetch_allow=(ip_network("127.77.0.0/16"),), retry_delays=DELAYS)
OUTCOMES = (topology.PAGE_SCANNED, topology.IMAGE_FETCHED, topology.DOWNLOAD_FAILED, topology.IMAGE_UNCHANGED)


class Here(NamedTuple):
    """A fetcher at work between a broker and an origin."""

    publisher: Publisher
    origin: Origin
    channel: aio_pika.abc.AbstractChannel

    async def outcome(self, url: str, *, etag: str | None = None) -> Event:
        """What comes of a request."""
        image_id = urls.image_id(urls.parse(url).href)
        await self.publisher.publish(DownloadRequested(image=image_id, revision=7, url=url, requested_at=datetime.now(UTC), etag=etag))
        queues = [await self.channel.get_queue(queue.name) for queue in OUTCOMES]

        async def next_of_any() -> aio_pika.abc.AbstractIncomingMessage | None:
            for queue in queues:
                if message := await queue.get(no_ack=True, fail=False):
                    return message
            return None

        message = await until(next_of_any, seconds=60)
        assert message
        event = events.decode(
            events.Envelope(message.type, dict(message.headers), message.body, message.content_type, message.message_id, message.correlation_id)
        )
        assert (event.image, event.revision) == (image_id, 7)
        return event

    async def page(self, url: str) -> PageScanned:
        """What is on a page."""
        event = await self.outcome(url)
        assert isinstance(event, PageScanned), event
        return event

    async def failure(self, url: str) -> DownloadFailed:
        """Why there is nothing."""
        event = await self.outcome(url)
        assert isinstance(event, DownloadFailed), event
        return event


@pytest.fixture
async def here(amqp_url: str) -> AsyncIterator[Here]:
    async with (
        fetcher(dataclasses.replace(SETTINGS, amqp_url=amqp_url)),
        Publisher(amqp_url, delays=DELAYS) as publisher,
        await aio_pika.connect(amqp_url) as connection,
        Origin("127.77.0.1") as origin,
    ):
        await publisher.wait()
        yield Here(publisher, origin, await connection.channel())


async def test_a_gallery_becomes_its_images_in_their_order(here: Here) -> None:
    url = here.origin.on("/gallery", body(galleries.gallery(50).encode(), "text/html", etag='"x"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT"))
    before = datetime.now(UTC)
    found = await here.page(url)
    assert found.images == [here.origin.url(f"/images/{number}.png") for number in range(1, 51)]
    assert (found.url, found.final_url, found.skipped, found.refused, found.beyond) == (url, url, 1, 0, 0)
    assert (found.etag, found.last_modified) == ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT")
    assert before <= found.scanned_at <= datetime.now(UTC)
    assert set(here.origin.hits) == {"/gallery"}  # nobody has asked for an image yet


async def test_references_are_resolved_against_where_redirects_led(here: Here) -> None:
    here.origin.on("/deep/er/page", body(b"<img src=x.png>", "text/html"))
    url = here.origin.on("/start", redirect(here.origin.url("/deep/er/page")))
    found = await here.page(url)
    assert found.images == [here.origin.url("/deep/er/x.png")]
    assert (found.url, found.final_url) == (url, here.origin.url("/deep/er/page"))


async def test_a_page_with_every_kind_of_reference(here: Here) -> None:
    found = await here.page(here.origin.on("/every", body(galleries.EVERY_KIND.read_bytes(), "text/html")))
    outside = [href for href in galleries.EVERY_KIND_IMAGES if "cdn.example.com" not in href]
    assert [href for href in found.images if "cdn.example.com" not in href] == outside
    assert len(found.images) == len(galleries.EVERY_KIND_IMAGES)
    assert len(found.alternatives) == len(galleries.EVERY_KIND_ALTERNATIVES)


async def test_a_page_without_images_is_still_a_page(here: Here) -> None:
    found = await here.page(here.origin.on("/none", body(b"<!DOCTYPE html><p>Nothing to see.", "application/octet-stream")))
    assert (found.images, found.alternatives) == ([], {})


async def test_what_may_not_be_asked_for_is_refused_there_and_then(here: Here) -> None:
    html = (
        "<img src=http://169.254.169.254/x><img src=http://127.0.0.1/x><img src=http://[::1]/x><img src=http://localhost/x><img src=http://192.168.0.1/x>"
        "<img src=http://example.com:22/x><img src=ftp://example.com/x><img src=http://example.com/x>"
    )
    found = await here.page(here.origin.on("/private", body(html.encode(), "text/html")))
    assert (found.images, found.refused) == (["http://example.com/x"], 7)


async def test_a_page_that_is_too_large_fails_for_good(here: Here) -> None:
    failure = await here.failure(here.origin.on("/large", body(b"<!DOCTYPE html>" + b" " * 2**23, "text/html")))
    assert failure.reason == Reason.TOO_LARGE
    assert "page" in failure.detail


@pytest.mark.parametrize(
    ("start", "piece", "times"),
    [
        (b"", b"<div>", 1_600_000),
        (b"", b"<ul><li><b>", 700_000),
        (b"<img ", b"a ", 4_000_000),
        (b"", b"<", 8_000_000),
        (b"<!DOCTYPE html>", b"\0", 8_000_000),
    ],
    ids=["deep", "deep and broken", "attributes", "only <", "NUL"],
)
async def test_a_hostile_page_ends_soon_and_the_next_one_is_scanned(here: Here, start: bytes, piece: bytes, times: int) -> None:
    content = start + piece * times
    started = time.monotonic()
    outcome = await here.outcome(here.origin.on("/hostile", body(content, "text/html")))
    assert isinstance(outcome, PageScanned | DownloadFailed)
    assert time.monotonic() - started < 20
    assert (await here.page(here.origin.on("/next", body(b"<img src=x>", "text/html")))).images == [here.origin.url("/x")]


async def test_thousands_of_long_urls_stay_within_one_message(here: Here) -> None:
    sizes = "".join("<img srcset='" + ", ".join(f"/{number}/{width}/{'x' * 1900} {width}w" for width in (100, 200)) + "'>" for number in range(2000))
    found = await here.page(here.origin.on("/many", body(sizes.encode(), "text/html")))
    assert (len(found.images), found.beyond) == (1000, 1000)
    assert len(events.encode(found).body) < 8 * 1024**2


async def test_images_and_other_things_are_what_they_were(here: Here) -> None:
    assert isinstance(await here.outcome(here.origin.on("/a.png", body(image("PNG"), "text/html"))), ImageFetched)
    assert isinstance(await here.outcome(here.origin.on("/a.tiff", body(image("TIFF"), "image/tiff"))), ImageFetched)
    assert (await here.failure(here.origin.on("/a.pdf", body(b"%PDF-1.7 x", "text/html")))).reason == Reason.UNSUPPORTED_FORMAT
    assert (await here.failure(here.origin.on("/a.svg", body(b"<svg/>", "text/html")))).reason == Reason.UNSUPPORTED_FORMAT
    assert (await here.failure(here.origin.on("/a.txt", body(b"hello", "text/plain")))).reason == Reason.NOT_AN_IMAGE
    assert (await here.failure(here.origin.on("/empty", body(b"", "text/html")))).reason == Reason.NOT_AN_IMAGE


async def test_a_page_that_has_not_changed_is_not_scanned_again(here: Here) -> None:
    url = here.origin.on("/same", status(304, etag='"y"'))
    assert isinstance(await here.outcome(url, etag='"x"'), ImageUnchanged)


async def test_a_page_is_tried_again_like_an_image(here: Here) -> None:
    found = await here.page(here.origin.on("/busy", sequence(status(503), body(b"<img src=x>", "text/html"))))
    assert (found.images, found.attempt) == ([here.origin.url("/x")], 2)
