"""The gate: what every request passes before the application sees it. Cheap, and before any work is done for it."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from services.api.access import listening
from services.api.access.clients import Clients
from services.api.access.keys import READS, STATE, Keys
from services.api.access.origins import Origins
from services.api.access.rates import Rates
from services.api.http import problems
from services.api.http.problems import BAD_REQUEST, TOO_MANY_REQUESTS, Problem
from services.api.monitoring.metering import Metered

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Send

    from shared.settings import Settings

log = logging.getLogger("bowerbird.api")

BEYOND_LOOPBACK = 100
"""Requests a second beyond loopback, unless BOWERBIRD_RATE_LIMIT says otherwise."""
BURST_SECONDS = 10
PROBES = frozenset({"/health/live", "/health/ready"})
WARNING_SECONDS = 60.0
_LOOKED_AT = frozenset({b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-forwarded-for"})


class Gate:
    """An ASGI application around another; listening.py serves nothing but HTTP."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        loopback = listening.on_loopback(settings)
        self._app = app
        self._keys = Keys(settings.api_keys)
        self._origins = Origins(settings, only_ours=loopback and not self._keys)
        self._clients = Clients(settings.trusted_proxies)
        self._rates = _rates(settings, loopback=loopback)
        self._warned_at = float("-inf")

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Passes a request on, or says why not."""
        send = Metered(scope, send)
        try:
            self._check(scope)
        except Problem as problem:
            await problems.send(problem, scope, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: HTTPScope) -> None:
        given: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                if name not in given:
                    given[name] = value
                elif name == b"x-forwarded-for":
                    given[name] += b"," + value
                else:
                    # Two of them, and whoever reads the other one would decide otherwise.
                    raise Problem(BAD_REQUEST, f"The header {name.decode().title()} is given more than once.")
        host = given.get(b"host")
        self._origins.check_host(host, scope["http_version"])
        key = None
        if b"authorization" in given and self._keys:
            key = self._keys.find(given[b"authorization"])
            scope.setdefault("state", {})[STATE] = key
        if self._rates and scope["path"] not in PROBES:
            peer = scope["client"][0] if scope["client"] else ""
            client = f"key {key.name}" if key else self._clients.client(peer, given.get(b"x-forwarded-for"))
            self._slow_down(self._rates, client)
        if scope["method"] not in READS:
            self._origins.check_origin(given.get(b"origin"), given.get(b"sec-fetch-site"), host)

    def _slow_down(self, rates: Rates, client: str) -> None:
        wait = rates.wait(client)
        if not wait:
            return
        if time.monotonic() - self._warned_at > WARNING_SECONDS:  # not once a request
            self._warned_at = time.monotonic()
            log.warning("a client asks more often than BOWERBIRD_RATE_LIMIT lets it", extra={"client": client})
        seconds = math.ceil(wait)
        headers = {"Retry-After": str(seconds), "RateLimit-Policy": rates.policy, "RateLimit": f'"requests";r=0;t={seconds}'}
        raise Problem(TOO_MANY_REQUESTS, f"Too many requests: try again in {seconds} s.", headers=headers)


def _rates(settings: Settings, *, loopback: bool) -> Rates | None:
    rate = settings.rate_limit
    if rate is None:
        rate = 0 if loopback else BEYOND_LOOPBACK
    return Rates(rate, settings.rate_burst or rate * BURST_SECONDS) if rate else None
