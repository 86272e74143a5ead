"""What the fetcher says of a request, and that large images go ahead of it in parts, few at once and all confirmed."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import IO, TYPE_CHECKING

import pytest

from services.fetcher.body import Body, unnamed_file
from services.fetcher.download import Downloader
from services.fetcher.handlers import Handlers
from services.fetcher.hosts import PutOff
from services.fetcher.parts import IN_FLIGHT
from services.fetcher.recognise import Recogniser
from shared.broker import Publisher
from shared.errors import Reason, Unpublishable
from shared.events import PART_BYTES, DownloadDelayed, DownloadFailed, DownloadRequested, ImageFetched, ImagePart, ImageUnchanged
from shared.settings import Settings
from tests.origin import Origin, body, image, status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.fetcher.download import Download
    from shared.events import Event
    from shared.urls import Url

pytestmark = pytest.mark.anyio

SETTINGS = Settings(fetch_allow=(ip_network("127.77.0.0/16"),), max_image_bytes=30 * PART_BYTES)
PICTURE = image("PNG")
PARTS = 21


@pytest.fixture(scope="module")
def large() -> bytes:
    """An image of so many parts; in the module itself, every process of the suite would hold it."""
    return PICTURE + random.Random(2).randbytes((PARTS - 1) * PART_BYTES)


class Confirms(Publisher):
    """A broker that confirms when it is told to, and not before."""

    def __init__(self, *, open_: bool = True) -> None:
        super().__init__("amqp://nowhere")
        self.gate = asyncio.Event()
        if open_:
            self.gate.set()
        self.confirmed: list[Event] = []
        self.waiting = 0
        self.peak = 0
        self.refused: int | None = None

    async def publish_surely(self, event: Event, delay: float | None = None, wait: float | None = None) -> None:
        assert delay is wait is None
        self.waiting += 1
        self.peak = max(self.peak, self.waiting)
        try:
            await self.gate.wait()
            if isinstance(event, ImagePart) and event.number == self.refused:
                raise Unpublishable("no")
        finally:
            self.waiting -= 1
        self.confirmed.append(event)


class Here:
    """Handlers and what is around them."""

    def __init__(self, origin: Origin, handlers: Handlers, publisher: Confirms, files: list[IO[bytes]]) -> None:
        self.origin = origin
        self.handlers = handlers
        self.publisher = publisher
        self.files = files

    def request(self, path: str = "/a", *, etag: str | None = None, last_modified: str | None = None) -> DownloadRequested:
        """A request for what the origin has there."""
        return DownloadRequested(
            image="x" * 26, revision=3, attempt=2, url=self.origin.url(path), requested_at=datetime.now(UTC), etag=etag, last_modified=last_modified
        )


@asynccontextmanager
async def started(publisher: Confirms, downloader: type[Downloader] = Downloader) -> AsyncGenerator[Here]:
    """At the end every file is closed."""
    files: list[IO[bytes]] = []

    def made() -> IO[bytes]:
        files.append(unnamed_file())
        return files[-1]

    async with (
        Origin("127.77.0.1") as origin,
        downloader(SETTINGS, make_body=lambda: Body(make_file=made)) as downloads,
        Recogniser(SETTINGS) as recogniser,
    ):
        yield Here(origin, Handlers(downloads, recogniser, SETTINGS, publisher), publisher, files)
        assert all(file.closed for file in files)


async def test_a_small_image_is_one_event() -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", body(PICTURE))
        (publication,) = await here.handlers.on_download_requested(here.request())
        assert isinstance(publication.event, ImageFetched)
        assert (publication.event.body, publication.event.parts, publication.event.file) == (PICTURE, 0, None)
        assert not here.publisher.confirmed
        assert not here.files


async def test_a_large_image_goes_in_parts_all_confirmed_before_the_event(large: bytes) -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", body(large))
        (first,), (second,) = [await here.handlers.on_download_requested(here.request()) for _ in range(2)]
        files = {}
        for publication in (first, second):
            event = publication.event
            assert isinstance(event, ImageFetched)
            assert event.file
            assert re.fullmatch("[0-9a-f]{24}", event.file)
            assert (event.parts, event.size, event.body, event.revision, event.attempt) == (PARTS, len(large), b"", 3, 2)
            parts = [part for part in here.publisher.confirmed if isinstance(part, ImagePart) and part.file == event.file]
            assert b"".join(part.body for part in sorted(parts, key=lambda part: part.number)) == large
            assert {(part.image, part.revision) for part in parts} == {(event.image, 3)}
            files[event.file] = parts
        assert len(files) == 2  # a repeated step begins a new file


async def test_few_parts_are_under_way_at_once_and_the_event_waits_for_all(large: bytes) -> None:
    async with started(Confirms(open_=False)) as here:
        here.origin.on("/a", body(large))
        tasks = [asyncio.create_task(here.handlers.on_download_requested(here.request())) for _ in range(3)]
        while here.publisher.waiting < IN_FLIGHT:
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        here.publisher.gate.set()
        await asyncio.gather(*tasks)
        assert here.publisher.peak == IN_FLIGHT
        assert len(here.publisher.confirmed) == 3 * PARTS


async def test_a_part_that_cannot_be_published_ends_it_with_the_file_closed_and_nothing_held(large: bytes) -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", body(large))
        here.publisher.refused = 5
        with pytest.raises(Unpublishable):
            await here.handlers.on_download_requested(here.request())
        here.publisher.refused = None
        assert await here.handlers.on_download_requested(here.request())


async def test_cancelling_in_the_middle_closes_the_file(large: bytes) -> None:
    async with started(Confirms(open_=False)) as here:
        here.origin.on("/a", body(large))
        task = asyncio.create_task(here.handlers.on_download_requested(here.request()))
        while not here.publisher.waiting:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not here.publisher.waiting
        here.publisher.gate.set()
        assert await here.handlers.on_download_requested(here.request())


async def test_a_large_body_that_is_no_image_is_closed_too(large: bytes) -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", body(large[len(PICTURE) :]))
        (publication,) = await here.handlers.on_download_requested(here.request())
        assert isinstance(publication.event, DownloadFailed)
        assert publication.event.reason == Reason.NOT_AN_IMAGE
        assert len(here.files) == 1


@pytest.mark.parametrize(
    ("answered", "expected"),
    [({}, ('"x"', "Mon, 01 Jan 2024 00:00:00 GMT")), ({"etag": '"y"'}, ('"y"', "Mon, 01 Jan 2024 00:00:00 GMT")),
     ({"last_modified": "Tue, 02 Jan 2024 00:00:00 GMT"}, ('"x"', "Tue, 02 Jan 2024 00:00:00 GMT"))],
)  # fmt: skip
async def test_304_is_unchanged_with_the_newest_validators(answered: dict[str, str], expected: tuple[str, str]) -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", status(304, b"", **answered))
        request = here.request(etag='"x"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
        (publication,) = await here.handlers.on_download_requested(request)
        assert isinstance(publication.event, ImageUnchanged)
        assert (publication.event.etag, publication.event.last_modified) == expected
        assert (publication.event.image, publication.event.revision, publication.event.attempt) == (request.image, 3, 2)
        assert here.origin.requests[0].headers["if-none-match"] == '"x"'
        assert here.origin.requests[0].headers["if-modified-since"] == "Mon, 01 Jan 2024 00:00:00 GMT"


async def test_an_image_that_has_changed_is_fetched() -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", body(PICTURE, etag='"y"'))
        (publication,) = await here.handlers.on_download_requested(here.request(etag='"x"'))
        assert isinstance(publication.event, ImageFetched)
        assert publication.event.etag == '"y"'


class Full(Downloader):
    """Has no room."""

    async def download(self, url: Url, *, etag: str | None = None, last_modified: str | None = None) -> Download:
        assert url.href.endswith("/a")
        assert etag == '"x"'
        assert not last_modified
        raise PutOff(7.0)


async def test_without_room_the_same_request_comes_back_later_and_spends_no_attempt() -> None:
    async with started(Confirms(), Full) as here:
        request = here.request(etag='"x"')
        (publication,) = await here.handlers.on_download_requested(request)
        event = publication.event
        assert isinstance(event, DownloadRequested)
        assert (event.attempt, event.snoozes, event.etag) == (request.attempt, 0, '"x"')
        assert event.not_before
        assert publication.delay


async def test_a_failure_that_may_pass_is_said_and_tried_again() -> None:
    async with started(Confirms()) as here:
        here.origin.on("/a", status(503))
        delayed, again = await here.handlers.on_download_requested(here.request(etag='"x"'))
        assert isinstance(delayed.event, DownloadDelayed)
        assert isinstance(again.event, DownloadRequested)
        assert (again.event.attempt, again.event.etag) == (3, '"x"')
