"""The pages /docs, /docs/events and /problems/{name}, and the documents that the first two are made from: /openapi.json, /docs/asyncapi.json."""

from __future__ import annotations

import functools
import json
from html import escape
from typing import Any

from litestar import Request, get
from litestar.response.base import ASGIResponse

from services.api.access.keys import PUBLIC
from services.api.http import problems
from services.api.parts import parts
from services.api.reference import asyncapi, openapi, operations
from services.api.reference.events import events_page
from services.api.reference.html import HEADERS, code, page, prose

_OPEN = {PUBLIC: True}


@get("/openapi.json", opt=_OPEN)
async def openapi_json() -> ASGIResponse:
    """The OpenAPI document."""
    return ASGIResponse(body=json.dumps(openapi.document()), headers=HEADERS, media_type="application/json")


@get("/docs", opt=_OPEN)
async def reference() -> ASGIResponse:
    """The API reference."""
    return ASGIResponse(body=_reference(), headers=HEADERS, media_type="text/html")


@get("/docs/asyncapi.json", opt=_OPEN)
async def asyncapi_json(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The AsyncAPI document."""
    document = asyncapi.document(parts(request).settings.retry_delays)
    return ASGIResponse(body=json.dumps(document), headers=HEADERS, media_type="application/json")


@get("/docs/events", opt=_OPEN)
async def events_reference(request: Request[Any, Any, Any]) -> ASGIResponse:
    """The reference of the events."""
    return ASGIResponse(body=events_page(parts(request).settings.retry_delays), headers=HEADERS, media_type="text/html")


@get("/problems/{name:str}", opt=_OPEN)
async def problem(request: Request[Any, Any, Any]) -> ASGIResponse:
    """What a problem's `type` means."""
    kind = problems.KINDS.get(request.path_params["name"])
    if kind is None:
        raise problems.Problem(problems.NOT_FOUND, "There is no kind of problem with this name; /docs lists them.")
    body = f"<h1>{escape(kind.title)}</h1><p><code>{kind.type}</code>, status {kind.status}</p><p>{prose(kind.meaning)}</p><p><a href=/docs>API reference</a></p>"
    return ASGIResponse(body=page(kind.title, body), headers=HEADERS, media_type="text/html")


@functools.cache
def _reference() -> str:
    document = openapi.document()
    sections = [
        (
            f"<h1>{openapi.TITLE} {escape(openapi.version())}</h1><p>{prose(document['info']['description'])}</p><p><a href=/openapi.json>OpenAPI document</a>, "
            "<a href=/docs/events>events</a>. Where keys are set, add <code>-H 'Authorization: Bearer …'</code> to the commands.</p>"
        )
    ]
    sections += [_operation(path, method, operation) for path, operations in document["paths"].items() for method, operation in operations.items()]
    rows = "".join(
        f"<tr><td>{kind.status}<td><a href={kind.type}><code>{kind.name}</code></a><td>{prose(kind.meaning)}" for kind in problems.KINDS.values()
    )
    sections.append(f"<h2 id=problems>Problems</h2><table><tr><th>status<th>name<th>meaning{rows}</table><h2 id=schemas>Schemas</h2>")
    sections += [
        f"<details id=schema-{escape(name)}><summary><code>{escape(name)}</code></summary>{code(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    ]
    return page(f"{openapi.TITLE}: API reference", "".join(sections))


def _operation(path: str, method: str, operation: operations.Json) -> str:
    html = f"<h2 id={operation['operationId']}><span class=method>{method.upper()}</span> <code>{escape(path)}</code></h2>"
    html += f"<p><b>{escape(operation['summary'])}.</b> {prose(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{prose(p['description'])}<td><code>{escape(_limits(p['schema']))}</code>"
            for p in parameters
        )
        html += f"<table><tr><th>parameter<th>in<th>meaning<th>values{rows}</table>"
    html += "".join(code(sample["source"]) for sample in operation["x-codeSamples"])
    if body := operation.get("requestBody"):
        html += "<p>Body:</p>" + _examples(body["content"])
    for status, response in operation["responses"].items():
        html += (
            f"<details><summary><code>{status}</code> {prose(response['description'])}</summary>{_examples(response.get('content', {}))}</details>"
        )
    return html


def _limits(schema: operations.Json) -> str:
    if "enum" in schema:
        return " | ".join(schema["enum"])
    bounds = f", {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
    default = f", default {schema['default']}" if "default" in schema else ""
    return f"{schema.get('format', schema['type'])}{bounds}{default}"


def _examples(content: operations.Json) -> str:
    return "".join(f"<p><code>{escape(name)}</code></p>" + "".join(code(example) for example in _given(body)) for name, body in content.items())


def _given(body: operations.Json) -> list[object]:
    """The examples of a body: one, or several by name."""
    several = [example["value"] for example in body.get("examples", {}).values()]
    return [body["example"], *several] if "example" in body else several
