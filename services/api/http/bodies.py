"""Bodies in JSON, read strictly: what is wrong is said, and where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from services.api.http.problems import BAD_BODY, UNSUPPORTED_MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Request

Body = TypeVar("Body", bound=msgspec.Struct)

MAX_DISCARDED_BYTES = 64 * 1024**2
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


def _anything(_: bytes) -> None:
    pass


async def read(request: Request[Any, Any, Any], kind: type[Body], *, example: str, check: Callable[[bytes], None] = _anything) -> Body:
    """The body of a request, if `check` doesn't mind it. Raises Problem, which shows `example` when the body isn't of this kind."""
    body: Body = await read_as(request, kind, example=example, check=check)
    return body


async def read_as(
    request: Request[Any, Any, Any],
    kind: Any,  # noqa: ANN401  (a type, or a union of some)
    *,
    example: str,
    check: Callable[[bytes], None] = _anything,
) -> Any:  # noqa: ANN401
    """As `read`, of any type that msgspec knows."""
    content_type = request.headers.get("content-type", "")
    if not _JSON.match(content_type):
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            f"The body must be JSON and the header say so, as Content-Type: application/json; it says {content_type[:100] or 'nothing'!r}. "
            f"With curl: curl --json '{example}'",
            headers={"Accept-Post": "application/json"},
        )
    body = await request.body()
    check(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except UnicodeDecodeError:
        raise _bad_body("The body isn't UTF-8.", "", example) from None
    except msgspec.MsgspecError as error:
        raise _bad_body(*_explained(error), example) from None


async def discard(request: Request[Any, Any, Any]) -> None:
    """Takes a body that is announced to be too large, within bounds: who is still sending doesn't see an answer after which the connection is closed."""
    # Of a body that isn't announced the end may have come; and who expects an answer sends nothing before it (RFC 9110, section 10.1.1).
    if "content-length" not in request.headers or "expect" in request.headers:
        return
    left = MAX_DISCARDED_BYTES
    while left > 0:
        event = await request.receive()
        if event["type"] != "http.request" or not event["more_body"]:
            return
        left -= len(event["body"])


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


def _bad_body(detail: str, pointer: str, example: str) -> Problem:
    return Problem(BAD_BODY, f"{detail} The body should look like {example}.", errors=[{"pointer": f"#{pointer}", "detail": detail}])
