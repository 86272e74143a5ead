"""POST and PUT /images: an image is recorded, its request handed on, and its address answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, post, put
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import targets
from services.api.browse import whole
from services.api.callbacks import check_callback
from services.api.http import bodies, replies
from services.api.http.problems import KNOWN_IMAGE, Problem
from services.api.parts import parts
from services.api.resources import address
from shared import metrics, tracing, urls
from shared.errors import StoreUnavailable
from shared.image import Addition

if TYPE_CHECKING:
    from services.api.parts import Parts
    from shared.image import Image

MAX_BODY_BYTES = 64 * 1024
ADD_SECONDS = 5.0
"""Longer than one write may take (services/api/main.py), so that it can also wait for the one before it."""


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The URL of an image, or of a page with images."""

    url: str
    callback_url: str | None = None


_EXAMPLE = '{"url": "https://host/image.jpg"}'


@post("/images", status_code=202, request_max_body_size=MAX_BODY_BYTES)
async def submit(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits the URL of an image or of a page, to be downloaded in the background."""
    here = parts(request)
    wanted = await _wanted(request)
    added = await add(here, wanted)
    if added is None:
        metrics.DUPLICATES["image",].inc()
        where = address(wanted.id, here.settings.public_url or "")
        raise Problem(KNOWN_IMAGE, f"This URL was submitted before: see {where}.", image=where)
    return await _accepted(here, added)


@put("/images", status_code=202, request_max_body_size=MAX_BODY_BYTES)
async def refresh(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Has a URL downloaded again, unless that is under way; one that isn't known is submitted."""
    here = parts(request)
    return await _accepted(here, await refresh_or_add(here, await _wanted(request)))


async def refresh_or_add(here: Parts, wanted: Addition) -> Image:
    """The image, on its way. Raises StoreUnavailable."""
    found = await here.catalog.refresh(wanted.id, callback=wanted.callback)
    if found is None:
        added = await add(here, wanted)
        # None: somebody else has submitted it since, so that it is under way.
        found = (added, False) if added else await here.catalog.refresh(wanted.id, callback=wanted.callback)
    if found is None:
        raise StoreUnavailable("The image was deleted while it was being refreshed.")
    image, begins = found
    if begins:
        here.dispatcher.dispatch(image)
    return image


async def _wanted(request: Request[Any, Any, Any]) -> Addition:
    submission = await bodies.read(request, Submission, example=_EXAMPLE)
    settings = parts(request).settings
    url = targets.accepted(submission.url, settings)
    callback = check_callback(submission.callback_url, settings) if submission.callback_url is not None else None
    return Addition(urls.image_id(url.href), url, callback=callback, trace=tracing.cause())


async def add(here: Parts, wanted: Addition) -> Image | None:
    """The image, on its way; None if it was known. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(ADD_SECONDS):
            added = await here.additions.add(wanted)
    except TimeoutError:
        raise StoreUnavailable("MongoDB is too slow: the insert has waited too long.") from None
    if added:
        here.dispatcher.dispatch(added)
    return added


async def _accepted(here: Parts, image: Image) -> ASGIResponse:
    where = address(image.id, here.settings.public_url or "")
    return replies.json(await whole(here, image), status=202, headers=(("Location", where),))
