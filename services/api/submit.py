"""POST /images: an image is recorded, its request handed on, and its address answered."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse  # noqa: TC002  (Litestar resolves it at run time)

from services.api import replies
from services.api.parts import parts
from services.api.problems import BAD_BODY, KNOWN_IMAGE, UNSUPPORTED_MEDIA_TYPE, Problem
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


_DECODER = msgspec.json.Decoder(Submission)
_JSON = re.compile(r"\s*application/(?:[a-z0-9.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_WHERE = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_FIELD = re.compile(r"field `(.*)`$", re.DOTALL)
_TYPES = {
    "`str`": "a string",
    "`object`": "an object",
    "`array`": "an array",
    "`int`": "a number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`null`": "null",
}


@post("/images", status_code=202, request_max_body_size=MAX_BODY_BYTES)
async def submit(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Submits the URL of an image, to be downloaded in the background."""
    here = parts(request)
    settings = here.settings
    base = settings.public_url or ""
    url = accepted(await _submitted(request), settings)
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


async def _submitted(request: Request[Any, Any, Any]) -> str:
    content_type = request.headers.get("content-type", "")
    if not _JSON.match(content_type):
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            f"The body must be JSON and the header say so, as Content-Type: application/json; it says {content_type[:100] or 'nothing'!r}. "
            'With curl: curl --json \'{"url": "https://…"}\'',
            headers={"Accept-Post": "application/json"},
        )
    try:
        return _DECODER.decode(await request.body()).url
    except UnicodeDecodeError:
        raise _bad_body("The body isn't UTF-8.", "") from None
    except msgspec.MsgspecError as error:
        raise _bad_body(*_explained(error)) from None


def _explained(error: msgspec.MsgspecError) -> tuple[str, str]:
    """A sentence, and where in the body it applies, as a JSON pointer (RFC 6901)."""
    if not isinstance(error, msgspec.ValidationError):
        return f"The body isn't JSON: {error}.", ""
    found = _WHERE.match(str(error))
    message, path = (found[1], found[2] or "") if found else (str(error), "")
    if field := _FIELD.search(message):
        path += f".{field[1]}"
    for name, words in _TYPES.items():
        message = message.replace(name, words)
    pointer = path.replace("~", "~0").replace("/", "~1").replace(".", "/")
    return f"{message}.", pointer


def _bad_body(detail: str, pointer: str) -> Problem:
    hint = 'The body should look like {"url": "https://host/image.jpg"}.'
    return Problem(BAD_BODY, f"{detail} {hint}", errors=[{"pointer": f"#{pointer}", "detail": detail}])
