"""POST /images: an image is recorded, its request handed on, and its address answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import bodies, replies
from services.api.parts import parts
from services.api.problems import KNOWN_IMAGE, Problem
from services.api.resources import address, resource
from shared import addresses, urls
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.urls import Url

MAX_BODY_BYTES = 64 * 1024
ADD_SECONDS = 5.0
"""Longer than one write may take (services/api/main.py), so that it can also wait for the one before it."""


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The URL of an image."""

    url: str


_EXAMPLE = '{"url": "https://host/image.jpg"}'


@post("/images", status_code=202, request_max_body_size=MAX_BODY_BYTES)
async def submit(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits the URL of an image, to be downloaded in the background."""
    here = parts(request)
    settings = here.settings
    base = settings.public_url or ""
    submission = await bodies.read(request, Submission, example=_EXAMPLE)
    url = accepted(submission.url, settings)
    image = urls.image_id(url.href)
    try:
        async with asyncio.timeout(ADD_SECONDS):
            added = await here.additions.add((image, url))
    except TimeoutError:
        raise StoreUnavailable("MongoDB is too slow: the insert has waited too long.") from None
    if added is None:
        where = address(image, base)
        raise Problem(KNOWN_IMAGE, f"This URL was submitted before: see {where}.", image=where)
    here.dispatcher.dispatch(added)
    return replies.json(resource(added, base), status=202, headers=(("Location", address(image, base)),))


def accepted(text: str, settings: Settings) -> Url:
    """The URL in canonical form. Raises UrlRefused for one that the fetchers wouldn't ask for, as far as that shows without asking DNS."""
    url = urls.parse(text, ports=settings.fetch_ports)
    addresses.check_literal(url, settings.fetch_allow)
    return url
