"""What the header of an answer decides: go on elsewhere, give up, come back later, or read the body."""

from __future__ import annotations

import http
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import ada_url

from services.fetcher.retry_after import retry_after
from shared import urls
from shared.errors import DownloadError, PermanentError, Reason, TransientError, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Container

    import httpx

    from shared.urls import Url

REDIRECTS = frozenset({301, 302, 303, 307, 308})
NOT_MODIFIED = 304

# With a body that is the whole resource; 204 and 205 have none, 206 is a part that nobody asked for.
_GOOD = frozenset({200, 201, 202, 203})
_LATER = frozenset({408, 425, 429})
_SERVER_ERROR = 500

# Registered codings that change the bytes. What browsers don't know ("none", "utf-8", "aws-chunked") they ignore, and so do we.
_CODINGS = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "dcb", "dcz"})
_LONGEST_FIELD = 1024


def target(url: Url, response: httpx.Response, *, ports: Container[int], allow_downgrade: bool) -> Url:
    """Where a redirect leads. Raises PermanentError: redirect (there is no usable Location) or blocked (a rule of ours).

    Bytes outside ASCII are percent-encoded as they are, and the rest is resolved against `url`, as browsers do (Fetch
    Standard, "location URL"). The result must then pass the same rules as a URL that somebody gave us.
    """
    location = _raw(response, b"location")
    if location is None:
        raise PermanentError(Reason.REDIRECT, f"The origin answered {response.status_code} without saying where to.")
    text = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in location)  # noqa: PLR2004  (ASCII)
    try:
        found = urls.parse(ada_url.URL(text, base=url.href).href, ports=ports)
    except ValueError:
        raise PermanentError(Reason.REDIRECT, "The origin redirects to something that is not a URL.") from None
    except UrlRefused as error:
        raise PermanentError(Reason.BLOCKED, f"The origin redirects to a URL outside the rules: {error.detail}") from None
    if url.scheme == "https" and found.scheme == "http" and not allow_downgrade:
        raise PermanentError(Reason.BLOCKED, "The origin redirects from https to http.")
    return found


def check_status(response: httpx.Response) -> None:
    """Raises what a status other than success means: PermanentError or TransientError (http_status)."""
    status = response.status_code
    if status in _GOOD:
        return
    known = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else ""
    detail = f"The origin answered {status}{' ' + known if known else ''}."
    if status in _LATER or status >= _SERVER_ERROR:
        raise TransientError(Reason.HTTP_STATUS, detail, retry_after=retry_after(field(response, "retry-after"), datetime.now(UTC)))
    raise PermanentError(Reason.HTTP_STATUS, detail)


def check_body(response: httpx.Response, limit: int) -> None:
    """Raises PermanentError for a body not worth reading: too_large (by its Content-Length) or encoding.

    An encoded body was not asked for (Accept-Encoding: identity); decoding it is a service to bombs more than to people.
    """
    codings = {coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(",")}
    if found := codings & _CODINGS:
        raise PermanentError(Reason.ENCODING, f"The origin sends the body encoded ({', '.join(sorted(found))}), though it was asked not to.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > len(str(limit)) + 20 or int(declared) > limit):
        raise too_large(limit)


def expected_length(response: httpx.Response, limit: int) -> int:
    """The most bytes that the body can come to, of those that `check_body` lets pass: what is declared, or else the limit."""
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and "transfer-encoding" not in response.headers else limit


def too_large(limit: int) -> DownloadError:
    """The error for a body of more than `limit` bytes."""
    return PermanentError(Reason.TOO_LARGE, f"The body is larger than {limit:,} bytes.")


def field(response: httpx.Response, name: str) -> str | None:
    """A header field, if it has the form that RFC 9110 gives to all that we keep: printable ASCII, and not endless."""
    value: str | None = response.headers.get(name)
    return value if value and is_field_value(value) else None


def is_field_value(value: str) -> bool:
    """Whether a value may be kept, and sent in a header of ours."""
    return value.isascii() and value.isprintable() and len(value) <= _LONGEST_FIELD


def _raw(response: httpx.Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers.raw if key.lower() == name), None)
