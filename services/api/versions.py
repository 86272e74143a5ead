"""GET /images/{id}/versions, and the content and deletion of each: copies that a refresh replaced."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, delete, route
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api.content import serve
from services.api.http import replies
from services.api.http.problems import UNKNOWN_IMAGE, UNKNOWN_VERSION, Problem
from services.api.parts import parts
from services.api.resources import address
from shared import urls

if TYPE_CHECKING:
    from services.api.parts import Parts
    from shared.image import Image, Version


class VersionResource(msgspec.Struct, frozen=True, kw_only=True):
    """A former copy. `size` is in bytes, `width` and `height` are in pixels; it was the image's from `fetched_at` to `replaced_at`."""

    sha256: str
    size: int
    format: str
    content_type: str
    width: int
    height: int
    fetched_at: datetime
    replaced_at: datetime
    content: str


class VersionList(msgspec.Struct, frozen=True, kw_only=True):
    """The former copies of an image, the latest first."""

    items: list[VersionResource]


@route("/images/{image:str}/versions", http_method=["GET", "HEAD"])
async def list_versions(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The copies of an image that a refresh replaced."""
    here = parts(request)
    image = await _find(here, request.path_params["image"])
    own = address(image.id, here.settings.public_url or "")
    return replies.json(VersionList(items=[_resource(version, own) for version in reversed(image.versions)]))


@route("/images/{image:str}/versions/{sha256:str}/content", http_method=["GET", "HEAD"])
async def get_version(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The bytes of a former copy, or of the present one, by their SHA-256."""
    image = await _find(parts(request), request.path_params["image"])
    sha256 = request.path_params["sha256"]
    if image.sha256 == sha256 and image.file is not None:
        return await serve(request, image, image)
    for version in reversed(image.versions):
        if version.sha256 == sha256:
            return await serve(request, image, version)
    raise _unknown()


@delete("/images/{image:str}/versions/{sha256:str}", status_code=204)
async def delete_version(request: Request[Any, Any, Any]) -> None:
    """Forgets the former copies with these bytes."""
    here = parts(request)
    image = await _find(here, request.path_params["image"])
    if not await here.catalog.delete_version(image.id, request.path_params["sha256"]):
        raise _unknown()


async def _find(here: Parts, image: str) -> Image:
    found = await here.catalog.get(image) if urls.IMAGE_ID.fullmatch(image) else None
    if found is None:
        raise Problem(UNKNOWN_IMAGE, "No image has this id.")
    return found


def _unknown() -> Problem:
    return Problem(UNKNOWN_VERSION, "The image has no former copy with this SHA-256.")


def _resource(version: Version, own: str) -> VersionResource:
    return VersionResource(
        sha256=version.sha256,
        size=version.size,
        format=version.format,
        content_type=version.content_type,
        width=version.width,
        height=version.height,
        fetched_at=version.fetched_at,
        replaced_at=version.replaced_at,
        content=f"{own}/versions/{version.sha256}/content",
    )
