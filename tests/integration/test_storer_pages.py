"""The storer's part in pages and batches, on a real MongoDB: what is bound, refreshed, unbound, and when a batch is complete."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from services.storer.callbacks import Callbacks
from services.storer.completion import Completion
from shared import events, urls
from shared.batches import Batches, Fates
from shared.catalog import Catalog
from shared.deliveries import Deliveries
from shared.errors import Reason
from shared.image import Addition
from shared.listing import Filters
from shared.status import Status, now
from tests.redelivery import storer_handlers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.blobs import Blobs
    from shared.broker import Publication
    from shared.image import Image
    from shared.mongo import Mongo

PAGE = "https://example.org/gallery"
BATCH = "0" * 32

pytestmark = pytest.mark.anyio


def id_of(url: str) -> str:
    return urls.image_id(urls.parse(url).href)


class Remembering:
    """A dispatcher that publishes nothing, and keeps what it was given."""

    def __init__(self) -> None:
        self.images: list[Image] = []

    def dispatch_all(self, images: Iterable[Image]) -> None:
        self.images += images

    def taken(self) -> list[str]:
        found, self.images = [image.url for image in self.images], []
        return found


class Storer:
    """The storer's handlers, and short words for what a test has happen."""

    def __init__(self, mongo: Mongo, catalog: Catalog, blobs: Blobs) -> None:
        self.catalog = catalog
        self.dispatcher = Remembering()
        self.callbacks = Callbacks(Deliveries(mongo), "https://bowerbird.example")
        dispatcher: Any = self.dispatcher
        self.handlers = storer_handlers(mongo, catalog, blobs, dispatcher)

    async def add(self, url: str, **more: Any) -> str:
        await self.catalog.add([Addition(id_of(url), urls.parse(url), **more)])
        return id_of(url)

    async def image(self, url: str) -> Image:
        found = await self.catalog.get(id_of(url))
        assert found is not None
        return found

    async def scan(self, url: str, *images: str, revision: int | None = None, **more: Any) -> list[Publication]:
        image = id_of(url)
        if revision is None:
            revision = (await self.image(url)).revision
        return await self.handlers.on_page_scanned(
            events.PageScanned(image=image, revision=revision, url=url, scanned_at=now(), images=list(images), **more)
        )

    async def store(self, url: str, body: bytes = b"bytes", *, revision: int | None = None, **more: Any) -> list[Publication]:
        image = await self.image(url)
        return await self.handlers.on_image_fetched(
            events.ImageFetched(
                image=image.id, revision=revision or image.revision, url=url, final_url=url, fetched_at=now(), took_ms=7, format="jpeg",
                content_type="image/jpeg", width=3, height=2, sha256=hashlib.sha256(body).hexdigest(), body=body, **more,
            )
        )  # fmt: skip

    async def fail(self, url: str) -> list[Publication]:
        image = await self.image(url)
        return await self.handlers.on_download_failed(
            events.DownloadFailed(image=image.id, revision=image.revision, reason=Reason.HTTP_STATUS, detail="404", failed_at=now(), took_ms=7)
        )

    async def unchanged(self, url: str, **more: Any) -> list[Publication]:
        image = await self.image(url)
        event = events.ImageUnchanged(image=image.id, revision=image.revision, checked_at=now(), took_ms=7, **more)
        return await self.handlers.on_image_unchanged(event)

    async def on_page(self, url: str) -> list[str]:
        return sorted(image.url for image in await self.catalog.page(Filters(page=id_of(url)), limit=5000, after=None))


@pytest.fixture
async def storer(mongo: Mongo, catalog: Catalog, blobs: Blobs) -> Storer:
    await Deliveries(mongo).create_indexes()
    await Batches(mongo).create_indexes()
    return Storer(mongo, catalog, blobs)


A, B, C = (f"https://example.org/{name}.jpg" for name in "abc")


async def test_the_images_of_a_page_become_images_of_their_own(storer: Storer) -> None:
    await storer.add(PAGE)
    [told] = await storer.scan(PAGE, A, B, alternatives={A: [C]}, skipped=1, refused=2, beyond=3, etag='"p"')
    assert isinstance(told.event, events.PageExpanded)
    assert (told.event.image, told.event.url, told.event.owners) == (id_of(PAGE), PAGE, [])
    page = await storer.image(PAGE)
    assert page.status == Status.EXPANDED
    assert page.page is not None
    assert (page.page.found, page.page.skipped, page.page.refused, page.page.beyond) == (2, 1, 2, 3)
    assert (page.etag, page.request().etag) == ('"p"', '"p"')
    assert await storer.on_page(PAGE) == [A, B]
    assert sorted(storer.dispatcher.taken()) == [A, B]
    assert (await storer.image(A)).alternatives == [C]
    assert await storer.catalog.counts(page.id) == {**dict.fromkeys(Status, 0), Status.QUEUED: 2}


