"""One event of each kind, for the AsyncAPI document: the story of one image, of a page, of a large image, and of what fails."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from services.api.reference.operations import BATCH_ID, DELIVERY_ID, IMAGE_ID, PAGE_ID, PAGE_URL, URL
from shared import events
from shared.errors import Reason

_PICTURE = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"  # 1 pixel
_FILE = "697df0e0c0ffee0123456789"
_REVISION = 1769860800120


def _at(milliseconds: int) -> datetime:
    return datetime(2026, 1, 31, 12, 0, 0, milliseconds * 1000, tzinfo=UTC)


_FETCHED = events.ImageFetched(
    image=IMAGE_ID, revision=_REVISION, url=URL, final_url=URL, fetched_at=_at(400), took_ms=210, format="gif", content_type="image/gif",
    width=1, height=1, sha256=hashlib.sha256(_PICTURE).hexdigest(), etag='"5e2a"', body=_PICTURE,
)  # fmt: skip

SAMPLES: tuple[tuple[str, events.Event], ...] = (
    ("A new image", events.DownloadRequested(image=IMAGE_ID, revision=_REVISION, url=URL, requested_at=_at(120))),
    ("The last part of three", events.ImagePart(image=IMAGE_ID, revision=_REVISION, file=_FILE, number=2, body=b"\xff\xd9")),
    ("An image in one message", _FETCHED),
    (
        "An image of three parts that went ahead",
        events.ImageFetched(
            image=IMAGE_ID, revision=_REVISION, url=URL, final_url=URL, fetched_at=_at(400), took_ms=910, format="jpeg", content_type="image/jpeg",
            width=6000, height=4000, sha256="ab" * 32, file=_FILE, parts=3, size=2 * events.PART_BYTES + 2, body=b"",
        ),
    ),
    ("The copy is current", events.ImageUnchanged(image=IMAGE_ID, revision=_REVISION, checked_at=_at(400), took_ms=31, etag='"5e2a"')),
    (
        "A page with one image",
        events.PageScanned(
            image=PAGE_ID, revision=_REVISION, url=PAGE_URL, scanned_at=_at(400), images=[URL], alternatives={URL: ["https://example.org/cat-small.jpg"]},
            skipped=3, final_url=PAGE_URL, took_ms=90,
        ),
    ),
    (
        "Another attempt follows",
        events.DownloadDelayed(
            image=IMAGE_ID, revision=_REVISION, reason=Reason.HTTP_STATUS, detail="503 Service Unavailable", failed_at=_at(400), took_ms=40,
            next_attempt_at=_at(900),
        ),
    ),
    (
        "The last attempt",
        events.DownloadFailed(
            image=IMAGE_ID, revision=_REVISION, attempt=6, reason=Reason.HTTP_STATUS, detail="503 Service Unavailable", failed_at=_at(400), took_ms=40
        ),
    ),
    (
        "A copy is held",
        events.ImageStored(
            image=IMAGE_ID, revision=_REVISION, url=URL, stored_at=_at(480), format="gif", content_type="image/gif", width=1, height=1,
            size=len(_PICTURE), sha256=_FETCHED.sha256, owners=[BATCH_ID],
        ),
    ),
    (
        "There will be no copy",
        events.ImageFailed(
            image=IMAGE_ID, revision=_REVISION, attempt=6, reason=Reason.HTTP_STATUS, detail="503 Service Unavailable", failed_at=_at(400), url=URL
        ),
    ),
    (
        "Another attempt follows",
        events.ImageDelayed(
            image=IMAGE_ID, revision=_REVISION, url=URL, reason=Reason.HTTP_STATUS, detail="503 Service Unavailable", failed_at=_at(400),
            next_attempt_at=_at(900),
        ),
    ),
    ("A page is expanded", events.PageExpanded(image=PAGE_ID, revision=_REVISION, url=PAGE_URL, expanded_at=_at(480))),
    (
        "Tell of a stored image",
        events.CallbackRequested(
            image=IMAGE_ID, revision=_REVISION, delivery=DELIVERY_ID, url="https://example.com/told",
            payload='{"type":"image.stored","timestamp":"2026-01-31T12:00:00.480000Z","data":{}}',
        ),
    ),
    (
        "It was taken",
        events.CallbackAttempted(
            image=IMAGE_ID, revision=_REVISION, delivery=DELIVERY_ID, attempted_at=_at(610), took_ms=90, http_status=204
        ),
    ),
)  # fmt: skip
"""What is special about each, and the event."""
