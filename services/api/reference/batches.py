"""The part of the OpenAPI document that is about batches."""

from __future__ import annotations

from services.api.http import problems
from services.api.lines import MAX_URLS
from services.api.reference.operations import (
    BATCH_ID,
    BATCH_SCHEMA,
    IDEMPOTENCY_KEY,
    IMAGE_ID,
    URL,
    Json,
    failures,
    header,
    json,
    operation,
    parameter,
    response,
)

_OWN = f"/batches/{BATCH_ID}"
_BATCH: Json = {
    "id": BATCH_ID, "added_at": "2026-01-31T12:00:00.120000Z", "total": 3, "accepted": 1, "known": 0, "repeated": 1, "refused": 1,
    "images": {"queued": 1, "delayed": 0, "stored": 0, "failed": 0, "expanded": 0}, "completed_at": None, "callback_url": None,
    "links": {"self": _OWN, "images": f"/images?batch={BATCH_ID}"},
}  # fmt: skip
_ITEMS = [
    {"url": URL, "outcome": "accepted", "image": f"/images/{IMAGE_ID}"},
    {"url": f"{URL}#again", "outcome": "repeated", "image": f"/images/{IMAGE_ID}"},
    {"url": "ftp://example.org/cat.jpg", "outcome": "refused", "rule": "url-scheme", "detail": "Only http and https URLs can be downloaded."},
]


def paths() -> Json:
    """The paths."""
    batch_id = parameter("batch", "path", "A batch's id.", BATCH_SCHEMA, required=True, example=BATCH_ID)
    return {
        "/batches": {"post": _submit()},
        "/batches/{batch}": {
            "get": operation(
                "get_batch", "A batch and how far it has come", "How many of its images have each status; `links` has the list of them.",
                {"200": response("The batch.", json("BatchResource", _BATCH)), **failures(problems.UNKNOWN_BATCH, problems.UNAVAILABLE)},
                parameters=[batch_id],
            ),
        },
    }  # fmt: skip


def _submit() -> Json:
    urls = [item["url"] for item in _ITEMS]
    lines = {"type": "string"}
    return operation(
        "submit_batch", "Submit many URLs at once",
        f"Up to {MAX_URLS:,}, as JSON or line by line; nothing is recorded before all of them have come. `items` says, in the order of the request, what became "
        "of each: `accepted`, `known` before, `repeated` within the batch, or `refused` with the rule that it breaks. A refused one hinders no other.",
        {
            "202": response("Accepted.", json("BatchResource", {**_BATCH, "items": _ITEMS}), header("Location", "The batch's address.")),
            **failures(
                problems.BAD_REQUEST, problems.BAD_BODY, problems.BAD_PARAMETER, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE,
                problems.REUSED_KEY, problems.REFUSED_URL, problems.CALLBACKS_OFF, problems.UNAVAILABLE,
            ),
        },
        parameters=[
            parameter(
                "Idempotency-Key", "header",
                "Makes repeating the request safe: with the same key and body it is answered with the same batch, as often as it is sent. With another "
                "body the key is refused. Keys of the api don't see one another's.",
                {"type": "string", "pattern": "^[!-~][ -~]{0,254}$"}, example=IDEMPOTENCY_KEY,
            ),
            parameter(
                "callback_url", "query",
                "To be told when none of the batch's images is on its way any more; for line by line bodies, which have no room for it.", {"type": "string"},
            ),
        ],
        body={
            **json("Submissions", {"urls": urls}),
            "application/x-ndjson": {"schema": lines, "example": "".join(f'{{"url": "{url}"}}\n' for url in urls)},
            "text/uri-list": {"schema": lines, "example": "# a comment\r\n" + "".join(f"{url}\r\n" for url in urls)},
        },
    )  # fmt: skip
