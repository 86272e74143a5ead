"""API keys: with BOWERBIRD_API_KEYS set, every request but the probes' and the reference's needs one of them."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from services.api.problems import UNAUTHORIZED, Problem

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

PUBLIC = "public"
"""The option of a route that needs no key."""


async def require_key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem unless the request has the header `Authorization: Bearer` with one of the keys (RFC 6750, section 2.1)."""
    keys = connection.app.state.parts.settings.api_keys
    if not keys or handler.opt.get(PUBLIC):
        return
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    # Compared by their hashes, and all of them, so that the time taken says nothing about a key.
    digest = _digest(given.strip())
    matches = [hmac.compare_digest(digest, _digest(key)) for key in keys]
    if scheme.lower() != "bearer" or not any(matches):
        raise Problem(UNAUTHORIZED, UNAUTHORIZED.meaning, headers={"WWW-Authenticate": 'Bearer realm="bowerbird"'})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
