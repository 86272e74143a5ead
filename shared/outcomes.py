"""What becomes of an image, as updates of its document: pure, from an event.

Each says which revision and which states it may start from, in the same operation: events arrive repeated, late and out of
order, and the document ends the same. An outcome never takes away a copy that is held: that is replaced, and kept as a version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

from shared.events import DownloadFailed, PageScanned
from shared.status import SETTLED, WAITING, Status, now

if TYPE_CHECKING:
    from bson import ObjectId

    from shared.events import DownloadDelayed, ImageFetched, ImageUnchanged
    from shared.mongo import Document

MAX_ATTEMPTS = 100
"""As many of an image's latest failures are kept."""

MAX_VERSIONS = 1000
"""As many former copies of an image are kept, the newest: all of them stand in its document."""

_COPY = ("file", "sha256", "size", "format", "content_type", "width", "height", "fetched_at")
_DONE = ("dispatched", "error", "next_attempt_at")


def stored(event: ImageFetched, file: ObjectId) -> UpdateOne:
    """The image has its first bytes. Wins over every other outcome of the same revision, whichever arrives first."""
    where = {**_may_be_stored(event), "file": {"$exists": False}, "page": {"$exists": False}}
    # MongoDB would think about other indexes for a while, every time.
    return UpdateOne(where, {"$set": _copy(event, file), "$unset": dict.fromkeys(_DONE, "")}, hint="_id_")


def replaced(event: ImageFetched, file: ObjectId) -> list[UpdateOne]:
    """As `stored`, for an image that has a copy already, which becomes a version unless it is the same; or that was a page."""
    former = {name: f"${name}" for name in _COPY} | {"replaced_at": _literal(now())}
    versions = {"$slice": [{"$concatArrays": [{"$ifNull": ["$versions", []]}, [former]]}, -MAX_VERSIONS]}
    # Literal, since in a pipeline a text that begins with $ would be read as a field's name, and ETags are other people's.
    same = {"$eq": ["$sha256", _literal(event.sha256)]}
    fields = {name: _literal(value) for name, value in _copy(event, file).items()}
    return [
        UpdateOne(
            {**_may_be_stored(event), "file": {"$exists": True}},
            [{"$set": {"versions": {"$cond": [same, "$versions", versions]}, **fields}}, {"$unset": list(_DONE)}],
        ),
        UpdateOne(of_page(event), {"$set": _copy(event, file), "$unset": dict.fromkeys((*_DONE, "page"), "")}),
    ]


def of_page(event: ImageFetched) -> Document:
    """Where the image is a page until now."""
    return {**_may_be_stored(event), "file": {"$exists": False}, "page": {"$exists": True}}


def unchanged(event: ImageUnchanged) -> list[UpdateOne]:
    """What is held is still what the origin has."""
    fields: Document = {"attempt": event.attempt, "checked_at": event.checked_at, "completed_at": now(), "took_ms": event.took_ms}
    fields |= {name: value for name in ("etag", "last_modified") if (value := getattr(event, name)) is not None}
    where = {"_id": event.image, "revision": event.revision, "status": {"$in": [*WAITING, Status.FAILED]}}
    held = {"file": {"$exists": True}}
    page = {"file": {"$exists": False}, "page": {"$exists": True}}
    return [
        UpdateOne({**where, **having}, {"$set": {**fields, "status": status}, "$unset": dict.fromkeys(_DONE, "")})
        for having, status in ((held, Status.STORED), (page, Status.EXPANDED))
    ]


def expanded(event: PageScanned) -> UpdateOne:
    """The URL is a page's, and its images are images of their own now. Not for a URL that gave an image before: that copy is kept."""
    at = now()
    facts = {
        "scanned_at": event.scanned_at, "revision": event.revision, "found": len(event.images),
        "skipped": event.skipped, "refused": event.refused, "beyond": event.beyond,
    }  # fmt: skip
    fields = {
        "status": Status.EXPANDED, "attempt": event.attempt, "page": facts, "final_url": event.final_url, "etag": event.etag,
        "last_modified": event.last_modified, "fetched_at": event.scanned_at, "took_ms": event.took_ms, "checked_at": event.scanned_at,
        "completed_at": at,
    }  # fmt: skip
    where = {"_id": event.image, "revision": event.revision, "status": {"$in": [*WAITING, Status.FAILED]}, "file": {"$exists": False}}
    return UpdateOne(where, {"$set": fields, "$unset": dict.fromkeys(_DONE, "")})


