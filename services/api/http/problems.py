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
from litestar.exceptions import HTTPException, InternalServerException

from services.api.http import replies
from shared.errors import BowerbirdError, BrokerUnavailable, StoreUnavailable, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request
    from litestar.types import HTTPScope, Send

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
FORBIDDEN = Kind(
    "forbidden", 403, "The key isn't enough", "The key is one of this server's, but not for this: reading needs the scope `read`, all else `write`."
)
CROSS_ORIGIN = Kind(
    "cross-origin",
    403,
    "Other origins may not change anything here",
    "A web page of another origin had a browser send this request (the headers Origin or Sec-Fetch-Site say so); only pages of this server itself may. "
    "Behind a proxy, BOWERBIRD_PUBLIC_URL says what this server's own origin is.",
)
NOT_FOUND = Kind("not-found", 404, "There is nothing here", "No resource has this path. The API reference at /docs lists what there is.")
UNKNOWN_IMAGE = Kind("unknown-image", 404, "No such image", "No image has this id, or this URL was never submitted.")
UNKNOWN_VERSION = Kind(
    "unknown-version", 404, "No such version", "The image never had these bytes, or they were deleted: /images/{id}/versions lists what there is."
)
UNKNOWN_BATCH = Kind("unknown-batch", 404, "No such batch", "No batch has this id.")
UNKNOWN_DEAD_LETTER = Kind(
    "unknown-dead-letter", 404, "No such dead letter", "No dead letter has this id: it was replayed or deleted, or never there."
)
UNKNOWN_DELIVERY = Kind("unknown-delivery", 404, "No such delivery", "No delivery of a callback has this id; they are kept for 30 days.")
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed",
    405,
    "The method isn't allowed here",
    "The resource is there, but not for this method; the header Allow lists those that it has.",
)
REQUEST_TIMEOUT = Kind("request-timeout", 408, "The request took too long", "The rest of the request didn't arrive in time.")
KNOWN_IMAGE = Kind("known-image", 409, "The URL is known already", "This URL was submitted before. `image` is the address of its image.")
NOT_STORED = Kind(
    "not-stored",
    409,
    "The image isn't stored",
    "There are no bytes (yet): `status_of_image` says where the image is on its way, `error` why it failed if it did.",
)
TOO_LARGE = Kind("content-too-large", 413, "The body is too large", "The body is larger than this resource takes.")
TARGET_TOO_LONG = Kind("uri-too-long", 414, "The address is too long", "The path and query are longer than any resource here needs.")
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
WRONG_HOST = Kind(
    "wrong-host",
    421,
    "This isn't the host that was asked for",
    "Without keys and on loopback, this server answers only to localhost, addresses of loopback and the host of BOWERBIRD_PUBLIC_URL, so that no web "
    "page can have its own name resolve to this machine and use it (DNS rebinding).",
)
REFUSED_URL = Kind("refused-url", 422, "The URL is refused", "The URL will never be asked for; `rule` says which rule it breaks.")
REUSED_KEY = Kind(
    "reused-key",
    422,
    "The Idempotency-Key was used for something else",
    "A request with this Idempotency-Key came before, with another body: a key repeats one request, and another request needs another key.",
)
CALLBACKS_OFF = Kind(
    "callbacks-off",
    422,
    "Callbacks are off",
    "This server has no secret to sign callbacks with, so that it takes no `callback_url`: its operator sets BOWERBIRD_WEBHOOK_SECRET.",
)
NO_THUMBNAIL = Kind(
    "no-thumbnail",
    422,
    "There is no thumbnail of this image",
    "The image can't be decoded within the limits of pixels, time and memory. Its original bytes are there all the same.",
)
TOO_MANY_REQUESTS = Kind(
    "too-many-requests",
    429,
    "Too many requests",
    "More requests than a key, or without one an address, may send. Try again after the seconds in Retry-After.",
)
HEADERS_TOO_LARGE = Kind("headers-too-large", 431, "The headers are too large", "The request has too many headers, or too much in them.")
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
        BAD_REQUEST, BAD_BODY, BAD_PARAMETER, UNAUTHORIZED, FORBIDDEN, CROSS_ORIGIN, NOT_FOUND, UNKNOWN_IMAGE, UNKNOWN_VERSION, UNKNOWN_BATCH, UNKNOWN_DEAD_LETTER, UNKNOWN_DELIVERY,
        METHOD_NOT_ALLOWED, REQUEST_TIMEOUT, KNOWN_IMAGE, NOT_STORED, TOO_LARGE, TARGET_TOO_LONG, UNSUPPORTED_MEDIA_TYPE,
        RANGE_NOT_SATISFIABLE, WRONG_HOST, REFUSED_URL, REUSED_KEY, CALLBACKS_OFF, NO_THUMBNAIL, TOO_MANY_REQUESTS, HEADERS_TOO_LARGE, INTERNAL_ERROR, UNAVAILABLE,
    )
}  # fmt: skip

_OURS: dict[type[BowerbirdError], Kind] = {UrlRefused: REFUSED_URL, StoreUnavailable: UNAVAILABLE, BrokerUnavailable: UNAVAILABLE}
_FRAMEWORKS = {kind.status: kind for kind in (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)}
_GONE = "client disconnected prematurely"  # Litestar's words
_HEADERS = {"Cache-Control": "no-store", **replies.INERT}
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
    if isinstance(error, InternalServerException) and error.detail == _GONE:
        log.debug("a client went away before its request was whole")  # nobody hears the answer
    elif problem.kind is INTERNAL_ERROR:
        instance = uuid.uuid4().urn
        log.error("unexpected error", extra={"instance": instance, "path": request.scope["path"]}, exc_info=error)
    headers = {**_HEADERS, **problem.headers}
    return Response(body(problem, instance), status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=headers)


async def send(problem: Problem, scope: HTTPScope, send: Send) -> None:
    """Answers a request that the application doesn't get to see."""
    content = body(problem, scope["raw_path"].decode("latin-1"))
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(content)), **_HEADERS, **problem.headers}
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": encoded})
    await send({"type": "http.response.body", "body": content, "more_body": False})


def bare(kind: Kind) -> bytes:
    """The end of a response, from its first own header on, for a request that isn't even one of HTTP; it closes the connection."""
    content = body(Problem(kind, kind.meaning), "/")
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(content)), **_HEADERS, "Connection": "close"}
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n" + content


def body(problem: Problem, instance: str) -> bytes:
    """The problem as JSON."""
    members = {
        "type": problem.kind.type, "title": problem.kind.title, "status": problem.kind.status, "detail": problem.detail,
        "instance": instance, **problem.members,
    }  # fmt: skip
    return msgspec.json.encode(members)


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
