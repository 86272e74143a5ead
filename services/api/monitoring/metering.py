"""What each request took and came to: by its route and the class of its status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from litestar.types import HTTPScope, Message, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
NOWHERE = "none"
"""The route of a request that came to none: a path that isn't served, or a request that was refused before."""


class Metered:
    """A `send` around another, for one request: counts it when its answer begins, and the bytes of its body.

    Until it begins, and not until it ends: how long a client takes over its bytes is the client's, and a stream of events has no end.
    """

    __slots__ = ("_began", "_scope", "_send")

    def __init__(self, scope: HTTPScope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()

    def __call__(self, message: Message) -> Awaitable[None]:
        """Passes a part of the answer on."""
        # Litestar has noted which route it is when there is anything to send; a path itself is a stranger's choice, and so is a method.
        path = self._scope.get("path_template") or NOWHERE
        if message["type"] == "http.response.start":
            method = self._scope["method"]
            metrics.REQUESTS[path, method if method in METHODS else "other", f"{message['status'] // 100}xx"].inc()
            metrics.REQUEST_SECONDS[path,].observe(time.perf_counter() - self._began)
        elif message["type"] == "http.response.body" and (body := message["body"]):
            metrics.SERVED_BYTES[path,].inc(len(body))
        return self._send(message)
