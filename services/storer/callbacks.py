"""What the storer does for those who asked to be told: records the delivery, hands it to the fetchers, and notes each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared.batching import Batcher
from shared.broker import Publication
from shared.deliveries import Delivery, Kind, delivery_id
from shared.events import ImageStored, PageExpanded
from shared.status import now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shared.deliveries import Deliveries
    from shared.events import CallbackAttempted, CallbackRequested, ImageFailed
    from shared.status import Status

BATCH_ITEMS = 64
Json = dict[str, Any]


class Callbacks:
    """Deliveries, by what has happened. `base` is BOWERBIRD_PUBLIC_URL, or empty for links that are paths.

    What `for_image` and `for_batch` return is to be published before the message is acked that caused it: a crash before that repeats the
    step, which finds the delivery recorded, and returns it again as long as no attempt is known.
    """

    def __init__(self, deliveries: Deliveries, base: str) -> None:
        self._deliveries = deliveries
        self._base = base
        self._records: Batcher[Delivery, CallbackRequested | None] = Batcher(deliveries.record, max_items=BATCH_ITEMS, name="record deliveries")

    async def for_image(self, event: ImageStored | ImageFailed | PageExpanded, callback: str, source_url: str | None = None) -> list[Publication]:
        """Tells `callback` what has become of an image. `source_url` is the image's, which image-failed doesn't carry."""
        payload = image_payload(event, self._base, source_url)
        return await self._tell(event.image, event.revision, Kind(payload["type"]), callback, payload)

    async def for_batch(self, batch_id: str, counts: Mapping[Status, int], total: int, callback: str, at: datetime) -> list[Publication]:
        """Tells `callback` that nothing more will happen to any image of a batch: once, however often this is called."""
        return await self._tell(batch_id, 1, Kind.BATCH_COMPLETED, callback, batch_payload(batch_id, counts, total, at, self._base))

    async def on_callback_attempted(self, event: CallbackAttempted) -> list[Publication]:
        """One attempt more in the delivery's history."""
        await self._deliveries.attempted(event)
        return []

    async def _tell(self, subject: str, revision: int, kind: Kind, callback: str, payload: Json) -> list[Publication]:
        text = msgspec.json.encode(payload).decode()
        delivery = Delivery(
            id=delivery_id(subject, revision, kind), subject=subject, revision=revision, kind=kind, url=callback, payload=text, created_at=now()
        )
        request = await self._records.add(delivery)
        return [Publication(request)] if request else []


def image_payload(event: ImageStored | ImageFailed | PageExpanded, base: str, source_url: str | None = None) -> Json:
    """What is said of an image: members of GET /images/{id}, by the same names. "thin" would have everybody ask for them at once."""
    own = f"{base}/images/{event.image}"
    if isinstance(event, ImageStored):
        content = f"{own}/content"
        data: Json = {
            "id": event.image, "status": "stored", "source_url": event.url, "stored_url": content, "format": event.format,
            "content_type": event.content_type, "width": event.width, "height": event.height, "size": event.size, "sha256": event.sha256,
            "error": None, "links": {"self": own, "content": content},
        }  # fmt: skip
        return _message(Kind.IMAGE_STORED, event.stored_at, data)
    if isinstance(event, PageExpanded):
        data = {
            "id": event.image,
            "status": "expanded",
            "source_url": event.url,
            "links": {"self": own, "images": f"{base}/images?page={event.image}"},
        }
        return _message(Kind.PAGE_EXPANDED, event.expanded_at, data)
    data = {
        "id": event.image, "status": "failed", "source_url": source_url, "error": {"reason": event.reason, "detail": event.detail},
        "links": {"self": own},
    }  # fmt: skip
    return _message(Kind.IMAGE_FAILED, event.failed_at, data)


def batch_payload(batch_id: str, counts: Mapping[Status, int], total: int, at: datetime, base: str) -> Json:
    """What is said of a batch. `counts` are by status."""
    links = {"self": f"{base}/batches/{batch_id}", "images": f"{base}/images?batch={batch_id}"}
    return _message(Kind.BATCH_COMPLETED, at, {"id": batch_id, "total": total, "counts": dict(counts), "links": links})


def _message(kind: Kind, at: datetime, data: Json) -> Json:
    """As the Standard Webhooks specification suggests ("Payload structure"); `at` is when it happened, not when it is sent."""
    return {"type": kind, "timestamp": at, "data": data}
