"""The gallery: a page at `/`, its parts under /static/, and what it needs to know of the settings. It loads nothing from elsewhere.

A page of plain files, made into nothing: what is served is what is in services/api/static/. Everything that it shows it asks the api for, as
any other client would; so the page itself needs no key, and holds nothing that one would have to protect.
"""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from litestar import Request, route
from litestar.response.base import ASGIResponse

from services.api.access.keys import PUBLIC
from services.api.http import replies
from services.api.http.conditions import not_modified
from services.api.http.problems import NOT_FOUND, Problem
from services.api.lines import MAX_URLS
from services.api.parts import parts
from services.api.reference import openapi

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
"""Of the files that are served, by what their names end in: no other file is."""
_PAGE = "index.html"

# Neither unsafe-inline nor eval, and no text ever becomes markup or a script (Trusted Types, for browsers that know them).
# blob: for images that had to be asked for with a key, which <img> can't send.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class GallerySettings(msgspec.Struct, frozen=True):
    """What the page can't know by itself: where else to look, and how many URLs go into one batch."""

    version: str
    management_ui: str | None
    grafana_url: str | None
    batch_urls: int


class _File(NamedTuple):
    body: bytes
    media_type: str
    etag: str


@route("/", http_method=["GET", "HEAD"], opt={PUBLIC: True})
async def page(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The page."""
    return _serve(request, _files()[_PAGE])


@route("/static/{name:str}", http_method=["GET", "HEAD"], opt={PUBLIC: True})
async def static(request: Request[Any, Any, Any]) -> ASGIResponse:
    """A part of the page: its style, a module of its script, its icon."""
    found = _files().get(request.path_params["name"])
    if found is None:
        raise Problem(NOT_FOUND, "The gallery has no part with this name.")
    return _serve(request, found)


@route("/gallery.json", http_method=["GET", "HEAD"])
async def settings(request: Request[Any, Any, Any]) -> ASGIResponse:
    """What the page needs to know of the settings. Names hosts inside, so that it needs a key where there are keys."""
    given = parts(request).settings
    return replies.json(GallerySettings(openapi.version(), given.management_ui, given.grafana_url, MAX_URLS))


def _serve(request: Request[Any, Any, Any], file: _File) -> ASGIResponse:
    headers = {**_HEADERS, "ETag": file.etag}
    if not_modified(file.etag, datetime.now(UTC), if_none_match=request.headers.get("if-none-match"), if_modified_since=None):
        return ASGIResponse(status_code=304, headers=headers)
    if request.method == "HEAD":
        headers |= {"Content-Type": file.media_type, "Content-Length": str(len(file.body))}
        return ASGIResponse(headers=headers, is_head_response=True)
    return ASGIResponse(body=file.body, headers={**headers, "Content-Type": file.media_type})


@functools.cache
def _files() -> Mapping[str, _File]:
    """All of them: a name that isn't among them is looked for nowhere."""
    found = {}
    for entry in resources.files("services.api").joinpath("static").iterdir():
        if media_type := _TYPES.get(entry.name.rpartition(".")[2]):
            body = entry.read_bytes()
            found[entry.name] = _File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found