async def test_a_repeated_scan_changes_nothing(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A, B)
    before, first = await storer.image(PAGE), await storer.image(A)
    storer.dispatcher.taken()
    await storer.store(A)
    stored = await storer.image(A)
    await storer.scan(PAGE, A, B)
    assert storer.dispatcher.taken() == []
    assert msgspec.structs.replace(await storer.image(PAGE), completed_at=before.completed_at) == before
    assert await storer.image(A) == stored
    assert first.owners == stored.owners == [id_of(PAGE)]


async def test_a_scan_of_a_former_revision_or_of_a_deleted_page_adds_nothing(storer: Storer) -> None:
    await storer.add(PAGE)
    revision = (await storer.image(PAGE)).revision
    await storer.scan(PAGE, A, revision=revision - 1)
    await storer.catalog.delete(id_of(PAGE))
    await storer.scan(PAGE, A, revision=revision)
    assert await storer.catalog.page(Filters(), limit=10, after=None) == []


async def test_an_image_may_belong_to_many_pages_and_is_downloaded_once(storer: Storer) -> None:
    pages = [f"https://example.org/{number}" for number in range(3)]
    for page in pages:
        await storer.add(page)
        await storer.scan(page, A)
    assert storer.dispatcher.taken() == [A]
    assert (await storer.image(A)).owners == [id_of(page) for page in pages]


async def test_an_image_that_goes_with_another_page_just_when_this_one_takes_it_is_added_again(storer: Storer, mongo: Mongo) -> None:
    class Late(Catalog):
        async def _claim(self, additions: Iterable[Addition]) -> None:
            assert await self.delete_images_of(id_of(PAGE)) == 1
            await super()._claim(additions)

    await storer.add(PAGE)
    await storer.scan(PAGE, A)
    added = await Late(mongo).add([Addition(id_of(url), urls.parse(url), BATCH) for url in (B, A)])
    assert [image and image.url for image in added] == [B, A]
    assert (await storer.image(A)).owners == [BATCH]


async def test_an_image_remembers_a_limited_number_of_pages_the_newest(storer: Storer, mongo: Mongo) -> None:
    await storer.add(A)
    await mongo["images"].update_one({"_id": id_of(A)}, {"$set": {"in": [f"{number:026}" for number in range(1000)]}})
    await storer.add(PAGE)
    await storer.scan(PAGE, A)
    owners = (await storer.image(A)).owners
    assert (len(owners), owners[0], owners[-1]) == (1000, f"{1:026}", id_of(PAGE))


async def test_a_page_that_names_itself_or_nonsense_is_expanded_without_it(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, PAGE, "nonsense", "ftp://example.org/a", A, A)
    assert await storer.on_page(PAGE) == [A]
    assert (await storer.image(PAGE)).status == Status.EXPANDED


async def test_a_page_without_images_is_a_page(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE)
    assert (await storer.image(PAGE)).status == Status.EXPANDED


async def test_a_refreshed_page_gains_keeps_and_loses_images(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A, B)
    await storer.store(A, etag='"a"')
    await storer.store(B)
    storer.dispatcher.taken()
    await storer.catalog.refresh(id_of(PAGE))
    await storer.scan(PAGE, A, C)
    assert await storer.on_page(PAGE) == [A, C]
    # B isn't the page's any more, but it is still there.
    assert ((await storer.image(B)).status, (await storer.image(B)).owners) == (Status.STORED, [])
    assert sorted(storer.dispatcher.taken()) == [A, C]
    again = await storer.image(A)
    assert (again.status, again.file is not None, again.request().etag) == (Status.QUEUED, True, '"a"')


async def test_a_repeated_scan_of_a_refreshed_page_refreshes_its_images_once(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A)
    await storer.store(A)
    await storer.catalog.refresh(id_of(PAGE))
    await storer.scan(PAGE, A)
    await storer.store(A)
    stored = await storer.image(A)
    await storer.scan(PAGE, A)
    assert await storer.image(A) == stored


async def test_a_page_that_has_not_changed_has_its_images_asked_for_again(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A)
    await storer.store(A)
    storer.dispatcher.taken()
    await storer.catalog.refresh(id_of(PAGE))
    [told] = await storer.unchanged(PAGE, etag='"q"')
    assert isinstance(told.event, events.PageExpanded)
    page = await storer.image(PAGE)
    assert (page.status, page.etag) == (Status.EXPANDED, '"q"')
    assert storer.dispatcher.taken() == [A]
    assert (await storer.image(A)).status == Status.QUEUED


