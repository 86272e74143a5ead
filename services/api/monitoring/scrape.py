"""GET /metrics: this process's metrics, for Prometheus. Where several processes share the port, each has a port of its own besides (shared/exposition.py)."""

from __future__ import annotations

from typing import Any

from litestar import Request, route
from litestar.response.base import ASGIResponse

from services.api.access import listening
from services.api.http import parameters, replies
from services.api.http.problems import FORBIDDEN, Problem
from services.api.parts import parts
from shared import exposition

_HEADERS = {"Cache-Control": "no-store", **replies.INERT}


@route("/metrics", http_method=["GET", "HEAD"])
async def metrics(request: Request[Any, Any, Any]) -> ASGIResponse:
    """With keys it needs one that can read. Without, it is for this machine alone, and for nobody whom a proxy lets through."""
    settings = parts(request).settings
    if not settings.api_keys and not (listening.on_loopback(settings) and "x-forwarded-for" not in request.headers):
        raise Problem(FORBIDDEN, "Without keys, metrics are shown to this machine only, or on the port BOWERBIRD_METRICS_PORT.")
    parameters.read(request.scope["query_string"], ())
    return ASGIResponse(body=await exposition.text(), headers=_HEADERS, media_type=exposition.CONTENT_TYPE)
