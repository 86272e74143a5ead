"""What clients of the two older downloaders call, answered in their words: off unless BOWERBIRD_COMPAT is true.

`/api/images` is the Node downloader's: an image is `{id, sourceUrl, storageUrl, requestedAt, downloadedAt}`, its list an array, here
in pages of 500 with a header Link to the next. `/compat/images?url=` is the Go downloader's: names of the images of a URL, or a message.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, post, put, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import content, cursors, submit, targets
from services.api.browse import MAX_LIMIT, find
from services.api.http import bodies, parameters, replies
from services.api.http.problems import NOT_FOUND, Problem
from services.api.parts import parts
from services.api.resources import address
from shared import tracing, urls
from shared.image import Addition
from shared.listing import Filters, Position

if TYPE_CHECKING:
    from services.api.parts import Parts
    from shared.image import Image

_EXAMPLE = '{"url": "https://host/image.jpg"}'


class OldImage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image in the Node downloader's words. What isn't known yet is null."""

    id: str
    source_url: str
    storage_url: str | None
    requested_at: datetime
    downloaded_at: datetime | None


@post("/api/images", status_code=200, request_max_body_size=submit.MAX_BODY_BYTES)
async def enqueue(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits a URL, given as `{"url": …}` or as a JSON string. The answer is the URL, as it was for every one, known or not."""
    here = parts(request)
    given = await bodies.read_as(request, str | submit.Submission, example=_EXAMPLE)
    text = given if isinstance(given, str) else given.url
    await submit.add(here, _addition(here, text))
    return replies.json(text)


@route("/api/images", http_method=["GET", "HEAD"])
async def list_images(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The images, newest first."""
    here = parts(request)
    given = parameters.read(request.scope["query_string"], ("limit", "cursor"))
    limit = parameters.whole(given, "limit", default=MAX_LIMIT, low=1, high=MAX_LIMIT)
    images = await here.catalog.page(Filters(), limit=limit + 1, after=cursors.of(given))
    base = here.settings.public_url or ""
    link: tuple[tuple[str, str], ...] = ()
    if len(images) > limit:
        images = images[:limit]
        following = urlencode({**given, "cursor": cursors.encode(Position(images[-1].added_at, images[-1].id))})
        link = (("Link", f'<{base}/api/images?{following}>; rel="next"'),)
    return replies.json([_old(image, base) for image in images], headers=link)


@route("/api/images/{image:str}", http_method=["GET", "HEAD"])
async def get_image(request: Request[Any, Any, Any]) -> ASGIResponse:
    """An image."""
    here = parts(request)
    return replies.json(_old(await find(here, request.path_params["image"]), here.settings.public_url or ""))


@route("/compat/images", http_method=["GET", "HEAD"])
async def names_of_url(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The names of the images that were stored of a URL: one of its own, or a page's. Each is served as /compat/images/{name}."""
    here = parts(request)
    url = _url(request)
    found = await here.lookups.add(urls.image_id(url))
    if found is None:
        return replies.json({"message": "URL not processed"}, status=404)
    images = [found]
    if found.page is not None:
        images, after = [], None
        while page := await here.catalog.page(Filters(page=found.id), limit=MAX_LIMIT, after=after):
            images += page
            after = Position(page[-1].added_at, page[-1].id)
    return replies.json({"images": [_name(image) for image in images if image.file is not None]})


@post("/compat/images", status_code=200)
async def process(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits a URL."""
    here = parts(request)
    if await submit.add(here, _addition(here, _url(request))) is None:
        return replies.json({"message": "URL already processed"}, status=409)
    return replies.json({"message": "URL is being processed"})


@put("/compat/images", status_code=200)
async def process_again(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Has a URL downloaded again; one that isn't known is submitted."""
    here = parts(request)
    await submit.refresh_or_add(here, _addition(here, _url(request)))
    return replies.json({"message": "URL is being processed"})


@route("/compat/images/{name:str}", http_method=["GET", "HEAD"])
async def get_named(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The bytes of an image by its name."""
    here = parts(request)
    name = request.path_params["name"]
    image = await find(here, name.partition(".")[0])
    if image.file is None or name != _name(image):
        raise Problem(NOT_FOUND, NOT_FOUND.meaning)
    return await content.serve(request, image, image)


ROUTES = [enqueue, list_images, get_image, names_of_url, process, process_again, get_named]


def _url(request: Request[Any, Any, Any]) -> str:
    given = parameters.read(request.scope["query_string"], ("url",))
    if "url" not in given:
        parameters.refuse("url", "url is missing: it is the URL of an image or of a page, percent-encoded.")
    return urls.parse(given["url"]).href


def _addition(here: Parts, text: str) -> Addition:
    url = targets.accepted(text, here.settings)
    return Addition(urls.image_id(url.href), url, trace=tracing.cause())


def _name(image: Image) -> str:
    """Not the last part of its URL: two images of one host can have the same."""
    return f"{image.id}.{image.format}"


def _old(image: Image, base: str) -> OldImage:
    stored = image.file is not None
    return OldImage(
        id=image.id,
        source_url=image.url,
        storage_url=f"{address(image.id, base)}/content" if stored else None,
        requested_at=image.requested_at,
        downloaded_at=image.fetched_at if stored else None,
    )
