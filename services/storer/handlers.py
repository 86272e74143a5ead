"""What the storer does with each outcome: a fact comes in, it is made durable, the next fact goes out."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.storer.pages import Pages
from services.storer.parts import MOST_PARTS, Parts
from shared import metrics, outcomes
from shared.batching import Batcher
from shared.blobs import Blob
from shared.broker import Publication
from shared.events import DownloadFailed, ImageDelayed, ImageFailed, ImageStored, PageExpanded
from shared.minutes import Minutes
from shared.status import Status
from shared.telemetry import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson import ObjectId

    from services.storer.callbacks import Callbacks
    from shared.blobs import Blobs
    from shared.catalog import Catalog
    from shared.dead_letters import DeadLetters, Died
    from shared.dispatch import Dispatcher
    from shared.events import DownloadDelayed, Event, ImageFetched, ImagePart, ImageUnchanged, PageScanned
    from shared.image import Image, Standing

log = logging.getLogger("bowerbird.storer")

BATCH_ITEMS = 96
BATCH_BYTES = 6 * 1024 * 1024
WRITERS = 2
"""One batch is being encoded while the other waits for a journal. Two large batches take less of everybody's time than six small ones (docs/performance.md)."""

_COUNTED = {ImageStored: "stored", ImageFailed: "failed", PageExpanded: "expanded"}
_ARRIVED = (Status.STORED, Status.EXPANDED)
"""An image that arrives changes nothing any more."""


class Handlers:
    """The storer's subscribers. Each returns when MongoDB has the outcome in a majority's journals. An image may have up to `most_parts` parts.

    `minutes` counts what was announced: a repetition of what is the document's state counts again, what changed nothing doesn't.
    """

    def __init__(
        self, images: Catalog, blobs: Blobs, dead_letters: DeadLetters, dispatcher: Dispatcher, callbacks: Callbacks,
        *, most_parts: int = MOST_PARTS, minutes: Minutes | None = None,
    ) -> None:  # fmt: skip
        self._minutes = minutes or Minutes()
        self._images = images
        self._pages = Pages(images, dispatcher)
        self._blobs = blobs
        self._dead_letters = dead_letters
        self._callbacks = callbacks
        self._parts = Parts(blobs, most=most_parts)
        self._fetched: Batcher[ImageFetched, Standing | None] = Batcher(
            metrics.batched("fetched", self._store), max_items=BATCH_ITEMS, max_size=BATCH_BYTES, size=lambda event: len(event.body), writers=WRITERS,
            name="store images",
        )  # fmt: skip
        self._closed: Batcher[tuple[ImageFetched, ObjectId], Standing | None] = Batcher(
            metrics.batched("closed", self._point), max_items=BATCH_ITEMS, writers=WRITERS, name="store large images"
        )
        self._unfetched: Batcher[DownloadDelayed | DownloadFailed, Standing | None] = Batcher(
            metrics.batched("unfetched", self._note), max_items=BATCH_ITEMS, name="note failures"
        )

    async def on_image_part(self, event: ImagePart) -> list[Publication]:
        """A part of the bytes to GridFS; image-fetched follows, or was here before."""
        await self._parts.write(event)
        return []

    async def on_image_fetched(self, event: ImageFetched) -> list[Publication]:
        """Bytes to GridFS, facts to the image's document."""
        if event.parts:
            return await self._on_parts(event)
        standing = await self._fetched.add(event)
        return await self._tell(_image_stored(event, standing), standing) if standing else []

    async def on_image_unchanged(self, event: ImageUnchanged) -> list[Publication]:
        """The copy that is held is confirmed; a page's images are asked for again, since they may have changed though the page hasn't."""
        await self._images.settle(outcomes.unchanged(event))
        image = await self._images.get(event.image)
        if image is None or image.revision != event.revision:
            return []
        metrics.OUTCOMES["unchanged",].inc()
        if image.status == Status.EXPANDED:
            await self._pages.refresh(image.id, before=event.checked_at)
            return await self._tell(_page_expanded(event, image), image)
        return await self._tell(_still_stored(image, event), image) if image.status == Status.STORED else []

    async def on_page_scanned(self, event: PageScanned) -> list[Publication]:
        """Every image on the page is an image of its own."""
        failed = await self._pages.expand(event)
        [standing] = await self._hold([event], [Status.FAILED if failed else Status.EXPANDED])
        if standing is None:
            return []
        return await self._tell(_image_failed(failed, standing) if failed else _page_expanded(event, standing), standing)

    async def on_download_delayed(self, event: DownloadDelayed) -> list[Publication]:
        """One attempt more in the image's history."""
        standing = await self._unfetched.add(event)
        if standing is None:
            return []
        self._minutes.count("delayed")
        return [Publication(_image_delayed(event, standing))]

    async def on_download_failed(self, event: DownloadFailed) -> list[Publication]:
        """The last attempt, and why."""
        standing = await self._unfetched.add(event)
        return await self._tell(_image_failed(event, standing), standing) if standing else []

    async def on_dead_letter(self, died: Died) -> list[Publication]:
        """Where people can see it."""
        await self._dead_letters.keep(died)
        envelope = died.envelope
        image = (envelope.correlation_id or "").rpartition(".")[0] or None
        facts = {"image": image, "correlation": envelope.correlation_id, "message_id": envelope.message_id, "type": envelope.type}
        log.warning("a dead letter", extra={**facts, "letter": died.id, "queue": died.queue, "reason": died.reason})
        return []

    async def _on_parts(self, event: ImageFetched) -> list[Publication]:
        file = await self._parts.file_of(event)
        if file:
            standing = await self._closed.add((event, file))
            if str(file) == event.file:
                metrics.STORED_BYTES.inc(event.size)
            else:  # only now: should this be repeated, the document holds already
                metrics.SAME_BYTES.inc()
                await self._parts.discard(event)
                await self._images.mark_shared([file])
        else:
            found = (await self._images.standing([event.image])).get(event.image)
            if found and found.revision == event.revision and found.status not in _ARRIVED:
                return [await self._parts.later(event)]
            # Nobody waits for it any more; if that is because this was done before, its parts may be gone for good.
            standing = found if found and found[:2] == (event.revision, Status.STORED) else None
        return await self._tell(_image_stored(event, standing), standing) if standing else []

    async def _store(self, events: list[ImageFetched]) -> Sequence[Standing | None]:
        # Bytes first: a document that says `stored` must never point at nothing.
        kept = await self._blobs.store([Blob(event.sha256, event.body, event.content_type) for event in events])
        standing = await self._point([(event, file) for event, (file, _) in zip(events, kept, strict=True)])
        await self._images.mark_shared({file for file, again in kept if again})
        return standing

    async def _point(self, stored: list[tuple[ImageFetched, ObjectId]]) -> list[Standing | None]:
        await self._images.store(stored)
        return await self._hold([event for event, _ in stored], [Status.STORED] * len(stored))

    async def _note(self, events: list[DownloadDelayed | DownloadFailed]) -> Sequence[Standing | None]:
        await self._images.settle([update for event in events for update in outcomes.unfetched(event)])
        return await self._hold(events, [Status.FAILED if isinstance(event, DownloadFailed) else Status.DELAYED for event in events])

    async def _hold(self, events: Sequence[Event], statuses: Sequence[Status]) -> list[Standing | None]:
        """How each image stands, if the event is what its document says now: one of a former revision, or a failure after a success, isn't announced."""
        standing = await self._images.standing({event.image for event in events})
        found = [standing.get(event.image) for event in events]
        due = [(event.revision, status) for event, status in zip(events, statuses, strict=True)]
        held = [one if one and one[:2] == wanted else None for one, wanted in zip(found, due, strict=True)]
        for status, number in Counter(status if one else "superseded" for one, status in zip(held, statuses, strict=True)).items():
            metrics.OUTCOMES[status,].inc(number)
        return held

    async def _tell(self, event: ImageStored | ImageFailed | PageExpanded, image: Standing | Image) -> list[Publication]:
        """Whoever listens, and the one who asked to be told."""
        told = await self._callbacks.for_image(event, image.callback, image.url) if image.callback else []
        self._minutes.count(_COUNTED[type(event)])
        if isinstance(event, ImageStored):
            self._minutes.count("stored_bytes", event.size)
        log.debug("an outcome is recorded", extra={**about(event), "type": event.NAME, "attempt": event.attempt})
        return [Publication(event), *told]


