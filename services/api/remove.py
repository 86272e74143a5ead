"""DELETE /images/{id}: the image goes at once, its bytes with the housekeeping, once nothing refers to them."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, delete

from services.api.access.keys import who
from services.api.http import parameters
from services.api.http.problems import UNKNOWN_IMAGE, Problem
from services.api.parts import parts
from shared import urls

log = logging.getLogger("bowerbird.api")


@delete("/images/{image:str}", status_code=204)
async def remove(request: Request[Any, Any, Any]) -> None:
    """Deletes an image, or a page: its images are unbound or, with `images=true`, go too where nothing else has them."""
    catalog = parts(request).catalog
    with_images = _yes(parameters.read(request.scope["query_string"], ("images",)))
    image = request.path_params["image"]
    found = await catalog.get(image) if urls.IMAGE_ID.fullmatch(image) else None
    if found is None:
        raise Problem(UNKNOWN_IMAGE, "No image has this id.")
    # Its images first: were this to break off, there would still be a page to delete. Once more after it, for what a storer bound meanwhile.
    for last in (False, True):
        if with_images:
            await catalog.delete_images_of(image)
        await catalog.unbind(image)
        if not last:
            await catalog.delete(image)
    log.info("an image was deleted", extra={"image": image, "correlation": found.request().correlation_id, "images_too": with_images, **who(request)})


def _yes(given: dict[str, str]) -> bool:
    text = given.get("images", "false")
    if text not in {"true", "false"}:
        parameters.refuse("images", f"images must be true or false, not {text[:64]!r}.")
    return text == "true"
