"""Requests as spans, when traces are on (shared/tracing.py): between the gate and the application, so that what the gate refuses costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.access import listening
from services.api.access.keys import STATE
from shared import tracing

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

    from shared.settings import Settings

UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics", "/events"})
"""What is asked every few seconds, and what never ends."""


def traced(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application; around it, when traces are on, the spans of its answers."""
    return _Traced(app, settings) if tracing.on() else app  # type: ignore[return-value]  # only HTTP is served


class _Traced:
    """An ASGI application around another.

    Whose trace is continued (docs/tracing.md): that of whoever has a key, or, where there are no keys, of whoever is on this machine. Others' requests
    are traces of their own, recorded or not as the sampler decides, that link to theirs.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._everybody = not settings.api_keys and listening.on_loopback(settings) and not settings.trusted_proxies

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        status = 500
        trusted = self._everybody or scope.get("state", {}).get(STATE) is not None

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracing.answering(scope["method"], scope["path"], _parent(scope), trusted=trusted) as answered:
            try:
                await self._app(scope, receive, noted)
            finally:
                answered(status, scope.get("path_template"))


def _parent(scope: HTTPScope) -> str | None:
    """None as well when there are two: nobody could say which one is meant (W3C Trace Context, section 3.2.1)."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    return given[0].decode("latin-1") if len(given) == 1 else None
