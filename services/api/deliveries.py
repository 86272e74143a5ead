"""What became of callbacks: …/deliveries, and each of them again."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, post, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import browse, cursors
from services.api.access.keys import who
from services.api.batches import find_batch
from services.api.browse import DEFAULT_LIMIT, MAX_LIMIT
from services.api.http import parameters, replies
from services.api.http.problems import UNKNOWN_DELIVERY, Problem
from services.api.parts import Parts, parts
from shared.deliveries import DELIVERY_ID, OF_BATCHES, OF_IMAGES, Kind, Status
from shared.errors import BrokerUnavailable
from shared.listing import Position
from shared.telemetry import about

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.deliveries import Delivery

log = logging.getLogger("bowerbird.api")

REPLAY_SECONDS = 10.0
_PREFIX = "msg_"


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One POST, over at `at`. `reason` and `detail` are null for one that was taken, `http_status` if there was no answer.

    `replay` is 0 for the delivery itself, and counts its replays from 1; `number` counts the attempts of each from 1.
    """

    replay: int
    number: int
    at: datetime
    took_ms: int
    http_status: int | None
    reason: str | None
    detail: str | None


class DeliveryLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go from here: `about` is the image or the batch."""

    self: str
    about: str


class DeliveryResource(msgspec.Struct, frozen=True, kw_only=True):
    """A callback and how far it has come. `id` is the header webhook-id, `payload` the body that is sent, byte for byte."""

    id: str
    type: Kind
    url: str
    status: Status
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None
    attempts: list[DeliveryAttempt]
    payload: str
    links: DeliveryLinks


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list, newest first; `next` is the address of the page after it, null on the last one."""

    items: list[DeliveryResource]
    next: str | None


@route("/images/{image:str}/deliveries", http_method=["GET", "HEAD"])
async def of_image(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The callbacks about an image, newest first."""
    here = parts(request)
    image = request.path_params["image"]
    await browse.find(here, image)
    return await _page(here, request, f"/images/{image}", image, OF_IMAGES)


@route("/batches/{batch:str}/deliveries", http_method=["GET", "HEAD"])
async def of_batch(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The callbacks about a batch, newest first."""
    here = parts(request)
    batch = request.path_params["batch"]
    await find_batch(here, batch)
    return await _page(here, request, f"/batches/{batch}", batch, OF_BATCHES)


@route("/deliveries/{delivery:str}", http_method=["GET", "HEAD"])
async def get_delivery(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A callback and how far it has come."""
    here = parts(request)
    return replies.json(_resource(await _find(here, request), here.settings.public_url or ""))


@post("/deliveries/{delivery:str}/replay", status_code=202)
async def replay(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Has a callback sent again, whatever became of it, with all of its attempts."""
    here = parts(request)
    delivery = await _find(here, request)
    again = delivery.request(replay=delivery.replay + 1)
    # Published first: if the broker is away nothing has changed, and an outcome that comes before the note below makes that note itself.
    try:
        async with asyncio.timeout(REPLAY_SECONDS):
            await here.publisher.publish(again)
    except TimeoutError:
        raise BrokerUnavailable("RabbitMQ takes too long to confirm a replay.") from None
    log.info("a callback is sent again", extra={**about(again), "delivery": delivery.id, **who(request)})
    base = here.settings.public_url or ""
    content = _resource(await here.deliveries.replayed(again) or delivery, base)
    return replies.json(content, status=202, headers=(("Location", content.links.self),))


async def _page(here: Parts, request: Request[Any, Any, Any], path: str, subject: str, kinds: Collection[Kind]) -> ASGIResponse:
    given = parameters.read(request.scope["query_string"], ("limit", "cursor"))
    base = here.settings.public_url or ""
    limit = parameters.whole(given, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    position = cursors.of(given)
    found = await here.deliveries.page(subject, kinds, limit=limit + 1, after=position and (position.added_at, _PREFIX + position.id))
    following = None
    if len(found) > limit:
        found = found[:limit]
        cursor = cursors.encode(Position(found[-1].created_at, found[-1].id.removeprefix(_PREFIX)))
        following = f"{base}{path}/deliveries?{urlencode({**given, 'cursor': cursor})}"
    link = (("Link", f'<{following}>; rel="next"'),) if following else ()
    return replies.json(DeliveryPage(items=[_resource(delivery, base) for delivery in found], next=following), headers=link)


async def _find(here: Parts, request: Request[Any, Any, Any]) -> Delivery:
    given = request.path_params["delivery"]
    found = await here.deliveries.get(given) if DELIVERY_ID.fullmatch(given) else None
    if found is None:
        raise Problem(UNKNOWN_DELIVERY, "No delivery has this id.")
    return found


def _resource(delivery: Delivery, base: str) -> DeliveryResource:
    attempts = [
        DeliveryAttempt(
            replay=attempt.replay, number=attempt.number, at=attempt.at, took_ms=attempt.took_ms, http_status=attempt.http_status,
            reason=attempt.reason, detail=attempt.detail or None,
        )
        for attempt in delivery.attempts
    ]  # fmt: skip
    rooms = "batches" if delivery.kind in OF_BATCHES else "images"
    return DeliveryResource(
        id=delivery.id,
        type=delivery.kind,
        url=delivery.url,
        status=delivery.status,
        created_at=delivery.created_at,
        delivered_at=delivery.delivered_at,
        next_attempt_at=delivery.next_attempt_at,
        attempts=attempts,
        payload=delivery.payload,
        links=DeliveryLinks(self=f"{base}/deliveries/{delivery.id}", about=f"{base}/{rooms}/{delivery.subject}"),
    )
