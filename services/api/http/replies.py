"""Answers in JSON."""

from __future__ import annotations

import msgspec
from litestar.response.base import ASGIResponse

_ENCODER = msgspec.json.Encoder()
INERT = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin"}
"""Headers of what is data, and never a page or a part of one. Those that every answer has are in listening.py."""
# What a resource says may be different the next moment.
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in {"Cache-Control": "no-cache", **INERT}.items()]


def json(content: object, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> ASGIResponse:
    """An answer whose body is `content`, encoded; times become RFC 3339."""
    response = ASGIResponse(body=_ENCODER.encode(content), status_code=status, media_type="application/json", headers=headers)
    # Encoded once: each header that Litestar encodes costs more than the whole of the gate.
    response.headers.headers.extend(_HEADERS)
    return response
