"""The part of the OpenAPI document that is about callbacks."""

from __future__ import annotations

from services.api.http import problems
from services.api.reference.operations import (
    BATCH_ID,
    BATCH_SCHEMA,
    DELIVERY_ID,
    ID_SCHEMA,
    IMAGE_ID,
    Json,
    failures,
    header,
    json,
    operation,
    paging,
    parameter,
    response,
)

_DELIVERY: Json = {
    "id": DELIVERY_ID,
    "type": "image.stored",
    "url": "https://example.com/told",
    "status": "delivered",
    "created_at": "2026-01-31T12:00:00.490000Z",
    "delivered_at": "2026-01-31T12:00:00.610000Z",
    "next_attempt_at": None,
    "attempts": [
        {"replay": 0, "number": 1, "at": "2026-01-31T12:00:00.610000Z", "took_ms": 90, "http_status": 204, "reason": None, "detail": None},
    ],
    "payload": '{"type":"image.stored","timestamp":"2026-01-31T12:00:00.480000Z","data":{"id":"…"}}',
    "links": {"self": f"/deliveries/{DELIVERY_ID}", "about": f"/images/{IMAGE_ID}"},
}


def paths() -> Json:
    """The paths."""
    delivery_id = parameter(
        "delivery", "path", "A delivery's id.", {"type": "string", "pattern": "^msg_[a-z2-7]{26}$"}, required=True, example=DELIVERY_ID
    )
    page = response(
        "A page of deliveries.", json("DeliveryPage", {"items": [_DELIVERY], "next": None}), header("Link", 'The next page, as rel="next".')
    )
    unknown = failures(problems.UNKNOWN_DELIVERY, problems.UNAVAILABLE)
    return {
        f"/{about}/{{{name}}}/deliveries": {
            "get": operation(
                f"deliveries_of_{name}", f"The callbacks about {one}, newest first", "In pages, as images are. They are kept for 30 days.",
                {"200": page, **failures(problems.BAD_PARAMETER, kind, problems.UNAVAILABLE)},
                parameters=[parameter(name, "path", f"The id of {one}.", schema, required=True, example=example), *paging("deliveries")],
            ),
        }
        for about, name, one, schema, example, kind in (
            ("images", "image", "an image", ID_SCHEMA, IMAGE_ID, problems.UNKNOWN_IMAGE),
            ("batches", "batch", "a batch", BATCH_SCHEMA, BATCH_ID, problems.UNKNOWN_BATCH),
        )
    } | {
        "/deliveries/{delivery}": {
            "get": operation(
                "get_delivery", "A callback and how far it has come", "Status: `pending`, then `delivered` or `failed`.",
                {"200": response("The delivery.", json("DeliveryResource", _DELIVERY)), **unknown}, parameters=[delivery_id],
            ),
        },
        "/deliveries/{delivery}/replay": {
            "post": operation(
                "replay_delivery", "Send a callback again",
                "Whatever became of it, with all of its attempts, under the id that it has. Answers once RabbitMQ has confirmed it.",
                {
                    "202": response(
                        "It is on its way.", json("DeliveryResource", {**_DELIVERY, "status": "pending", "delivered_at": None}),
                        header("Location", "The delivery's address."),
                    ),
                    **unknown,
                },
                parameters=[delivery_id],
            ),
        },
    }  # fmt: skip
