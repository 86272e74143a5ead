"""Pages: the images found on one become images of their own, that belong to it.

Each step can be repeated, and the page's own document is written last: a crash anywhere leaves the message unacked and the page
`queued`, and the next delivery finds most of the work done.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared import outcomes, tracing, urls
from shared.errors import Reason, UrlRefused
from shared.events import DownloadFailed
from shared.image import Addition

if TYPE_CHECKING:
    from shared.catalog import Catalog
    from shared.dispatch import Dispatcher
    from shared.events import PageScanned

MAX_DISPATCHED = 10_000
"""More than the images of any page; what is beyond is the relay's."""


class Pages:
    """The storer's part in pages."""

    def __init__(self, images: Catalog, dispatcher: Dispatcher) -> None:
        self._images = images
        self._dispatcher = dispatcher

    async def expand(self, event: PageScanned) -> DownloadFailed | None:
        """Adds and binds a page's images, unbinds those that left it, and has the others downloaded again if the page was scanned before.

        Returns the failure instead if the URL gave an image before: a copy that is held isn't given up for a page. Or if nobody asked for
        the URL but a page that has it as an image: pages that name pages could keep us busy for ever.
        """
        page = await self._images.get(event.image)
        if page is None or page.revision != event.revision:  # deleted, or asked for anew
            return None
        if page.file is not None:
            return await self._fail(event, "The URL gives a page now; the image that it gave before is kept.")
        if page.found:
            return await self._fail(
                event, "The URL gives a page, where a page has it for an image. Pages on pages are not followed; PUT of its own URL does that."
            )
        found = _additions(event)
        added = [image for image in await self._images.add(found) if image] if found else []
        await self._images.unbind(page.id, keep=[addition.id for addition in found])
        scanned_before = page.page is not None and page.page.revision != event.revision
        refreshed = scanned_before and await self._images.refresh_all(page.id, before=event.scanned_at)
        written = await self._images.settle([outcomes.expanded(event)])
        if not written and await self._images.get(page.id) is None:
            # Deleted meanwhile: its images would be left with nobody who knows of them.
            await self._images.delete_images_of(page.id)
            await self._images.unbind(page.id)
            return None
        if refreshed:
            await self._dispatch(page.id)
        else:
            self._dispatcher.dispatch_all(added)
        return None

    async def refresh(self, page: str, *, before: datetime) -> None:
        """Has the images of a page, as far as they weren't asked for since a time, downloaded again."""
        if await self._images.refresh_all(page, before=before):
            await self._dispatch(page)

    async def _fail(self, event: PageScanned, detail: str) -> DownloadFailed:
        failed = DownloadFailed(
            image=event.image, revision=event.revision, attempt=event.attempt, reason=Reason.NOT_AN_IMAGE, detail=detail,
            failed_at=event.scanned_at, took_ms=event.took_ms,
        )  # fmt: skip
        await self._images.settle(outcomes.unfetched(failed))
        return failed

    async def _dispatch(self, page: str) -> None:
        self._dispatcher.dispatch_all(await self._images.undispatched(before=datetime.now(UTC), limit=MAX_DISPATCHED, owner=page))


def _additions(event: PageScanned) -> list[Addition]:
    """The images of a page, each once. A message is not trusted: what is no URL isn't added."""
    additions: dict[str, Addition] = {}
    trace = tracing.cause(of_many=True)
    for href in event.images:
        try:
            url = urls.parse(href)
        except UrlRefused:
            continue
        image = urls.image_id(url.href)
        if image != event.image:
            others = event.alternatives.get(href, ())
            additions.setdefault(image, Addition(image, url, event.image, found=True, alternatives=others, trace=trace))
    return list(additions.values())
