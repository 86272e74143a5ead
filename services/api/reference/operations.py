"""What the OpenAPI document is made of: its objects, as the specification (3.1.0, section 4.8) names them."""

from __future__ import annotations

from typing import Any

from services.api.browse import DEFAULT_LIMIT, MAX_LIMIT
from services.api.http import problems

Json = dict[str, Any]

URL = "https://example.org/cat.jpg"
IMAGE_ID = "5pwbyuogi37vt6xc3hwyo6q32e"
"""The one in all examples, and the URL's own; likewise the page's, and the batch's of the idempotency key."""
PAGE_URL = "https://example.org/"
PAGE_ID = "qgmndowebiidgzj2pdsiqago7s"
IDEMPOTENCY_KEY = "0b5a2c1e-7c0e-4a43-8a5c-9d1f0c6e2b7a"
BATCH_ID = "412b7054997e42c9a7819e3a3b1e59c4"
DELIVERY_ID = f"msg_{IMAGE_ID}"
ID_SCHEMA: Json = {"type": "string", "pattern": "^[a-z2-7]{26}$"}
BATCH_SCHEMA: Json = {"type": "string", "pattern": "^[0-9a-f]{32}$"}


def operation(name: str, summary: str, description: str, responses: Json, *, parameters: list[Json] | None = None, body: Json | None = None) -> Json:
    """An operation object."""
    described: Json = {"operationId": name, "summary": summary, "description": description, "responses": responses}
    if parameters:
        described["parameters"] = parameters
    if body:
        described["requestBody"] = {"required": True, "content": body}
    return described


def parameter(name: str, where: str, description: str, schema: Json, *, required: bool = False, example: object = None) -> Json:
    """A parameter object. What has an example stands in the operation's command line (curl.py)."""
    described = {"name": name, "in": where, "required": required, "description": description, "schema": schema}
    return described if example is None else {**described, "example": example}


def paging(what: str) -> list[Json]:
    """The parameters of every list."""
    return [
        parameter(
            "limit",
            "query",
            f"How many {what} a page has.",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            example=10,
        ),
        parameter("cursor", "query", "Where the page begins: opaque, from `next`.", {"type": "string"}),
    ]


def response(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    """A response object."""
    return {"description": description} | ({"content": content} if content else {}) | ({"headers": headers} if headers else {})


def header(name: str, description: str) -> Json:
    """A response's headers, if it is one."""
    return {name: {"description": description, "schema": {"type": "string"}}}


def json(schema: str, example: object) -> Json:
    """Content in JSON, of a schema that has a name."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}}


def anything(example: object) -> Json:
    """Content in JSON without a schema."""
    return {"application/json": {"schema": {"type": "object"}, "example": example}}


def failures(*kinds: problems.Kind) -> Json:
    """Responses for kinds of problems, by status, and for a fault of ours."""
    responses: Json = {}
    for kind in (*kinds, problems.INTERNAL_ERROR):
        responses = together(responses, {str(kind.status): response(kind.title + ".", _failure(kind))})
    return responses


def together(some: Json, others: Json) -> Json:
    """Responses of two sets; where both have problems with the same status, it stands for any of them."""
    merged = {**some, **others}
    for status in some.keys() & others.keys():
        first, second = ((one[status].get("content") or {}).get(problems.MEDIA_TYPE) for one in (some, others))
        if first and second:
            examples = {**first["examples"], **second["examples"]}
            descriptions = dict.fromkeys((*some[status]["description"].split(" Or: "), *others[status]["description"].split(" Or: ")))
            merged[status] = response(" Or: ".join(descriptions), {problems.MEDIA_TYPE: {**first, "examples": examples}})
    return dict(sorted(merged.items()))


def _failure(kind: problems.Kind) -> Json:
    example = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.meaning, "instance": "/images"}
    if kind is problems.KNOWN_IMAGE:
        example["image"] = f"/images/{IMAGE_ID}"
    if kind is problems.REFUSED_URL:
        example["rule"] = "url-scheme"
    return {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {kind.name: {"value": example}}}}
