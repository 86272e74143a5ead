"""The document of an image, or of a page: what it holds, made and read."""

from __future__ import annotations

import logging
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.events import DownloadRequested
from shared.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.mongo import Document
    from shared.urls import Url

log = logging.getLogger("bowerbird.catalog")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A download that failed. `took_ms` is in milliseconds."""

    revision: int
    number: int
    at: datetime
    took_ms: int
    reason: str
    detail: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on a page, at its latest scan, in revision `revision`: `found` images (shared/events.py has the others)."""

    scanned_at: datetime
    revision: int
    found: int
    skipped: int = 0
    refused: int = 0
    beyond: int = 0


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A former copy of an image."""

    file: Any  # an ObjectId, as Image.file
    sha256: str
    size: int
    format: str
    content_type: str
    width: int
    height: int
    fetched_at: datetime
    replaced_at: datetime


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """The document of an image, or of a page, as far as anybody reads it."""

    id: str = msgspec.field(name="_id")
    url: str
    host: str
    status: Status
    revision: int
    added_at: datetime
    requested_at: datetime
    attempt: int = 0
    attempts: list[Attempt] = []
    next_attempt_at: datetime | None = None
    completed_at: datetime | None = None
    error: dict[str, str] | None = None
    file: Any = None  # the ObjectId of the GridFS file that holds the bytes
    sha256: str | None = None
    size: int | None = None
    format: str | None = None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: datetime | None = None
    checked_at: datetime | None = None
    took_ms: int | None = None
    page: Page | None = None
    found: bool = False  # on pages only: nobody asked for it by its own URL
    shared: bool = False
    alternatives: list[str] = []
    callback: str | None = None
    trace: str | None = None  # what its download follows from (shared/tracing.py)
    owners: list[str] = msgspec.field(name="in", default_factory=list)
    versions: list[Version] = []

    def request(self) -> DownloadRequested:
        """The event that asks for this image's current revision: conditionally, if a copy is held."""
        return DownloadRequested(
            image=self.id, revision=self.revision, url=self.url, requested_at=self.requested_at, etag=self.etag, last_modified=self.last_modified
        )


class Addition(NamedTuple):
    """An image to add. `owner` is the page or batch that has it; `found` says that nobody asked for it by its own URL."""

    id: str
    url: Url
    owner: str | None = None
    found: bool = False
    callback: str | None = None
    alternatives: Sequence[str] = ()
    trace: str | None = None


class Standing(NamedTuple):
    """How far an image is, whom to tell, and who has it."""

    revision: int
    status: Status
    url: str
    callback: str | None
    owners: list[str]


def new_document(addition: Addition, at: datetime) -> Document:
    """The document of an image that is added."""
    document: Document = {
        "_id": addition.id, "url": addition.url.href, "host": addition.url.host, "status": Status.QUEUED,
        # Not 1: an image that is deleted and added again must not take outcomes of its former life for its own.
        "revision": round(at.timestamp() * 1000),
        "added_at": at, "requested_at": at, "attempt": 0, "attempts": [], "dispatched": False,
    }  # fmt: skip
    if addition.owner is not None:
        document["in"] = [addition.owner]
    if addition.found:
        document["found"] = True
    if addition.callback is not None:
        document["callback"] = addition.callback
    if addition.alternatives:
        document["alternatives"] = list(addition.alternatives)
    if addition.trace is not None:
        document["trace"] = addition.trace
    return document


def read_all(documents: Iterable[Document]) -> list[Image]:
    """Those that this version can read: one from a newer version must not hide all others, nor hold up the relay."""
    images = []
    for document in documents:
        try:
            images.append(read(document))
        except msgspec.ValidationError as error:
            log.warning("a document that this version can't read", extra={"image": document.get("_id"), "error": str(error)})
    return images


def read(document: Document) -> Image:
    """A document as an Image. Raises msgspec.ValidationError for one from a newer version."""
    return msgspec.convert(document, Image)
