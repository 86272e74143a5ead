"""What the OpenAPI document is made of: its objects, as the specification (3.1.0, section 4.8) names them."""

from __future__ import annotations

from typing import Any

from services.api import problems

Json = dict[str, Any]

IMAGE_ID = "mfrggzdfmztwq2lknnwg23tpob"
"""The one in all examples."""


def operation(name: str, summary: str, description: str, responses: Json, *, parameters: list[Json] | None = None, body: Json | None = None) -> Json:
    """An operation object."""
    described: Json = {"operationId": name, "summary": summary, "description": description, "responses": responses}
    if parameters:
        described["parameters"] = parameters
    if body:
        described["requestBody"] = {"required": True, "content": body}
    return described


def parameter(name: str, where: str, description: str, schema: Json, *, required: bool = False) -> Json:
    """A parameter object."""
    return {"name": name, "in": where, "required": required, "description": description, "schema": schema}


def response(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    """A response object."""
    return {"description": description} | ({"content": content} if content else {}) | ({"headers": headers} if headers else {})


def json(schema: str, example: object) -> Json:
    """Content in JSON, of a schema that has a name."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}}


def anything(example: object) -> Json:
    """Content in JSON without a schema."""
    return {"application/json": {"schema": {"type": "object"}, "example": example}}


def failures(*kinds: problems.Kind) -> Json:
    """Responses for kinds of problems, by status, and for a fault of ours."""
    return {str(kind.status): response(kind.title + ".", _failure(kind)) for kind in (*kinds, problems.INTERNAL_ERROR)}


def _failure(kind: problems.Kind) -> Json:
    example = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.meaning, "instance": "/images"}
    if kind is problems.KNOWN_IMAGE:
        example["image"] = f"/images/{IMAGE_ID}"
    if kind is problems.REFUSED_URL:
        example["rule"] = "url-scheme"
    return {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
