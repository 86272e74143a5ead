"""GET /images and GET /images/{id}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from litestar import Request, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import cursors, parameters, replies, submit
from services.api.parts import parts
from services.api.problems import UNKNOWN_IMAGE, Problem
from services.api.resources import ImagePage, resource
from shared import urls
from shared.catalog import Filters, Position, Status

if TYPE_CHECKING:
    from services.api.parts import Parts
    from shared.catalog import Image

DEFAULT_LIMIT, MAX_LIMIT = 100, 500
_PARAMETERS = ("limit", "cursor", "status", "url")


async def find(here: Parts, image: str) -> Image:
    """The image with an id. Raises Problem when there is none, or when no id looks like this."""
    found = await here.lookups.add(image) if urls.IMAGE_ID.fullmatch(image) else None
    if found is None:
        raise Problem(UNKNOWN_IMAGE, "No image has this id.")
    return found


@route("/images/{image:str}", http_method=["GET", "HEAD"])
async def get_image(request: Request[Any, Any, Any]) -> ASGIResponse:
    """An image and how far it has come."""
    here = parts(request)
    found = await find(here, request.path_params["image"])
    return replies.json(resource(found, here.settings.public_url or ""))


@route("/images", http_method=["GET", "HEAD"])
async def list_images(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The images, newest first; or with `url`, the image of that URL."""
    here = parts(request)
    given = parameters.read(request.scope["query_string"], _PARAMETERS)
    if "url" in given:
        return await _by_url(here, given)
    base = here.settings.public_url or ""
    limit = parameters.whole(given, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    # One more than asked for shows whether there is a next page.
    images = await here.catalog.page(Filters(status=_status(given)), limit=limit + 1, after=cursors.of(given))
    following = None
    if len(images) > limit:
        images = images[:limit]
        cursor = cursors.encode(Position(images[-1].added_at, images[-1].id))
        following = f"{base}/images?{urlencode({**given, 'cursor': cursor})}"
    link = (("Link", f'<{following}>; rel="next"'),) if following else ()
    return replies.json(ImagePage(items=[resource(image, base) for image in images], next=following), headers=link)


async def _by_url(here: Parts, given: dict[str, str]) -> ASGIResponse:
    for other in given:
        if other != "url":
            parameters.refuse(other, f"{other} can't be combined with url, which names one image. (An & within url= is written %26.)")
    url = urls.parse(given["url"])
    found = await here.lookups.add(urls.image_id(url.href))
    if found is None:
        # Only now: what is stored can be found although the settings have changed since.
        submit.accepted(given["url"], here.settings)
        raise Problem(UNKNOWN_IMAGE, "This URL was never submitted.")
    base = here.settings.public_url or ""
    content = resource(found, base)
    return replies.json(content, headers=(("Content-Location", content.links.self),))


def _status(given: dict[str, str]) -> Status | None:
    text = given.get("status")
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        parameters.refuse("status", f"status must be one of {', '.join(Status)}, not {text[:64]!r}.")