async def test_a_url_that_gave_an_image_and_gives_a_page_now_keeps_its_image(storer: Storer) -> None:
    await storer.add(A)
    await storer.store(A)
    await storer.catalog.refresh(id_of(A))
    [told] = await storer.scan(A, B)
    image = await storer.image(A)
    assert isinstance(told.event, events.ImageFailed)
    assert (image.status, image.file is not None, image.error and image.error["reason"]) == (Status.FAILED, True, "not_an_image")
    assert await storer.catalog.get(id_of(B)) is None


async def test_a_url_that_gave_a_page_and_gives_an_image_now_is_an_image(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A)
    await storer.catalog.refresh(id_of(PAGE))
    await storer.store(PAGE)
    image = await storer.image(PAGE)
    assert (image.status, image.page, image.format) == (Status.STORED, None, "jpeg")
    assert (await storer.image(A)).owners == []


async def test_bytes_of_a_former_revision_take_no_image_from_a_page(storer: Storer) -> None:
    await storer.add(PAGE)
    late = (await storer.image(PAGE)).revision
    await storer.fail(PAGE)
    await storer.catalog.refresh(id_of(PAGE))
    await storer.scan(PAGE, A)
    await storer.store(PAGE, revision=late)
    assert (await storer.image(PAGE)).status == Status.EXPANDED
    assert (await storer.image(A)).owners == [id_of(PAGE)]


async def test_a_page_that_nobody_asked_for_but_a_page_is_not_followed(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A, B)
    [told] = await storer.scan(A, C)
    image = await storer.image(A)
    assert isinstance(told.event, events.ImageFailed)
    assert (image.status, image.page, image.error and image.error["reason"]) == (Status.FAILED, None, "not_an_image")
    assert await storer.catalog.get(id_of(C)) is None
    await storer.add(B)  # asked for by its own URL too
    [told] = await storer.scan(B, C)
    assert isinstance(told.event, events.PageExpanded)
    assert (await storer.image(B)).status == Status.EXPANDED


async def test_an_unchanged_image_is_confirmed_and_told_of(storer: Storer) -> None:
    await storer.add(A)
    await storer.store(A, etag='"a"')
    before = await storer.image(A)
    await storer.catalog.refresh(id_of(A))
    [told] = await storer.unchanged(A)
    image = await storer.image(A)
    assert isinstance(told.event, events.ImageStored)
    assert (image.status, image.file, image.etag, image.versions) == (Status.STORED, before.file, '"a"', [])
    assert image.checked_at is not None
    assert before.checked_at is not None
    assert image.checked_at >= before.checked_at


async def test_an_unchanged_that_is_late_changes_nothing(storer: Storer) -> None:
    await storer.add(A)
    await storer.store(A)
    late = events.ImageUnchanged(image=id_of(A), revision=(await storer.image(A)).revision, checked_at=now(), took_ms=7)
    await storer.catalog.refresh(id_of(A))
    assert await storer.handlers.on_image_unchanged(late) == []
    assert (await storer.image(A)).status == Status.QUEUED


async def test_what_is_replaced_becomes_a_version_once_however_often_it_is_told(storer: Storer) -> None:
    await storer.add(A)
    for body in (b"one", b"two", b"two", b"one"):
        await storer.catalog.refresh(id_of(A))
        for _ in range(3):
            await storer.store(A, body)
    image = await storer.image(A)
    hashes = [hashlib.sha256(body).hexdigest() for body in (b"one", b"two")]
    assert image.sha256 == hashes[0]
    assert [version.sha256 for version in image.versions] == hashes
    assert all(earlier.replaced_at <= later.replaced_at for earlier, later in itertools.pairwise(image.versions))


@pytest.mark.parametrize("text", ["$sha256", "$$NOW", "{$set: 1}", '"$url"', "a.b", "\N{SNOWMAN}"])
async def test_what_an_origin_says_is_never_read_as_an_expression(storer: Storer, text: str) -> None:
    await storer.add(A)
    for body in (b"one", b"two"):
        await storer.catalog.refresh(id_of(A))
        await storer.store(A, body, etag=text, last_modified=text)
    image = await storer.image(A)
    assert (image.etag, image.last_modified, len(image.versions)) == (text, text, 1)


