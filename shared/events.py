"""Every message that travels over RabbitMQ, and how it looks on the wire.

On the wire: the AMQP property `type` is the event's name, the header `v` its version; `message_id` and
`correlation_id` are always set. The body is the event as JSON, except for image-fetched and image-part, whose body is the image
itself, or a part of it, and whose fields are headers: base64 would cost a third more of everything. Headers carry no
floating-point numbers: AMQP clients differ in their width.

An image of more than PART_BYTES travels as several image-part messages, each of them a chunk that any storer can write in any
order, and then image-fetched with an empty body and their number: no process and no broker ever holds all of it.

Fields are only ever added, and with defaults, so that old readers and old messages go on working (unknown fields are
ignored). A change that breaks is a new version beside the old one in `_VERSIONS`.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from shared.errors import Reason, Undecodable

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""What every reader of JSON agrees on, and what MongoDB and AMQP can hold."""

FileId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]
"""A GridFS file's ObjectId, in hexadecimal."""

DeliveryId = Annotated[str, msgspec.Meta(pattern=r"^msg_[A-Za-z0-9]{1,64}\Z")]
"""It becomes a header's value, and a part of what is signed, in which a full stop would end it."""

PART_BYTES = 1024 * 1024
"""The most that a message carries of an image, and the size of a GridFS chunk (docs/decisions/0004-chunks.md)."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the image `image` while its download number `revision` was under way."""

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1
    AT: ClassVar[str | None] = None
    """The field that says when it happened."""

    image: str
    revision: Count
    attempt: Count = 1

    @property
    def message_id(self) -> str:
        """The same for every repetition of the same fact, so that repetitions can be told."""
        return f"{self.NAME}.{self.correlation_id}.{self.attempt}"

    @property
    def correlation_id(self) -> str:
        """The same for everything that one submission causes."""
        return f"{self.image}.{self.revision}"

    @property
    def since(self) -> datetime | None:
        """Since when it could have been handled; None if it doesn't say, or was to wait."""
        return getattr(self, self.AT) if self.AT else None


class DownloadRequested(Event, frozen=True, kw_only=True):
    """The api wants this URL. `attempt` counts every try from 1, `snoozes` those after which the origin asked us to wait.

    `not_before` is when its turn comes, for one that was put off because its host is busy. `etag` and `last_modified` are those of
    the copy that is held, for asking the origin only for something newer (RFC 9110, section 13).
    """

    NAME: ClassVar[str] = "download-requested"

    url: str
    requested_at: datetime
    snoozes: Count = 0
    not_before: datetime | None = None
    etag: str | None = None
    last_modified: str | None = None

    @property
    def since(self) -> datetime | None:
        """None for another attempt, and for one that was put off."""
        return self.requested_at if self.attempt == 1 and self.not_before is None else None


class ImagePart(Event, frozen=True, kw_only=True):
    """A part of an image that is too large for one message: number `number`, from 0, of the GridFS file `file` (an ObjectId in hex).

    Every part but the last has PART_BYTES bytes.
    """

    NAME: ClassVar[str] = "image-part"

    file: FileId
    number: Count
    body: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PART_BYTES)]

    @property
    def message_id(self) -> str:
        """One of its own for each part."""
        return f"{super().message_id}.{self.file}.{self.number}"


class ImageFetched(Event, frozen=True, kw_only=True):
    """A fetcher has the image. `took_ms` is in milliseconds, `width` and `height` in pixels; `final_url` is where redirects led.

    Either `body` is the image, or it is empty and the image went ahead as `parts` parts, `size` bytes in all, of the file `file`.
    `waits` counts how often the storer has put it off because not all of them were there yet.
    """

    NAME: ClassVar[str] = "image-fetched"

    url: str
    final_url: str
    fetched_at: datetime
    took_ms: Count
    format: str
    content_type: str
    width: Count
    height: Count
    sha256: str
    etag: str | None = None
    last_modified: str | None = None
    file: FileId | None = None
    parts: Count = 0
    size: Count = 0
    waits: Count = 0
    body: bytes

    @property
    def length(self) -> int:
        """The image's size in bytes, however it travelled."""
        return self.size if self.parts else len(self.body)

    @property
    def since(self) -> datetime | None:
        """None for one that had to wait for its parts."""
        return self.fetched_at if not self.waits else None


class ImageUnchanged(Event, frozen=True, kw_only=True):
    """The origin says that the copy that is held is still what it has (304), be it an image or a page."""

    NAME: ClassVar[str] = "image-unchanged"
    AT: ClassVar[str | None] = "checked_at"

    checked_at: datetime
    took_ms: Count
    etag: str | None = None
    last_modified: str | None = None


class PageScanned(Event, frozen=True, kw_only=True):
    """A fetcher found a page; `images` are the canonical URLs of the images on it, in their order.

    `alternatives` are, by the URL of an image, those of the same image in other sizes. `skipped` counts data: URLs, `refused` what may not be
    asked for, `beyond` what was over the limit on images of one page.
    """

    NAME: ClassVar[str] = "page-scanned"
    AT: ClassVar[str | None] = "scanned_at"

    url: str
    scanned_at: datetime
    images: list[str]
    alternatives: dict[str, list[str]] = {}
    skipped: Count = 0
    refused: Count = 0
    beyond: Count = 0
    final_url: str | None = None
    took_ms: Count = 0
    etag: str | None = None
    last_modified: str | None = None


class DownloadDelayed(Event, frozen=True, kw_only=True):
    """An attempt failed in a way that may pass; the next begins no earlier than `next_attempt_at`."""

    NAME: ClassVar[str] = "download-delayed"
    AT: ClassVar[str | None] = "failed_at"

    reason: Reason
    detail: str
    failed_at: datetime
    took_ms: Count
    next_attempt_at: datetime


