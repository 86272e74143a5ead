"""API keys: with BOWERBIRD_API_KEYS set, every request but the probes' and the reference's needs one of them.

The gate (gate.py) recognises a request's key; the guard here, beside each route, says whether that is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from services.api.http.problems import FORBIDDEN, UNAUTHORIZED, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.types import HTTPScope

log = logging.getLogger("bowerbird.api")

PUBLIC = "public"
"""The option of a route that needs no key."""
STATE = "key"
"""Under which the gate leaves the key in the request's state."""
READ, WRITE = "read", "write"
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Key(NamedTuple):
    """A key, without the secret. `name` is the beginning of its hash: for logs, where a key must never be."""

    name: str
    scopes: frozenset[str]


class Keys:
    """The keys of an api, as the setting has them: `secret`, `secret:read` or `secret:write`."""

    def __init__(self, given: Iterable[str]) -> None:
        self._known: list[tuple[bytes, Key]] = []
        for text in given:
            secret, _, scope = text.partition(":")
            digest = _digest(secret.encode())
            self._known.append((digest, Key(digest.hex()[:8], frozenset({scope} if scope else {READ, WRITE}))))

    def __iter__(self) -> Iterator[Key]:
        return iter([key for _, key in self._known])

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, authorization: bytes) -> Key | None:
        """The key in a header `Authorization: Bearer` (RFC 6750, section 2.1); None if it isn't one."""
        scheme, _, given = authorization.partition(b" ")
        # Compared by their hashes, and all of them, so that the time taken says nothing about a key.
        digest = _digest(given.strip())
        found = None
        for known, key in self._known:
            if hmac.compare_digest(digest, known):
                found = key
        return found if scheme.lower() == b"bearer" else None


async def require_key(request: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises Problem unless the request came with a key that has the scope it needs."""
    if handler.opt.get(PUBLIC):
        return
    key: Key | None = request.scope["state"].get(STATE)
    if key is None:
        raise Problem(UNAUTHORIZED, UNAUTHORIZED.meaning, headers={"WWW-Authenticate": 'Bearer realm="bowerbird"'})
    method = str(cast("HTTPScope", request.scope)["method"])
    scope = READ if method in READS else WRITE
    if scope not in key.scopes:
        log.info("a key without the scope was refused", extra={"key": key.name, "method": method, "scope": scope})
        # RFC 6750, section 3.1.
        challenge = f'Bearer realm="bowerbird", error="insufficient_scope", scope="{scope}"'
        raise Problem(FORBIDDEN, f"This key may not {scope}: {method} needs a key with the scope {scope}.", headers={"WWW-Authenticate": challenge})


def who(request: ASGIConnection[Any, Any, Any, Any]) -> dict[str, str]:
    """For the log: the name of the key that the request came with, if keys are wanted."""
    key: Key | None = request.scope["state"].get(STATE)
    return {"key": key.name} if key else {}


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