def unfetched(event: DownloadDelayed | DownloadFailed) -> list[UpdateOne]:
    """The image hasn't its bytes: not yet, or not at all."""
    return _failed(event) if isinstance(event, DownloadFailed) else _delayed(event)


def refreshed(at: object, trace: str | None = None) -> Document:
    """A new download is asked for: what may still be on its way for the revision before changes nothing any more. `trace` is what asks."""
    change: Document = {
        "$inc": {"revision": 1},
        "$set": {"status": Status.QUEUED, "attempt": 0, "dispatched": False, "requested_at": at},
        "$unset": {"error": "", "next_attempt_at": "", "completed_at": ""},
    }
    if trace is None:
        change["$unset"]["trace"] = ""
    else:
        change["$set"]["trace"] = trace
    return change


def may_be_refreshed(where: Document) -> Document:
    """Only what isn't on its way already."""
    return {**where, "status": {"$in": list(SETTLED)}}


def _may_be_stored(event: ImageFetched) -> Document:
    return {"_id": event.image, "revision": event.revision, "status": {"$in": [*WAITING, Status.FAILED]}}


def _copy(event: ImageFetched, file: ObjectId) -> Document:
    return {
        "status": Status.STORED, "attempt": event.attempt, "file": file, "sha256": event.sha256, "size": event.length,
        "format": event.format, "content_type": event.content_type, "width": event.width, "height": event.height,
        "final_url": event.final_url, "etag": event.etag, "last_modified": event.last_modified,
        "fetched_at": event.fetched_at, "checked_at": event.fetched_at, "took_ms": event.took_ms, "completed_at": now(),
    }  # fmt: skip


def _delayed(event: DownloadDelayed) -> list[UpdateOne]:
    """An attempt failed, another will follow."""
    where = {"_id": event.image, "revision": event.revision, "attempt": {"$lt": event.attempt}, "status": {"$in": list(WAITING)}}
    fields = {"status": Status.DELAYED, "attempt": event.attempt, "next_attempt_at": event.next_attempt_at}
    return [_remember(event), UpdateOne(where, {"$set": fields, "$unset": {"dispatched": ""}})]


def _failed(event: DownloadFailed) -> list[UpdateOne]:
    """The last attempt failed. A copy that is held stays, and readable."""
    where = {"_id": event.image, "revision": event.revision, "status": {"$in": list(WAITING)}}
    fields = {
        "status": Status.FAILED, "attempt": event.attempt, "completed_at": event.failed_at,
        "error": {"reason": event.reason, "detail": event.detail},
    }  # fmt: skip
    return [_remember(event), UpdateOne(where, {"$set": fields, "$unset": {"dispatched": "", "next_attempt_at": ""}})]


def _remember(event: DownloadDelayed | DownloadFailed) -> UpdateOne:
    """Adds an attempt to the history, once, in its place."""
    attempt = {
        "revision": event.revision,
        "number": event.attempt,
        "at": event.failed_at,
        "took_ms": event.took_ms,
        "reason": event.reason,
        "detail": event.detail,
    }
    same = {"revision": event.revision, "number": event.attempt}
    where = {"_id": event.image, "revision": event.revision, "attempts": {"$not": {"$elemMatch": same}}}
    return UpdateOne(where, {"$push": {"attempts": {"$each": [attempt], "$sort": {"at": 1}, "$slice": -MAX_ATTEMPTS}}})


def _literal(value: Any) -> Document:  # noqa: ANN401  (whatever BSON has)
    return {"$literal": value}