async def test_deleting_a_page_with_its_images_leaves_those_that_somebody_else_has(storer: Storer) -> None:
    other = "https://example.org/other"
    d = "https://example.org/d.jpg"
    for page in (PAGE, other):
        await storer.add(page)
    await storer.scan(PAGE, A, B, C, d)
    await storer.scan(other, B)
    await storer.add(C)  # asked for by its own URL too
    await storer.add(d, owner=BATCH)
    assert await storer.catalog.delete_images_of(id_of(PAGE)) == 1
    assert await storer.catalog.get(id_of(A)) is None
    assert await storer.on_page(PAGE) == [B, C, d]


async def test_a_batch_is_complete_when_none_of_its_images_is_on_its_way(storer: Storer, mongo: Mongo) -> None:
    batches = Batches(mongo)
    published: list[Any] = []

    class Publisher:
        async def publish_surely(self, event: Any, *_: Any) -> None:
            published.append(event)

    publisher: Any = Publisher()
    completion = Completion(batches, storer.catalog, storer.callbacks, publisher)
    await batches.begin(BATCH, fingerprint="x", total=3, callback="https://example.com/told")
    for url in (A, B, PAGE):
        await storer.add(url, owner=BATCH)
    assert await completion.round() == 0  # not all of it is recorded
    await batches.record(BATCH, Fates(accepted=3, known=0, repeated=0, refused=0))
    await storer.store(A)
    await storer.fail(B)
    assert await completion.round() == 0
    await storer.scan(PAGE, C)
    assert await completion.round() == 1
    assert await completion.round() == 0
    [told] = published
    assert (told.url, json_of(told)["data"]["counts"]) == (
        "https://example.com/told",
        {"queued": 0, "delayed": 0, "stored": 1, "failed": 1, "expanded": 1},
    )
    batch = await batches.get(BATCH)
    assert batch is not None
    assert batch.completed_at is not None
    assert batch.completed_at > datetime.now(UTC) - timedelta(minutes=1)


def json_of(event: events.CallbackRequested) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(event.payload)
    return found


async def test_what_is_announced_says_who_has_the_image(storer: Storer) -> None:
    await storer.add(PAGE)
    await storer.scan(PAGE, A, B, C)
    batch = "0123456789abcdef0123456789abcdef"
    await storer.add(A, owner=batch)
    image = await storer.image(B)
    later = now()
    delay = events.DownloadDelayed(
        image=image.id, revision=image.revision, reason=Reason.TIMEOUT, detail="Too slow.", failed_at=now(), took_ms=7, next_attempt_at=later
    )
    told = [publication.event for publication in [*await storer.store(A), *await storer.handlers.on_download_delayed(delay), *await storer.fail(C)]]
    stored, delayed, failed = told
    assert isinstance(stored, events.ImageStored)
    assert isinstance(delayed, events.ImageDelayed)
    assert isinstance(failed, events.ImageFailed)
    assert stored.owners == [id_of(PAGE), batch]
    assert (delayed.url, delayed.next_attempt_at, delayed.owners) == (B, later, [id_of(PAGE)])
    assert (failed.url, failed.owners) == (C, [id_of(PAGE)])
    # It is late: its image is stored by now.
    await storer.store(B)
    assert await storer.handlers.on_download_delayed(delay) == []


async def test_whoever_gave_a_callback_is_told_what_became_of_the_image(storer: Storer) -> None:
    await storer.add(A, callback="https://example.com/told")
    await storer.add(B, callback="https://example.com/told")
    stored, told = await storer.store(A)
    assert isinstance(stored.event, events.ImageStored)
    assert isinstance(told.event, events.CallbackRequested)
    assert json_of(told.event)["type"] == "image.stored"
    _, told = await storer.fail(B)
    assert isinstance(told.event, events.CallbackRequested)
    assert json_of(told.event)["data"]["source_url"] == B
    # Repeated, it is the same delivery.
    again = await storer.fail(B)
    assert [publication.event.message_id for publication in again[1:]] in ([], [told.event.message_id])


async def test_images_with_the_same_bytes_share_a_file_and_say_so(storer: Storer, mongo: Mongo) -> None:
    for url, body in ((A, b"same"), (B, b"same"), (C, b"other")):
        await storer.add(url)
        await storer.store(url, body)
    a, b, c = [await storer.image(url) for url in (A, B, C)]
    assert a.file == b.file != c.file
    assert [await storer.catalog.same_bytes(image, limit=10) for image in (a, b, c)] == [[b.id], [a.id], []]
    assert await mongo["fs.files"].count_documents({}) == 2
    await storer.catalog.delete(a.id)
    assert await storer.catalog.same_bytes(b, limit=10) == []
