"""POST /requeue: downloads afresh what has a status, for instance what a wiped broker lost, or all that failed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api.access.keys import who
from services.api.http import bodies, replies
from services.api.http.problems import BAD_BODY, Problem
from services.api.parts import parts
from shared.status import Status, now

log = logging.getLogger("bowerbird.api")

MAX_REQUEUED = 10_000
"""In one call, so that each is short; clients repeat it while `more` is true."""


class RequeueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which images: those with this status. `before`, from an answer, has a repetition leave out what was requeued already."""

    status: Literal["queued", "delayed", "failed"]
    before: datetime | None = None


class Requeued(msgspec.Struct, frozen=True):
    """How many images those were; `more` when there are others, for which `before` goes into the next request."""

    requeued: int
    more: bool
    before: datetime


_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_EXAMPLE = '{"status": "queued"}'


@post("/requeue", status_code=202)
async def requeue(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Has images with a status downloaded afresh, in the background."""
    here = parts(request)
    wanted = await bodies.read(request, RequeueRequest, example=_EXAMPLE)
    before = wanted.before or now()
    if before.tzinfo and not _EARLIEST <= before <= _LATEST:
        # In UTC it would lie before the year 1 or after 9999.
        detail = "before must lie within the years 1 to 9999, in UTC."
        raise Problem(BAD_BODY, detail, errors=[{"pointer": "#/before", "detail": detail}])
    requeued, more = await here.catalog.requeue(Status(wanted.status), limit=MAX_REQUEUED, before=before)
    log.info("images were requeued", extra={"status": wanted.status, "images": requeued, **who(request)})
    return replies.json(Requeued(requeued=requeued, more=more, before=before), status=202)