class DownloadFailed(Event, frozen=True, kw_only=True):
    """An attempt failed, and there will be no other."""

    NAME: ClassVar[str] = "download-failed"
    AT: ClassVar[str | None] = "failed_at"

    reason: Reason
    detail: str
    failed_at: datetime
    took_ms: Count


class ImageStored(Event, frozen=True, kw_only=True):
    """The bytes and the image's document are durable. For whoever listens. `in` are the pages and batches that have the image."""

    NAME: ClassVar[str] = "image-stored"

    url: str
    stored_at: datetime
    format: str
    content_type: str
    width: Count
    height: Count
    size: Count
    sha256: str
    owners: list[str] = msgspec.field(name="in", default_factory=list)


class ImageFailed(Event, frozen=True, kw_only=True):
    """The failure is in the image's document. For whoever listens. `in` is as in image-stored."""

    NAME: ClassVar[str] = "image-failed"

    reason: Reason
    detail: str
    failed_at: datetime
    url: str = ""
    owners: list[str] = msgspec.field(name="in", default_factory=list)


class ImageDelayed(Event, frozen=True, kw_only=True):
    """An attempt failed, another will follow, and the image's document says so. For whoever listens. `in` is as in image-stored."""

    NAME: ClassVar[str] = "image-delayed"

    url: str
    reason: Reason
    detail: str
    failed_at: datetime
    next_attempt_at: datetime
    owners: list[str] = msgspec.field(name="in", default_factory=list)


class PageExpanded(Event, frozen=True, kw_only=True):
    """The images of a page are images of their own now, whose `in` has it. For whoever listens."""

    NAME: ClassVar[str] = "page-expanded"

    url: str
    expanded_at: datetime
    owners: list[str] = msgspec.field(name="in", default_factory=list)


class CallbackRequested(Event, frozen=True, kw_only=True):
    """Somebody asked to be told: POST `payload`, JSON as it is to be signed and sent, to `url`. `delivery` is the id that the receiver sees.

    When it is a batch that is done, `image` is the batch's id. `replay` is 0, and 1 or more when somebody asked for the delivery again:
    each replay has attempts of its own, from 1. `snoozes` and `not_before` are as those of download-requested.
    """

    NAME: ClassVar[str] = "callback-requested"

    delivery: DeliveryId
    url: str
    payload: str
    snoozes: Count = 0
    replay: Count = 0
    not_before: datetime | None = None

    @property
    def message_id(self) -> str:
        """One of its own for each attempt at each delivery."""
        return f"{self.NAME}.{self.delivery}.{self.replay}.{self.attempt}"


class CallbackAttempted(Event, frozen=True, kw_only=True):
    """A delivery was tried, until `attempted_at`. `reason` is None when it was taken; `next_attempt_at` is None when no other attempt follows."""

    NAME: ClassVar[str] = "callback-attempted"
    AT: ClassVar[str | None] = "attempted_at"

    delivery: DeliveryId
    attempted_at: datetime
    took_ms: Count
    http_status: Count | None = None
    reason: Reason | None = None
    detail: str = ""
    next_attempt_at: datetime | None = None
    replay: Count = 0

    @property
    def message_id(self) -> str:
        """One of its own for each attempt at each delivery."""
        return f"{self.NAME}.{self.delivery}.{self.replay}.{self.attempt}"


KINDS: tuple[type[Event], ...] = (
    DownloadRequested, ImagePart, ImageFetched, ImageUnchanged, PageScanned, DownloadDelayed, DownloadFailed, ImageStored, ImageFailed,
    ImageDelayed, PageExpanded, CallbackRequested, CallbackAttempted,
)  # fmt: skip
_VERSIONS = {(kind.NAME, kind.VERSION): kind for kind in KINDS}
NAMES = frozenset(kind.NAME for kind in KINDS)
_RAW_BODY = (ImageFetched, ImagePart)
JSON = "application/json"
OCTETS = "application/octet-stream"


class Envelope(NamedTuple):
    """A message as AMQP carries it."""

    type: str | None
    headers: dict[str, Any]
    body: bytes
    content_type: str | None
    message_id: str | None
    correlation_id: str | None


def encode(event: Event) -> Envelope:
    """An event as a message."""
    headers: dict[str, Any] = {"v": event.VERSION}
    content_type = JSON
    if isinstance(event, _RAW_BODY):
        # to_builtins would turn the body into base64, so it travels beside the fields.
        fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "body"}
        headers |= {name: value for name, value in msgspec.to_builtins(fields).items() if value is not None}
        body, content_type = event.body, getattr(event, "content_type", OCTETS)
    else:
        body = msgspec.json.encode(event)
    return Envelope(event.NAME, headers, body, content_type, event.message_id, event.correlation_id)


def decode(envelope: Envelope) -> Event:
    """The event that a message carries. Raises Undecodable with a sentence that says what is wrong with it."""
    version = envelope.headers.get("v")
    try:
        kind = _VERSIONS.get((envelope.type or "", version))  # type: ignore[arg-type]  # a header can be anything
    except TypeError:  # an unhashable header
        kind = None
    if kind is None:
        known = sorted(f"{name} v{v}" for name, v in _VERSIONS)
        raise Undecodable(f"type {envelope.type!r} version {version!r} is not one of {', '.join(known)}")
    try:
        if issubclass(kind, _RAW_BODY):
            return msgspec.convert({**envelope.headers, "body": envelope.body}, kind)
        return msgspec.json.decode(envelope.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecodable(f"{kind.NAME} v{version}: {error}") from None
