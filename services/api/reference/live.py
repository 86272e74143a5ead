"""The part of the OpenAPI document that is about what goes on: events as they happen."""

from __future__ import annotations

from services.api.http import problems
from services.api.reference.operations import BATCH_ID, BATCH_SCHEMA, ID_SCHEMA, IMAGE_ID, URL, Json, failures, json, operation, parameter, response

_EVENTS = (
    "retry: 2000\nid: 019c1468b5e07f3a9c21-41\n\n"
    "event: stored\nid: 019c1468b5e07f3a9c21-42\n"
    f'data: {{"id":"{IMAGE_ID}","status":"stored","at":"2026-01-31T12:00:00.480000Z","url":"{URL}","format":"jpeg","width":1280,"height":853,'
    f'"size":81920,"in":["{BATCH_ID}"]}}\n\n'
)

_EVENT: Json = {
    "type": "object",
    "description": "One event of the stream. `data` is JSON: for all but reset, the image.",
    "properties": {
        "event": {"type": "string", "enum": ["stored", "failed", "delayed", "expanded", "reset"]},
        "id": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"type": "integer"},
    },
}

_STATS: Json = {
    "images": {"queued": 120, "delayed": 3, "stored": 48211, "failed": 96, "expanded": 14},
    "failures": {"http_status": 61, "not_an_image": 30, "dns": 5},
    "bytes": {"files": 9663676416, "disk": 9701203968},
    "queues": [{"name": "fetcher.download-requested", "messages": 118, "consumers": 2}],
    "rate": {"stored_per_second": 212.4, "failed_per_second": 0.3, "last_minute": {"stored_per_second": 198.1, "failed_per_second": 0.25}},
    "dead_letters": 0,
    "at": "2026-01-31T12:00:00.480000Z",
}


def paths() -> Json:
    """The paths."""
    return {"/events": {"get": _events()}, "/stats": {"get": _stats()}, "/metrics": {"get": _metrics()}}


def _stats() -> Json:
    return operation(
        "stats", "How many images there are, and what goes on",
        "Counts are a few seconds old at most, a little older where there are millions of images; rates are those of the last ten seconds.",
        {"200": response("As it is.", json("StatsResource", _STATS)), **failures(problems.BAD_PARAMETER, problems.UNAVAILABLE)},
    )  # fmt: skip


def _metrics() -> Json:
    return operation(
        "metrics", "Metrics, for Prometheus",
        "Those of the process that answers, in Prometheus' text format. With keys it takes one with the scope `read`; without, it answers this machine only. "
        "BOWERBIRD_METRICS_PORT shows them on a port of their own, which a public address needn't have.",
        {
            "200": response("As they are.", {"text/plain": {"schema": {"type": "string"}, "example": "bowerbird_dead_letters 0.0\n"}}),
            **failures(problems.BAD_PARAMETER, problems.FORBIDDEN),
        },
    )  # fmt: skip


def _events() -> Json:
    identifier = "The id of the last event seen: goes on after it."
    return operation(
        "events", "What happens to images, as it happens",
        "Server-sent events: `stored`, `failed`, `delayed`, and `expanded` for a page, each with the image as JSON in one line; `in` are the pages and "
        "batches that have it. An event may come twice. `reset` says that something was missed, or can't be known not to have been (the id isn't known "
        "any more, or to another process; RabbitMQ was away; the client was too slow): read what you show anew. A list that is read once this answers, "
        "and kept up with these events, is complete. Where keys are set, a browser reads it with `fetch()`, which can send one; `EventSource` can't.",
        {
            "200": response("Events, without end.", {"text/event-stream": {"schema": _EVENT, "example": _EVENTS}}),
            **failures(problems.BAD_PARAMETER, problems.UNAVAILABLE),
        },
        parameters=[
            parameter("batch", "query", "Only images of this batch.", BATCH_SCHEMA, example=BATCH_ID),
            parameter("page", "query", "Only this page and its images.", ID_SCHEMA),
            parameter("last_event_id", "query", f"{identifier} The header goes before it.", {"type": "string"}),
            parameter("Last-Event-ID", "header", identifier, {"type": "string"}),
        ],
    )  # fmt: skip
