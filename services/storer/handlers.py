"""What the storer does with each outcome: a fact comes in, it is made durable, the next fact goes out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.storer.parts import MOST_PARTS, Parts
from shared import catalog
from shared.batching import Batcher
from shared.blobs import Blob
from shared.broker import Publication
from shared.catalog import Status
from shared.events import DownloadFailed, ImageFailed, ImageStored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson import ObjectId

    from shared.blobs import Blobs
    from shared.catalog import Catalog
    from shared.dead_letters import DeadLetters, Died
    from shared.events import DownloadDelayed, Event, ImageFetched, ImagePart

BATCH_ITEMS = 64
BATCH_BYTES = 16 * 1024 * 1024
WRITERS = 2
"""One batch is being encoded while the other's journal is being written."""

SETTLED = (Status.STORED, Status.EXPANDED)
"""An image that arrives changes nothing any more."""


class Handlers:
    """The storer's subscribers. Each returns when MongoDB has the outcome in a majority's journals. An image may have up to `most_parts` parts."""

    def __init__(self, images: Catalog, blobs: Blobs, dead_letters: DeadLetters, *, most_parts: int = MOST_PARTS) -> None:
        self._images = images
        self._blobs = blobs
        self._dead_letters = dead_letters
        self._parts = Parts(blobs, most=most_parts)
        self._fetched: Batcher[ImageFetched, bool] = Batcher(
            self._store, max_items=BATCH_ITEMS, max_size=BATCH_BYTES, size=lambda event: len(event.body), writers=WRITERS
        )
        self._closed: Batcher[tuple[ImageFetched, ObjectId], bool] = Batcher(self._point, max_items=BATCH_ITEMS, writers=WRITERS)
        self._unfetched: Batcher[DownloadDelayed | DownloadFailed, bool] = Batcher(self._note, max_items=4 * BATCH_ITEMS)

    async def on_image_part(self, event: ImagePart) -> list[Publication]:
        """A part of the bytes to GridFS; image-fetched follows, or was here before."""
        await self._parts.write(event)
        return []

    async def on_image_fetched(self, event: ImageFetched) -> list[Publication]:
        """Bytes to GridFS, facts to the image's document."""
        if event.parts:
            return await self._on_parts(event)
        return [Publication(_image_stored(event))] if await self._fetched.add(event) else []

    async def on_download_delayed(self, event: DownloadDelayed) -> list[Publication]:
        """One attempt more in the image's history."""
        await self._unfetched.add(event)
        return []

    async def on_download_failed(self, event: DownloadFailed) -> list[Publication]:
        """The last attempt, and why."""
        if not await self._unfetched.add(event):
            return []
        failed = ImageFailed(
            image=event.image, revision=event.revision, attempt=event.attempt,
            reason=event.reason, detail=event.detail, failed_at=event.failed_at,
        )  # fmt: skip
        return [Publication(failed)]

    async def on_dead_letter(self, died: Died) -> list[Publication]:
        """Where people can see it."""
        await self._dead_letters.keep(died)
        return []

    async def _on_parts(self, event: ImageFetched) -> list[Publication]:
        file = await self._parts.file_of(event)
        if file:
            holds = await self._closed.add((event, file))
            if str(file) != event.file:  # only now: should this be repeated, the document holds already
                await self._parts.discard(event)
        else:
            revision, status = (await self._images.standing([event.image])).get(event.image, (None, None))
            if revision == event.revision and status not in SETTLED:
                return [await self._parts.later(event)]
            # Nobody waits for it any more; if that is because this was done before, its parts may be gone for good.
            holds = (revision, status) == (event.revision, Status.STORED)
        return [Publication(_image_stored(event))] if holds else []

    async def _store(self, events: list[ImageFetched]) -> Sequence[bool]:
        # Bytes first: a document that says `stored` must never point at nothing.
        files = await self._blobs.store([Blob(event.sha256, event.body, event.content_type) for event in events])
        return await self._point(list(zip(events, files, strict=True)))

    async def _point(self, stored: list[tuple[ImageFetched, ObjectId]]) -> list[bool]:
        await self._images.settle([update for event, file in stored for update in catalog.stored(event, file)])
        return await self._hold([event for event, _ in stored], Status.STORED)

    async def _note(self, events: list[DownloadDelayed | DownloadFailed]) -> Sequence[bool]:
        await self._images.settle([update for event in events for update in catalog.unfetched(event)])
        # A delay isn't announced by the storer.
        return await self._hold(events, Status.FAILED) if any(isinstance(event, DownloadFailed) for event in events) else [False] * len(events)

    async def _hold(self, events: Sequence[Event], status: Status) -> list[bool]:
        """Whether each event is what its image's document says now: one of a former revision, or a failure after a success, isn't announced."""
        standing = await self._images.standing({event.image for event in events})
        return [standing.get(event.image) == (event.revision, status) for event in events]


def _image_stored(event: ImageFetched) -> ImageStored:
    return ImageStored(
        image=event.image, revision=event.revision, attempt=event.attempt, url=event.url, stored_at=datetime.now(UTC),
        format=event.format, content_type=event.content_type, width=event.width, height=event.height,
        size=event.length, sha256=event.sha256,
    )  # fmt: skip
