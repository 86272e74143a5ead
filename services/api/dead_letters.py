"""/dead-letters: what could not be processed, why, and again. Looking changes nothing."""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, post, route
from litestar.handlers import delete as delete_route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import cursors
from services.api.access.keys import who
from services.api.browse import DEFAULT_LIMIT, MAX_LIMIT
from services.api.http import parameters, replies
from services.api.http.problems import UNKNOWN_DEAD_LETTER, Problem
from services.api.parts import Parts, parts
from shared import topology, urls
from shared.dead_letters import envelope_of
from shared.errors import BrokerUnavailable, Unpublishable
from shared.listing import Position

if TYPE_CHECKING:
    from shared.dead_letters import DeadLetter

log = logging.getLogger("bowerbird.api")

REPLAY_SECONDS = 10.0
PREVIEW_BYTES = 16 * 1024


class DeadLetterResource(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be processed: from which queue, why, and what it said. `size` is the body's, in bytes.

    `body` is its beginning, as text if it is UTF-8, else in base64 (`body_encoding` says which); null in a list.
    """

    id: str
    queue: str
    reason: str
    detail: str
    died_at: datetime
    type: str | None
    message_id: str | None
    correlation_id: str | None
    content_type: str | None
    headers: dict[str, Any]
    size: int
    body: str | None = None
    body_encoding: str | None = None
    body_truncated: bool = False


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list, newest first; `next` is the address of the page after it, null on the last one."""

    items: list[DeadLetterResource]
    next: str | None


@route("/dead-letters", http_method=["GET", "HEAD"])
async def list_dead_letters(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The dead letters, newest first."""
    here = parts(request)
    given = parameters.read(request.scope["query_string"], ("limit", "cursor"))
    limit = parameters.whole(given, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    letters = await here.dead_letters.page(limit=limit + 1, after=cursors.of(given))
    following = None
    if len(letters) > limit:
        letters = letters[:limit]
        cursor = cursors.encode(Position(letters[-1].died_at, letters[-1].id))
        following = f"{here.settings.public_url or ''}/dead-letters?{urlencode({**given, 'cursor': cursor})}"
    return replies.json(DeadLetterPage(items=[_resource(letter) for letter in letters], next=following))


@route("/dead-letters/{letter:str}", http_method=["GET", "HEAD"])
async def get_dead_letter(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A dead letter, with the beginning of its body."""
    here = parts(request)
    letter = await _find(here, request)
    return replies.json(_resource(letter, await here.dead_letters.body(letter, PREVIEW_BYTES)))


@post("/dead-letters/{letter:str}/replay", status_code=202)
async def replay(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Sends a dead letter to its queue again, and takes it off the list once the broker has confirmed."""
    here = parts(request)
    letter = await _find(here, request)
    # Only to a queue of ours: the name came with a message.
    if letter.queue not in {queue.name for queue in topology.queues(here.settings.retry_delays)}:
        raise Problem(UNKNOWN_DEAD_LETTER, f"It came from no queue that could take it again ({letter.queue[:100]!r}); it can only be deleted.")
    try:
        async with asyncio.timeout(REPLAY_SECONDS):
            await here.publisher.send(envelope_of(letter, await here.dead_letters.body(letter)), letter.queue)
    except TimeoutError:
        raise BrokerUnavailable("RabbitMQ takes too long to confirm a replay.") from None
    except Unpublishable as error:
        raise Problem(UNKNOWN_DEAD_LETTER, f"It can't be sent again: {error}") from None
    await here.dead_letters.delete(letter)
    log.info("a dead letter was sent again", extra={**_about(letter), **who(request)})
    return replies.json({"replayed": letter.id, "queue": letter.queue}, status=202)


@delete_route("/dead-letters/{letter:str}", status_code=204)
async def delete(request: Request[Any, Any, Any]) -> None:
    """Forgets a dead letter."""
    here = parts(request)
    letter = await _find(here, request)
    await here.dead_letters.delete(letter)
    log.info("a dead letter was deleted", extra={**_about(letter), **who(request)})


def _about(letter: DeadLetter) -> dict[str, str | None]:
    image = (letter.correlation_id or "").rpartition(".")[0] or None
    return {"image": image, "correlation": letter.correlation_id, "letter": letter.id, "queue": letter.queue}


async def _find(here: Parts, request: Request[Any, Any, Any]) -> DeadLetter:
    given = request.path_params["letter"]
    found = await here.dead_letters.get(given) if urls.IMAGE_ID.fullmatch(given) else None
    if found is None:
        raise Problem(UNKNOWN_DEAD_LETTER, "No dead letter has this id.")
    return found


def _resource(letter: DeadLetter, beginning: bytes | None = None) -> DeadLetterResource:
    body, encoding = _readable(beginning) if beginning is not None else (None, None)
    return DeadLetterResource(
        id=letter.id,
        queue=letter.queue,
        reason=letter.reason,
        detail=letter.detail,
        died_at=letter.died_at,
        type=letter.type,
        message_id=letter.message_id,
        correlation_id=letter.correlation_id,
        content_type=letter.content_type,
        headers=msgspec.json.decode(letter.headers),
        size=letter.size,
        body=body,
        body_encoding=encoding,
        body_truncated=beginning is not None and len(beginning) < letter.size,
    )


def _readable(beginning: bytes) -> tuple[str, str]:
    try:
        return beginning.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(beginning).decode(), "base64"
