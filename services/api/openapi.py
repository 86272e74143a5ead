"""The OpenAPI document: what /openapi.json serves and /docs shows. Schemas come from the Structs, problems from their table."""

from __future__ import annotations

import functools
from importlib import metadata

import msgspec

from services.api import openapi_deliveries, problems
from services.api.browse import DEFAULT_LIMIT, MAX_LIMIT
from services.api.dead_letters import DeadLetterPage, DeadLetterResource
from services.api.deliveries import DeliveryPage, DeliveryResource
from services.api.keys import READ, READS, WRITE
from services.api.operations import IMAGE_ID as _ID
from services.api.operations import Json
from services.api.operations import anything as _any
from services.api.operations import failures as _problems
from services.api.operations import json as _json
from services.api.operations import operation as _operation
from services.api.operations import parameter as _parameter
from services.api.operations import response as _response
from services.api.requeue import Requeued, RequeueRequest
from services.api.resources import ImagePage, ImageResource
from services.api.submit import Submission
from shared.status import Status

TITLE = "Bowerbird"
DESCRIPTION = (
    "Give it the URL of an image. It answers at once with the address of a resource to watch, downloads in the background, checks "
    "that what came is an image, keeps the original bytes once, and serves and lists the copies. Every error is a problem+json (RFC 9457)."
)
_URL = "https://example.org/cat.jpg"
_IMAGE: Json = {
    "id": _ID, "status": "stored", "source_url": _URL, "stored_url": f"/images/{_ID}/content",
    "added_at": "2026-01-31T12:00:00.120000Z", "completed_at": "2026-01-31T12:00:00.480000Z", "format": "jpeg", "content_type": "image/jpeg",
    "width": 1280, "height": 853, "size": 81920, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "attempts": [{"number": 1, "at": "2026-01-31T12:00:00.400000Z", "took_ms": 210, "reason": None, "detail": None}],
    "next_attempt_at": None, "error": None, "links": {"self": f"/images/{_ID}", "content": f"/images/{_ID}/content"},
}  # fmt: skip
_LETTER: Json = {
    "id": _ID, "queue": "fetcher.download-requested", "reason": "rejected", "detail": "It is no event: type None version None is not one of …",
    "died_at": "2026-01-31T12:00:00.120000Z", "type": None, "message_id": None, "correlation_id": None, "content_type": None, "headers": {},
    "size": 5, "body": None, "body_encoding": None, "body_truncated": False,
}  # fmt: skip
_QUEUED: Json = {
    **dict.fromkeys(_IMAGE), "id": _ID, "status": "queued", "source_url": _URL, "added_at": _IMAGE["added_at"], "attempts": [],
    "links": {"self": f"/images/{_ID}", "content": None},
}  # fmt: skip


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("bowerbird")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"


@functools.cache
def document() -> Json:
    """The document, as JSON values."""
    _, components = msgspec.json.schema_components(
        [Submission, ImageResource, ImagePage, RequeueRequest, Requeued, DeadLetterResource, DeadLetterPage, DeliveryResource, DeliveryPage],
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version(), "description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": {path: {method: _everywhere(method, path, of) for method, of in methods.items()} for path, methods in _paths().items()},
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Only where the server was given keys (BOWERBIRD_API_KEYS). GET and HEAD need one with the scope `read`, the rest `write`.",
                }
            },
        },
    }


_PROBLEM: Json = {
    "title": "Problem",
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "The kind of problem; also where a page explains it.",
                 "enum": [kind.type for kind in problems.KINDS.values()]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong this time, for people."},
        "instance": {"type": "string", "format": "uri-reference"},
        "image": {"type": "string", "format": "uri-reference", "description": "known-image: the address of the image."},
        "rule": {"type": "string", "description": "refused-url: the rule that the URL breaks."},
        "status_of_image": {"type": "string", "enum": list(Status), "description": "not-stored: where the image is on its way."},
        "error": {"description": "not-stored: why there is no image, if it failed."},
        "errors": {"type": "array", "description": "bad-body, bad-parameter: what is wrong where.", "items": {"type": "object"}},
    },
}  # fmt: skip


