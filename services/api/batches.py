"""POST /batches and GET /batches/{id}: many URLs at once, each with its fate."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import uuid
from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from litestar import Request, post, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import lines, targets
from services.api.access import keys
from services.api.callbacks import check_callback
from services.api.http import replies
from services.api.http.problems import BAD_REQUEST, REUSED_KEY, UNKNOWN_BATCH, Problem
from services.api.parts import parts
from services.api.resources import address
from shared import metrics, tracing, urls
from shared.batches import BATCH_ID, Batch, Fates
from shared.errors import UrlRefused
from shared.image import Addition
from shared.status import Status  # noqa: TC001  (msgspec resolves it at run time)

if TYPE_CHECKING:
    from services.api.parts import Parts
    from shared.settings import Settings

log = logging.getLogger("bowerbird.api")

MAX_BODY_BYTES = 24 * 1024**2
"""As many URLs as a batch may have, each as long as a URL may be, in JSON."""
PARSED_AT_ONCE = 200
"""Some milliseconds' worth: others have their turn in between."""
ADDED_AT_ONCE = 1000
_KEY_HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


class LineResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a line: the address of its image, or the rule that its URL breaks. A `repeated` line has the URL of one before it."""

    url: str | None
    outcome: Literal["accepted", "known", "repeated", "refused"]
    image: str | None = None
    rule: str | None = None
    detail: str | None = None


class BatchLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go from here."""

    self: str
    images: str


class BatchResource(msgspec.Struct, frozen=True, kw_only=True):
    """A batch: how its lines were taken, and how many of its images (the known ones too) have each status.

    `completed_at` is when none of them was on its way any more. In the answer to POST, `items` has a line for each line of the request.
    """

    id: str
    added_at: datetime
    total: int
    accepted: int | None
    known: int | None
    repeated: int | None
    refused: int | None
    images: dict[Status, int]
    completed_at: datetime | None
    callback_url: str | None
    links: BatchLinks
    items: list[LineResource] | msgspec.UnsetType = msgspec.UNSET


@post("/batches", status_code=202, request_max_body_size=MAX_BODY_BYTES)
async def submit_batch(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits many URLs, to be downloaded in the background."""
    here = parts(request)
    batch_id = _id(request)
    read = await lines.read(request)
    callback = check_callback(read.callback_url, here.settings) if read.callback_url is not None else None
    batch = await here.batches.begin(batch_id, fingerprint=read.fingerprint, total=len(read.urls), callback=callback)
    if batch.fingerprint != read.fingerprint:
        raise Problem(REUSED_KEY, REUSED_KEY.meaning)
    items = await _record(here, batch, read.urls, repeatable=_KEY_HEADER in request.headers)
    count = [item.outcome for item in items].count
    fates = Fates(accepted=count("accepted"), known=count("known"), repeated=count("repeated"), refused=count("refused"))
    metrics.DUPLICATES["batch",].inc(fates.known)
    batch = await here.batches.record(batch.id, fates)
    log.info("a batch came", extra={"batch": batch.id, "total": batch.total, **msgspec.structs.asdict(fates), **keys.who(request)})
    resource = await _resource(here, batch, items)
    return replies.json(resource, status=202, headers=(("Location", resource.links.self),))


@route("/batches/{batch:str}", http_method=["GET", "HEAD"])
async def get_batch(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A batch and how far it has come."""
    here = parts(request)
    return replies.json(await _resource(here, await find_batch(here, request.path_params["batch"])))


async def find_batch(here: Parts, batch: str) -> Batch:
    """The batch with an id. Raises Problem when there is none, or when no id looks like this."""
    found = await here.batches.get(batch) if BATCH_ID.fullmatch(batch) else None
    if found is None:
        raise Problem(UNKNOWN_BATCH, UNKNOWN_BATCH.meaning)
    return found


def _id(request: Request[Any, Any, Any]) -> str:
    """A new one; with an Idempotency-Key the same for the same key, so that a repeated request finds what the first one made.

    draft-ietf-httpapi-idempotency-key-header: the key is the client's, so that two clients can't meet in one.
    """
    if _KEY_HEADER not in request.headers:
        return uuid.uuid4().hex
    [given, *others] = request.headers.getall(_KEY_HEADER)
    if others or not _KEY.fullmatch(given):
        raise Problem(BAD_REQUEST, "Idempotency-Key must be given once, and be 1 to 255 visible ASCII characters, such as a UUID.")
    client: keys.Key | None = request.scope["state"].get(keys.STATE)
    return hashlib.sha256(f"{client.name if client else ''}\n{given}".encode()).hexdigest()[:32]


async def _record(here: Parts, batch: Batch, given: list[str | UrlRefused], *, repeatable: bool) -> list[LineResource]:
    base = here.settings.public_url or ""
    additions: dict[str, Addition] = {}
    items: list[LineResource] = []
    for i, line in enumerate(given):
        if i % PARSED_AT_ONCE == 0:
            await asyncio.sleep(0)
        item, addition = _line(line, batch.id, here.settings, base)
        if addition is not None and additions.setdefault(addition.id, addition) is not addition:
            item = msgspec.structs.replace(item, outcome="repeated")
        items.append(item)
    known = await _add(here, batch, list(additions.values()), repeatable=repeatable)
    addresses = {address(image, base) for image in known}
    return [
        msgspec.structs.replace(item, outcome="known") if item.outcome == "accepted" and item.image in addresses else item
        for item in items
    ]  # fmt: skip


def _line(line: str | UrlRefused, batch: str, settings: Settings, base: str) -> tuple[LineResource, Addition | None]:
    try:
        if isinstance(line, UrlRefused):
            raise line
        url = targets.accepted(line, settings)
    except UrlRefused as error:
        shown = line[: urls.MAX_URL_BYTES] if isinstance(line, str) else None
        return LineResource(url=shown, outcome="refused", rule=error.rule, detail=error.detail), None
    image = urls.image_id(url.href)
    return LineResource(url=line, outcome="accepted", image=address(image, base)), Addition(image, url, batch, trace=tracing.cause(of_many=True))


async def _add(here: Parts, batch: Batch, additions: list[Addition], *, repeatable: bool) -> set[str]:
    """Adds images and hands them on; those that were known before this batch."""
    known: set[str] = set()
    for start in range(0, len(additions), ADDED_AT_ONCE):
        chunk = additions[start : start + ADDED_AT_ONCE]
        added = await here.catalog.add(chunk)
        here.dispatcher.dispatch_all(image for image in added if image)
        known |= {addition.id for addition, image in zip(chunk, added, strict=True) if image is None}
    if repeatable and known:
        # Those that another request with the same key has added, before or at this moment, are no less new.
        known -= await here.catalog.added_by(batch.id, since=batch.added_at)
    return known


async def _resource(here: Parts, batch: Batch, items: list[LineResource] | msgspec.UnsetType = msgspec.UNSET) -> BatchResource:
    base = here.settings.public_url or ""
    fates = batch.fates
    return BatchResource(
        id=batch.id,
        added_at=batch.added_at,
        total=batch.total,
        accepted=fates.accepted if fates else None,
        known=fates.known if fates else None,
        repeated=fates.repeated if fates else None,
        refused=fates.refused if fates else None,
        images=await here.catalog.counts(batch.id),
        completed_at=batch.completed_at,
        callback_url=batch.callback,
        links=BatchLinks(self=f"{base}/batches/{batch.id}", images=f"{base}/images?batch={batch.id}"),
        items=items,
    )
