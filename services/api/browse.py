"""GET /images and GET /images/{id}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from litestar import Request, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)
from msgspec.structs import replace

from services.api import cursors, filters, targets
from services.api.http import parameters, replies
from services.api.http.problems import UNKNOWN_IMAGE, Problem
from services.api.parts import parts
from services.api.resources import ImagePage, address, resource
from shared import urls
from shared.listing import Filters, Position

if TYPE_CHECKING:
    from services.api.parts import Parts
    from services.api.resources import ImageResource
    from shared.image import Image

DEFAULT_LIMIT, MAX_LIMIT = 100, 500
NAMED = 10
"""As many pages of an image, and images with its bytes, are named."""
_PAGING = ("limit", "cursor")


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
    return replies.json(await whole(here, await find(here, request.path_params["image"])))


@route("/images", http_method=["GET", "HEAD"])
async def list_images(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The images, newest first; with `url`, the image of that URL, or those of that page."""
    here = parts(request)
    given = parameters.read(request.scope["query_string"], (*_PAGING, *filters.NAMES, "url"))
    if "url" not in given:
        return await _list(here, given, filters.read(given))
    url = urls.parse(given["url"])
    found = await here.lookups.add(urls.image_id(url.href))
    if found is None:
        # Only now: what is stored can be found although the settings have changed since.
        targets.accepted(given["url"], here.settings)
        raise Problem(UNKNOWN_IMAGE, "This URL was never submitted.")
    where = (("Content-Location", address(found.id, here.settings.public_url or "")),)
    if found.page is not None:
        if "page" in given:
            parameters.refuse("page", "page can't be combined with url, which names one.")
        return await _list(here, given, replace(filters.read(given), page=found.id))
    for other in given:
        if other != "url":
            parameters.refuse(other, f"{other} can't be combined with url, which names one image. (An & within url= is written %26.)")
    return replies.json(await whole(here, found), headers=where)


async def _list(here: Parts, given: dict[str, str], wanted: Filters) -> ASGIResponse:
    base = here.settings.public_url or ""
    limit = parameters.whole(given, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    # One more than asked for shows whether there is a next page.
    images = await here.catalog.page(wanted, limit=limit + 1, after=cursors.of(given))
    following = None
    if len(images) > limit:
        images = images[:limit]
        cursor = cursors.encode(Position(images[-1].added_at, images[-1].id))
        following = f"{base}/images?{urlencode({**given, 'cursor': cursor})}"
    link = (("Link", f'<{following}>; rel="next"'),) if following else ()
    return replies.json(ImagePage(items=[resource(image, base) for image in images], next=following), headers=link)


async def whole(here: Parts, image: Image) -> ImageResource:
    """An image with what lists leave out."""
    base = here.settings.public_url or ""
    found = resource(image, base)
    if found.page is not None:
        found = replace(found, page=replace(found.page, images=await here.catalog.counts(image.id)))
    pages = [address(owner, base) for owner in reversed(image.owners) if urls.IMAGE_ID.fullmatch(owner)]
    same = [address(other, base) for other in await here.catalog.same_bytes(image, limit=NAMED)]
    return replace(found, pages=pages[:NAMED], same_bytes=same)
