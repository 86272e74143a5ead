"""The list of images: what it can be narrowed to, and the index that serves each such query.

Every page is a keyset scan on (added_at, _id), newest first, of one index, named in the query: no collection is scanned and nothing is
sorted in memory, at any depth. Where `status` isn't given an index that begins with it is scanned once for each status, side by side
(explode for sort, SORT_MERGE), which costs a few keys and saves an index for each combination. Only within one page or batch, which is
small (1,000 and 10,000 images), are `host` and `format` looked at image by image.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.status import Status

if TYPE_CHECKING:
    from shared.mongo import Document


FORMATS = ("jpeg", "png", "gif", "webp", "avif", "tiff", "bmp", "ico")
"""What images that are stored can be."""


class Position(NamedTuple):
    """A place in the list, newest first: after the image with these two."""

    added_at: datetime
    id: str


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What the list can be narrowed to. `host` as in shared/urls.py, `page` and `batch` by id, times exclusive."""

    status: Status | None = None
    host: str | None = None
    format: str | None = None
    page: str | None = None
    batch: str | None = None
    added_after: datetime | None = None
    added_before: datetime | None = None


NEWEST_FIRST = [("added_at", DESCENDING), ("_id", DESCENDING)]
_BY_STATUS = [("status", ASCENDING), *NEWEST_FIRST]
INDEXES = [
    IndexModel(NEWEST_FIRST, name="newest"),
    IndexModel(_BY_STATUS, name="status"),
    IndexModel([("host", ASCENDING), *_BY_STATUS], name="host"),
    # Only what has been stored has a format: these cost nothing on the way in.
    IndexModel([("format", ASCENDING), *_BY_STATUS], name="format", partialFilterExpression={"format": {"$exists": True}}),
    IndexModel([("host", ASCENDING), ("format", ASCENDING), *_BY_STATUS], name="host_format", partialFilterExpression={"format": {"$exists": True}}),
    # The pages and batches that an image belongs to.
    IndexModel([("in", ASCENDING), *_BY_STATUS], name="in", partialFilterExpression={"in": {"$exists": True}}),
]


def query(filters: Filters, after: Position | None = None) -> tuple[Document, str]:
    """The query for what follows a position, and the name of the index that serves it."""
    owners = [owner for owner in (filters.page, filters.batch) if owner is not None]
    wanted: Document = {name: value for name in ("host", "format") if (value := getattr(filters, name)) is not None}
    if owners:
        wanted["in"] = owners[0] if len(owners) == 1 else {"$all": owners}
    index = "in" if owners else "_".join(name for name in ("host", "format") if name in wanted)
    if filters.status is not None:
        wanted["status"] = filters.status
        index = index or "status"
    elif index:
        wanted["status"] = {"$in": list(Status)}
    return {**wanted, **_between(filters, after)}, index or "newest"


def _between(filters: Filters, after: Position | None) -> Document:
    bounds: Document = {}
    if filters.added_after is not None:
        bounds["$gt"] = filters.added_after
    if filters.added_before is not None:
        bounds["$lt"] = filters.added_before
    if after is None:
        return {"added_at": bounds} if bounds else {}
    # The first condition bounds the index scan, the second settles ties within a millisecond. Not as an $or: MongoDB may take its branches
    # for scans of their own, and sort what they find.
    bounds["$lte"] = after.added_at
    return {"added_at": bounds, "$nor": [{"added_at": after.added_at, "_id": {"$gte": after.id}}]}
