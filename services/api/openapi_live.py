"""The part of the OpenAPI document that is about what goes on: events as they happen."""

from __future__ import annotations

from services.api import problems
from services.api.operations import BATCH_SCHEMA, ID_SCHEMA, IMAGE_ID, URL, Json, failures, operation, parameter, response

_BATCH = "0123456789abcdef0123456789abcdef"
_EVENTS = (
    "retry: 2000\nid: 019c1468b5e07f3a9c21-41\n\n"
    "event: stored\nid: 019c1468b5e07f3a9c21-42\n"
    f'data: {{"id":"{IMAGE_ID}","status":"stored","at":"2026-01-31T12:00:00.480000Z","url":"{URL}","format":"jpeg","width":1280,"height":853,'
    f'"size":81920,"in":["{_BATCH}"]}}\n\n'
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


def paths() -> Json:
    """The paths."""
    return {"/events": {"get": _events()}}


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
            parameter("batch", "query", "Only images of this batch.", BATCH_SCHEMA),
            parameter("page", "query", "Only this page and its images.", ID_SCHEMA),
            parameter("last_event_id", "query", f"{identifier} The header goes before it.", {"type": "string"}),
            parameter("Last-Event-ID", "header", identifier, {"type": "string"}),
        ],
    )  # fmt: skip
