"""Answers in JSON."""

from __future__ import annotations

import msgspec
from litestar.response.base import ASGIResponse

_ENCODER = msgspec.json.Encoder()
# What a resource says may be different the next moment.
_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-cache"))


def json(content: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> ASGIResponse:
    """An answer whose body is `content`, encoded; times become RFC 3339."""
    return ASGIResponse(body=_ENCODER.encode(content), status_code=status, media_type="application/json", headers=(*_HEADERS, *headers))
