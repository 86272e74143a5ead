"""An image as clients see it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)

import msgspec

from shared.image import Image, Page  # noqa: TC001  (the same)
from shared.status import Status  # noqa: TC001  (the same)


class AttemptResource(msgspec.Struct, frozen=True, kw_only=True):
    """A download. `reason` and `detail` are null for the one that gave the image."""

    number: int
    at: datetime
    took_ms: int
    reason: str | None = None
    detail: str | None = None


class ErrorResource(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no image: `reason` is from a closed list, `detail` is for people."""

    reason: str
    detail: str


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go from here: the bytes, and former ones, when there are any; the images of a page."""

    self: str
    content: str | None
    versions: str | None = None
    images: str | None = None


class PageResource(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on a page when it was looked at last: so many images.

    Besides, so many data: URLs were skipped, so many references refused, since nothing may be asked for there, and so many were beyond the limit
    on images of one page. `images` counts those that belong to the page by status.
    """

    scanned_at: datetime
    found: int
    skipped: int
    refused: int
    beyond: int
    images: dict[Status, int] | msgspec.UnsetType = msgspec.UNSET


class ImageResource(msgspec.Struct, frozen=True, kw_only=True):
    """An image, or a page. What isn't known (yet) is null. `size` is in bytes, `width` and `height` are in pixels.

    `checked_at` is when the origin last gave, or confirmed, what is held. `alternatives` are URLs of the same image in other sizes, as the
    page had them. Not in lists: `pages` on which the image is, and other images with the `same_bytes`, the newest or the first ten of them.
    """

    id: str
    status: Status
    source_url: str
    stored_url: str | None
    added_at: datetime
    completed_at: datetime | None
    format: str | None
    content_type: str | None
    width: int | None
    height: int | None
    size: int | None
    sha256: str | None
    attempts: list[AttemptResource]
    next_attempt_at: datetime | None
    error: ErrorResource | None
    checked_at: datetime | None
    callback_url: str | None
    alternatives: list[str]
    page: PageResource | None
    pages: list[str] | msgspec.UnsetType = msgspec.UNSET
    same_bytes: list[str] | msgspec.UnsetType = msgspec.UNSET
    links: Links


class ImagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list, newest first; `next` is the address of the page after it, null on the last one."""

    items: list[ImageResource]
    next: str | None


def address(image: str, base: str) -> str:
    """The address of an image; `base` is BOWERBIRD_PUBLIC_URL, or empty for a path."""
    return f"{base}/images/{image}"


def resource(image: Image, base: str) -> ImageResource:
    """An image's document as a resource, as lists have it."""
    own = address(image.id, base)
    content = f"{own}/content" if image.file is not None else None
    return ImageResource(
        id=image.id,
        status=image.status,
        source_url=image.url,
        stored_url=content,
        added_at=image.added_at,
        completed_at=image.completed_at,
        format=image.format,
        content_type=image.content_type,
        width=image.width,
        height=image.height,
        size=image.size,
        sha256=image.sha256,
        attempts=_attempts(image),
        next_attempt_at=image.next_attempt_at,
        error=ErrorResource(reason=image.error["reason"], detail=image.error["detail"]) if image.error else None,
        checked_at=image.checked_at,
        callback_url=image.callback,
        alternatives=image.alternatives,
        page=_page(image.page) if image.page else None,
        links=Links(
            self=own,
            content=content,
            versions=f"{own}/versions" if content else None,
            images=f"{base}/images?page={image.id}" if image.page else None,
        ),
    )


def _page(page: Page) -> PageResource:
    return PageResource(scanned_at=page.scanned_at, found=page.found, skipped=page.skipped, refused=page.refused, beyond=page.beyond)


def _attempts(image: Image) -> list[AttemptResource]:
    """In the order in which they were made: a repeated message can add one that the pipeline didn't count."""
    made: list[tuple[datetime, int, str | None, str | None]] = [
        (failed.at, failed.took_ms, failed.reason, failed.detail) for failed in image.attempts
    ]
    if image.fetched_at is not None:
        made.append((image.fetched_at, image.took_ms or 0, None, None))
    made.sort(key=lambda attempt: attempt[0])
    return [
        AttemptResource(number=number, at=at, took_ms=took_ms, reason=reason, detail=detail)
        for number, (at, took_ms, reason, detail) in enumerate(made, 1)
    ]