def _paths() -> Json:
    image_id = _parameter("image", "path", "An image's id.", {"type": "string", "pattern": "^[a-z2-7]{26}$"}, required=True)
    content_headers = {name: {"schema": {"type": "string"}} for name in ("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition")}
    bytes_content = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    preconditions = [
        _parameter(name, "header", meaning, {"type": "string"})
        for name, meaning in (
            ("If-None-Match", "ETags of copies that the client has: 304 if one of them is current."),
            ("If-Modified-Since", "As If-None-Match, by time."),
            ("Range", "A single range of bytes, such as bytes=0-1023. Several are answered with the whole."),
            ("If-Range", "An ETag or Last-Modified: Range applies only if it is current."),
        )
    ]
    content_responses = {
        "200": _response("The bytes.", bytes_content, content_headers),
        "206": _response("The range asked for.", bytes_content, {**content_headers, "Content-Range": {"schema": {"type": "string"}}}),
        "304": _response("The client's copy is current."),
        **_problems(problems.UNKNOWN_IMAGE, problems.NOT_STORED, problems.RANGE_NOT_SATISFIABLE, problems.UNAVAILABLE),
    }
    return {
        "/images": {
            "post": _operation(
                "submit", "Submit the URL of an image",
                "Answers at once; the download goes on in the background. Follow Location until `status` is `stored` or `failed`.",
                {
                    "202": _response("Accepted.", _json("ImageResource", _QUEUED), {"Location": {"description": "The image's address.", "schema": {"type": "string"}}}),
                    **_problems(problems.BAD_BODY, problems.KNOWN_IMAGE, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.REFUSED_URL, problems.UNAVAILABLE),
                },
                body=_json("Submission", {"url": _URL}),
            ),
            "get": _operation(
                "list_images", "List images, newest first",
                "In pages: follow `next` (or the header Link) until it is null. With `url`, the image of that URL instead of a list.",
                {
                    "200": _response("A page of images; with `url`, one image.", {"application/json": {
                        "schema": {"oneOf": [{"$ref": "#/components/schemas/ImagePage"}, {"$ref": "#/components/schemas/ImageResource"}]},
                        "example": {"items": [_IMAGE], "next": "/images?cursor=AQAAAZwUJ5b4bWZyZ2d6ZGZtenR3cTJsa25ud2cyM3Rwb2I"},
                    }}, {"Link": {"description": 'The next page, as rel="next".', "schema": {"type": "string"}}}),
                    **_problems(problems.BAD_PARAMETER, problems.UNKNOWN_IMAGE, problems.REFUSED_URL, problems.UNAVAILABLE),
                },
                parameters=[
                    _parameter("limit", "query", "How many images a page has.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
                    _parameter("cursor", "query", "Where the page begins: opaque, from `next`.", {"type": "string"}),
                    _parameter("status", "query", "Only images with this status.", {"type": "string", "enum": list(Status)}),
                    _parameter("url", "query", "The image of this URL (percent-encoded); not with other parameters.", {"type": "string"}),
                ],
            ),
        },
        "/images/{image}": {
            "get": _operation(
                "get_image", "An image and how far it has come", "Status: `queued`, then `stored` or `failed`, with `delayed` between attempts.",
                {"200": _response("The image.", _json("ImageResource", _IMAGE)), **_problems(problems.UNKNOWN_IMAGE, problems.UNAVAILABLE)},
                parameters=[image_id],
            ),
        },
        "/images/{image}/content": {
            "get": _operation(
                "get_content", "The original bytes of an image", "With conditional requests and single ranges (RFC 9110, sections 13 and 14).",
                content_responses, parameters=[image_id, *preconditions],
            ),
            "head": _operation(
                "head_content", "The headers of the original bytes", "As GET, without the body.",
                {status: response for status, response in content_responses.items() if status not in {"206", "416"}}, parameters=[image_id, *preconditions[:2]],
            ),
        },
        **_dead_letter_paths(),
        **openapi_deliveries.paths(),
        "/requeue": {
            "post": _operation(
                "requeue", "Download afresh what has a status",
                "Up to 10,000 images in one call, newest first: repeat it while `more` is true. For what a wiped broker lost (`queued`), or all that failed.",
                {
                    "202": _response("Accepted.", _json("Requeued", {"requeued": 12, "more": False, "before": "2026-01-31T12:00:00.120000Z"})),
                    **_problems(problems.BAD_BODY, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE, problems.UNAVAILABLE),
                },
                body=_json("RequeueRequest", {"status": "failed"}),
            ),
        },
        "/health/live": {"get": _operation("live", "Whether this process answers", "", {"200": _response("It does.", _any({"status": "live"}))})},
        "/health/ready": {
            "get": _operation(
                "ready", "Whether what is submitted now gets stored", "MongoDB, RabbitMQ, a fetcher and a storer are there. Kept for a second.",
                {
                    "200": _response("They are.", _any({"status": "ready", "checks": {"mongodb": "ok", "rabbitmq": "ok"}})),
                    "503": _response("One isn't: `checks` says which.", _any({"status": "not ready", "checks": {"mongodb": "ok", "rabbitmq": "not connected"}})),
                },
            )
        },
    }  # fmt: skip


def _dead_letter_paths() -> Json:
    letter_id = _parameter("letter", "path", "A dead letter's id.", {"type": "string", "pattern": "^[a-z2-7]{26}$"}, required=True)
    unknown = _problems(problems.UNKNOWN_DEAD_LETTER, problems.UNAVAILABLE)
    return {
        "/dead-letters": {
            "get": _operation(
                "list_dead_letters", "What could not be processed, newest first", "In pages, as images are. Looking consumes nothing.",
                {
                    "200": _response("A page of dead letters.", _json("DeadLetterPage", {"items": [_LETTER], "next": None})),
                    **_problems(problems.BAD_PARAMETER, problems.UNAVAILABLE),
                },
                parameters=[
                    _parameter("limit", "query", "How many a page has.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
                    _parameter("cursor", "query", "Where the page begins: opaque, from `next`.", {"type": "string"}),
                ],
            ),
        },
        "/dead-letters/{letter}": {
            "get": _operation(
                "get_dead_letter", "A dead letter", "With the beginning of its body.",
                {"200": _response("The dead letter.", _json("DeadLetterResource", {**_LETTER, "body": "hello", "body_encoding": "utf-8"})), **unknown},
                parameters=[letter_id],
            ),
            "delete": _operation("delete", "Forget a dead letter", "", {"204": _response("Forgotten."), **unknown}, parameters=[letter_id]),
        },
        "/dead-letters/{letter}/replay": {
            "post": _operation(
                "replay", "Send a dead letter to its queue again", "It leaves the list once RabbitMQ has confirmed it.",
                {"202": _response("Sent.", _any({"replayed": _ID, "queue": _LETTER["queue"]})), **unknown}, parameters=[letter_id],
            ),
        },
    }  # fmt: skip


def _everywhere(method: str, path: str, operation: Json) -> Json:
    """With what holds of every operation but the probes: keys, their scopes, and the gate (services/api/gate.py)."""
    if path.startswith("/health/"):
        return {**operation, "security": [], "responses": {**operation["responses"], **_problems(problems.WRONG_HOST)}}
    refusals = _problems(problems.BAD_REQUEST, problems.UNAUTHORIZED, problems.FORBIDDEN, problems.WRONG_HOST, problems.TOO_MANY_REQUESTS)
    scope = READ if method.upper() in READS else WRITE
    responses = dict(sorted({**refusals, **operation["responses"]}.items()))
    return {**operation, "security": [{}, {"key": [scope]}], "responses": responses}
