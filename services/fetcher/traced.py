"""Requests to others as spans, when traces are on (shared/tracing.py): one for each redirect too, with what happened on the way to an answer.

Nothing of them goes out: no origin learns of a trace.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from shared import tracing

if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

STEPS = {
    "on_dns_resolvehost_start": "DNS is asked",
    "on_dns_resolvehost_end": "DNS has answered",
    "on_dns_cache_hit": "DNS had answered before",
    "on_connection_create_start": "connecting",
    "on_connection_create_end": "connected",
    "on_connection_reuseconn": "a connection is used again",
}
"""By aiohttp's names for them, ours."""


def trace_configs() -> list[aiohttp.TraceConfig]:
    """For an aiohttp session; empty when traces are off."""
    if not tracing.on():
        return []
    config = aiohttp.TraceConfig()
    config.on_request_start.append(_begin)
    for signal, event in STEPS.items():
        getattr(config, signal).append(partial(_note, event))
    config.on_request_end.append(_end)
    config.on_request_exception.append(_fail)
    return [config]


async def _begin(_: aiohttp.ClientSession, request: SimpleNamespace, begun: aiohttp.TraceRequestStartParams) -> None:
    request.asking = tracing.asking(begun.method, str(begun.url), begun.url.raw_host or "", begun.url.port)


async def _note(event: str, _: aiohttp.ClientSession, request: SimpleNamespace, __: Any) -> None:  # noqa: ANN401  (one of six kinds)
    if request.asking:
        request.asking.note(event)


async def _end(_: aiohttp.ClientSession, request: SimpleNamespace, ended: aiohttp.TraceRequestEndParams) -> None:
    if request.asking:
        request.asking.answered(ended.response.status)


async def _fail(_: aiohttp.ClientSession, request: SimpleNamespace, failed: aiohttp.TraceRequestExceptionParams) -> None:
    if request.asking:
        request.asking.failed(failed.exception)
