"""The part of the OpenAPI document that is about dead letters."""

from __future__ import annotations

from services.api.http import problems
from services.api.reference.operations import ID_SCHEMA, IMAGE_ID, Json, anything, failures, json, operation, paging, parameter, response

_LETTER: Json = {
    "id": IMAGE_ID, "queue": "fetcher.download-requested", "reason": "rejected",
    "detail": "It is no event: type None version None is not one of …",
    "died_at": "2026-01-31T12:00:00.120000Z", "type": None, "message_id": None, "correlation_id": None, "content_type": None, "headers": {},
    "size": 5, "body": None, "body_encoding": None, "body_truncated": False,
}  # fmt: skip


def paths() -> Json:
    """The paths."""
    letter_id = parameter("letter", "path", "A dead letter's id.", ID_SCHEMA, required=True, example=IMAGE_ID)
    unknown = failures(problems.UNKNOWN_DEAD_LETTER, problems.UNAVAILABLE)
    return {
        "/dead-letters": {
            "get": operation(
                "list_dead_letters", "What could not be processed, newest first", "In pages, as images are. Looking consumes nothing.",
                {
                    "200": response("A page of dead letters.", json("DeadLetterPage", {"items": [_LETTER], "next": None})),
                    **failures(problems.BAD_PARAMETER, problems.UNAVAILABLE),
                },
                parameters=paging("dead letters"),
            ),
        },
        "/dead-letters/{letter}": {
            "get": operation(
                "get_dead_letter", "A dead letter", "With the beginning of its body.",
                {"200": response("The dead letter.", json("DeadLetterResource", {**_LETTER, "body": "hello", "body_encoding": "utf-8"})), **unknown},
                parameters=[letter_id],
            ),
            "delete": operation("delete", "Forget a dead letter", "", {"204": response("Forgotten."), **unknown}, parameters=[letter_id]),
        },
        "/dead-letters/{letter}/replay": {
            "post": operation(
                "replay", "Send a dead letter to its queue again", "It leaves the list once RabbitMQ has confirmed it.",
                {"202": response("Sent.", anything({"replayed": IMAGE_ID, "queue": _LETTER["queue"]})), **unknown}, parameters=[letter_id],
            ),
        },
    }  # fmt: skip
