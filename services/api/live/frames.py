"""Events as clients see them: what an announcement says, as JSON, in a frame of text/event-stream (HTML Living Standard, section 9.2.6)."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING

import msgspec

from shared.events import ImageDelayed, ImageFailed, ImageStored, PageExpanded
from shared.status import Status, now

if TYPE_CHECKING:
    from shared.events import Event

RESET = "reset"
RETRY_MILLISECONDS = 2000


class Happened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to an image or a page, whose id it has, by the names of GET /images/{id}. `in` are the pages and batches that have it."""

    id: str
    status: Status
    at: datetime
    url: str | None = None
    reason: str | None = None
    detail: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    next_attempt_at: datetime | None = None
    owners: list[str] = msgspec.field(name="in", default_factory=list)


def told(event: Event) -> Happened | None:
    """What clients are told of an announcement."""
    match event:
        case ImageStored():
            return Happened(
                id=event.image, status=Status.STORED, at=event.stored_at, url=event.url, format=event.format, width=event.width,
                height=event.height, size=event.size, owners=event.owners,
            )  # fmt: skip
        case ImageFailed():
            return Happened(
                id=event.image, status=Status.FAILED, at=event.failed_at, url=event.url or None, reason=event.reason, detail=event.detail,
                owners=event.owners,
            )  # fmt: skip
        case ImageDelayed():
            return Happened(
                id=event.image, status=Status.DELAYED, at=event.failed_at, url=event.url, reason=event.reason, detail=event.detail,
                next_attempt_at=event.next_attempt_at, owners=event.owners,
            )  # fmt: skip
        case PageExpanded():
            return Happened(id=event.image, status=Status.EXPANDED, at=event.expanded_at, url=event.url, owners=event.owners)
    return None


def frame(happened: Happened, identifier: str) -> bytes:
    """An event. Its data is one line: JSON escapes line breaks."""
    return _frame(happened.status, identifier, msgspec.json.encode(happened))


def reset(identifier: str) -> bytes:
    """Something was missed: a client's own list is out of date. What follows goes on from this event."""
    # Not without data: it would be no event.
    return _frame(RESET, identifier, msgspec.json.encode({"at": now()}))


def opening(identifier: str) -> bytes:
    """The first frame, of no event: how long to wait before coming back, and with which id."""
    return f"retry: {RETRY_MILLISECONDS}\nid: {identifier}\n\n".encode()


def keep_alive(identifier: str) -> bytes:
    """A comment. With the id, so that one whose filter lets little through doesn't come back with one of long ago."""
    return f": nothing new\nid: {identifier}\n\n".encode()


def _frame(name: str, identifier: str, data: bytes) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), identifier.encode(), data)
