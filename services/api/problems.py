"""Errors as RFC 9457 problem details: every kind of them, and the one table from our errors to HTTP statuses.

A problem's `type` is a path on this server, /problems/{name}, where a page explains it: it is stable, and to read it nobody
needs the internet. Members beyond the standard's: `image` (known-image), `status_of_image` and `error` (not-stored), `rule`
(refused-url), `errors` (what is wrong where, with a JSON pointer or a parameter's name).
"""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException

from shared.errors import BowerbirdError, BrokerUnavailable, StoreUnavailable, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request

log = logging.getLogger("bowerbird.api")

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2


class Kind(msgspec.Struct, frozen=True):
    """A kind of problem. `meaning` is what its page says."""

    name: str
    status: int
    title: str
    meaning: str

    @property
    def type(self) -> str:
        """The URI reference that identifies the kind (RFC 9457, section 3.1.1)."""
        return f"/problems/{self.name}"


BAD_REQUEST = Kind("bad-request", 400, "The request can't be understood", "The request isn't valid HTTP, or not of a form that is served here.")
BAD_BODY = Kind(
    "bad-body", 400, "The body isn't what it should be", "The body isn't JSON, or its members aren't those that were expected; `errors` says where."
)
BAD_PARAMETER = Kind(
    "bad-parameter",
    400,
    "A query parameter isn't what it should be",
    "A query parameter is unknown, repeated or has a value that it can't have; `errors` names it.",
)
UNAUTHORIZED = Kind("unauthorized", 401, "A key is needed", "This server wants one of its keys, as `Authorization: Bearer <key>`.")
NOT_FOUND = Kind("not-found", 404, "There is nothing here", "No resource has this path. The API reference at /docs lists what there is.")
UNKNOWN_IMAGE = Kind("unknown-image", 404, "No such image", "No image has this id, or this URL was never submitted.")
UNKNOWN_DEAD_LETTER = Kind(
    "unknown-dead-letter", 404, "No such dead letter", "No dead letter has this id: it was replayed or deleted, or never there."
)
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    405,
    "The method isn't allowed here",
    "The resource is there, but not for this method; the header Allow lists those that it has.",
)
KNOWN_IMAGE = Kind("known-image", 409, "The URL is known already", "This URL was submitted before. `image` is the address of its image.")
NOT_STORED = Kind(
    "not-stored",
    409,
    "The image isn't stored",
    "There are no bytes (yet): `status_of_image` says where the image is on its way, `error` why it failed if it did.",
)
TOO_LARGE = Kind("content-too-large", 413, "The body is too large", "The body is larger than this resource takes.")
UNSUPPORTED_MEDIA_TYPE = Kind(
    "unsupported-media-type",
    415,
    "The body's media type isn't supported",
    "The request needs the header `Content-Type: application/json`. Without it any web page could have its visitors' browsers submit URLs to a server on their own network.",
)
RANGE_NOT_SATISFIABLE = Kind(
    "range-not-satisfiable",
    416,
    "The range isn't within the content",
    "The header Range asks for bytes beyond the end; Content-Range says how many there are.",
)
REFUSED_URL = Kind("refused-url", 422, "The URL is refused", "The URL will never be asked for; `rule` says which rule it breaks.")
INTERNAL_ERROR = Kind(
    "internal-error", 500, "Something went wrong on the server", "A fault of this server. Its log has the details under the id in `instance`."
)
UNAVAILABLE = Kind(
    "unavailable",
    503,
    "The server isn't able to answer at the moment",
    "A server that this one needs doesn't answer. Try again after the seconds in the header Retry-After.",
)

KINDS = {
    kind.name: kind
    for kind in (
        BAD_REQUEST, BAD_BODY, BAD_PARAMETER, UNAUTHORIZED, NOT_FOUND, UNKNOWN_IMAGE, METHOD_NOT_ALLOWED, KNOWN_IMAGE, NOT_STORED,
        UNKNOWN_DEAD_LETTER, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, RANGE_NOT_SATISFIABLE, REFUSED_URL, INTERNAL_ERROR, UNAVAILABLE,
    )
}  # fmt: skip

_OURS: dict[type[BowerbirdError], Kind] = {UrlRefused: REFUSED_URL, StoreUnavailable: UNAVAILABLE, BrokerUnavailable: UNAVAILABLE}
_FRAMEWORKS = {kind.status: kind for kind in (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)}
_FRAMEWORKS_DETAILS = {
    405: "The header Allow lists the methods that this resource has.",
    413: "The body is larger than this resource takes.",
}


class Problem(Exception):
    """An answer that says what was wrong. `members` extend the problem's, `headers` the answer's."""

    def __init__(self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **members: object) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The response for whatever was raised while a request was under way."""
    instance = request.scope.get("raw_path", b"/").decode("latin-1")
    problem = _problem(error)
    if problem.kind is INTERNAL_ERROR:
        instance = uuid.uuid4().urn
        log.error("unexpected error", extra={"instance": instance, "path": request.scope["path"]}, exc_info=error)
    body = {
        "type": problem.kind.type, "title": problem.kind.title, "status": problem.kind.status, "detail": problem.detail,
        "instance": instance, **problem.members,
    }  # fmt: skip
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **problem.headers}
    return Response(msgspec.json.encode(body), status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=headers)


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case UrlRefused():
            return Problem(REFUSED_URL, error.detail, rule=error.rule)
        case BowerbirdError() if kind := next((_OURS[cls] for cls in type(error).__mro__ if cls in _OURS), None):
            # The error's own text is for the log: it may name hosts inside.
            log.debug("not available", extra={"error": str(error)})
            return Problem(
                kind, "Something that this server needs doesn't answer at the moment; try again.", headers={"Retry-After": str(RETRY_SECONDS)}
            )
        case HTTPException() if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            kind = _FRAMEWORKS.get(error.status_code, BAD_REQUEST)
            headers = {name.title(): value for name, value in (error.headers or {}).items()}
            if kind is TOO_LARGE:
                headers["Connection"] = "close"  # rather than read all the rest of it
            return Problem(kind, _FRAMEWORKS_DETAILS.get(error.status_code, kind.meaning), headers=headers)
    return Problem(INTERNAL_ERROR, INTERNAL_ERROR.meaning)