def _image_stored(event: ImageFetched, image: Standing) -> ImageStored:
    return ImageStored(
        image=event.image, revision=event.revision, attempt=event.attempt, url=event.url, stored_at=datetime.now(UTC),
        format=event.format, content_type=event.content_type, width=event.width, height=event.height,
        size=event.length, sha256=event.sha256, owners=image.owners,
    )  # fmt: skip


def _still_stored(image: Image, event: ImageUnchanged) -> ImageStored:
    return ImageStored(
        image=image.id, revision=image.revision, attempt=event.attempt, url=image.url, stored_at=datetime.now(UTC),
        format=image.format or "", content_type=image.content_type or "", width=image.width or 0, height=image.height or 0,
        size=image.size or 0, sha256=image.sha256 or "", owners=image.owners,
    )  # fmt: skip


def _image_failed(event: DownloadFailed, image: Standing) -> ImageFailed:
    return ImageFailed(
        image=event.image, revision=event.revision, attempt=event.attempt,
        reason=event.reason, detail=event.detail, failed_at=event.failed_at, url=image.url, owners=image.owners,
    )  # fmt: skip


def _image_delayed(event: DownloadDelayed, image: Standing) -> ImageDelayed:
    return ImageDelayed(
        image=event.image, revision=event.revision, attempt=event.attempt, url=image.url, reason=event.reason, detail=event.detail,
        failed_at=event.failed_at, next_attempt_at=event.next_attempt_at, owners=image.owners,
    )  # fmt: skip


def _page_expanded(event: PageScanned | ImageUnchanged, page: Standing | Image) -> PageExpanded:
    return PageExpanded(
        image=event.image, revision=event.revision, attempt=event.attempt, url=page.url, expanded_at=datetime.now(UTC), owners=page.owners
    )
