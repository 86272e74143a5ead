"""What a gallery can show: images, failures and dead letters, put where the services would have put them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared import events, urls
from shared.dead_letters import read
from shared.errors import Reason
from shared.image import Addition, new_document
from shared.status import Status
from tests.browser.pictures import picture

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.api import Api

SITES = ("archive.example", "museum.example", "shop.example", "walks.example")
FAILURES = (
    (Reason.HTTP_STATUS, "The host answered 404 Not Found.", "gone-{}.jpg"),
    (Reason.HTTP_STATUS, "The host answered 403 Forbidden.", "members-{}.jpg"),
    (Reason.TIMEOUT, "Not complete within 60 s.", "slow-{}.tiff"),
    (Reason.DNS, "The name has no address.", "moved-{}.png"),
    (Reason.NOT_AN_IMAGE, "What came begins with '%PDF-1.7'.", "catalogue-{}.pdf"),
)


async def pictures(api: Api, seeds: Iterable[int]) -> list[str]:
    """Images with bytes; their ids."""
    return [await stored(api, seed) for seed in seeds]


async def stored(api: Api, seed: int) -> str:
    """An image with bytes; its id."""
    made = picture(seed)
    image = await added(api, f"https://{SITES[seed % len(SITES)]}/{made.name}")
    await api.fetched(
        image, made.body, format=made.format, content_type=f"image/{made.format}", width=made.width, height=made.height, took_ms=80 + seed
    )
    return image


async def failed(api: Api, number: int) -> str:
    """An image that couldn't be had; its id."""
    reason, detail, name = FAILURES[number % len(FAILURES)]
    image = await added(api, f"https://{SITES[number % len(SITES)]}/{name.format(number)}")
    await api.failed(image, reason=reason, detail=detail)
    return image


async def added(api: Api, url: str) -> str:
    """An image that waits; its id."""
    parsed = urls.parse(url)
    image = urls.image_id(parsed.href)
    await api.parts.catalog.add([Addition(image, parsed)])
    return image


async def buried(api: Api, body: bytes, queue: str = "fetcher.download-requested") -> str:
    """A dead letter; its id."""
    headers = {"v": 1, "x-death": [{"queue": queue, "reason": "rejected"}]}
    died = read(events.Envelope("download-requested", headers, body, events.JSON, "m", "c"))
    await api.parts.dead_letters.keep(died)
    return died.id


async def many(api: Api, count: int) -> None:
    """As many documents at once, a millisecond apart, without bytes: for a list that is long."""
    images = api.parts.catalog._images
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    for first in range(0, count, 5000):
        await images.insert_many([_document(number, start) for number in range(first, min(count, first + 5000))], ordered=False)


def _document(number: int, start: datetime) -> dict[str, Any]:
    url = urls.parse(f"https://{SITES[number % len(SITES)]}/number-{number}.jpg")
    document = new_document(Addition(urls.image_id(url.href), url), start + timedelta(milliseconds=number))
    del document["dispatched"]
    error = {"reason": Reason.TIMEOUT, "detail": "Too slow."}
    return {**document, "status": Status.FAILED, "error": error, "completed_at": start, "sha256": hashlib.sha256(url.href.encode()).hexdigest()}
