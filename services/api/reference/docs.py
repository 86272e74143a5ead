"""Pages: /docs (the API reference, made from the OpenAPI document), /problems/{name}, /openapi.json. They load nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from html import escape
from typing import Any

from litestar import Request, get
from litestar.response.base import ASGIResponse

from services.api import problems
from services.api.keys import PUBLIC
from services.api.reference import openapi, operations

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}code,pre{font:14px/1.4 ui-monospace,monospace}"
    "pre{background:#8881;padding:.8rem;overflow:auto;border-radius:6px}.method{font-weight:700;color:#0a7a55}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8883}"
    "summary{cursor:pointer}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_OPEN = {PUBLIC: True}


@get("/openapi.json", opt=_OPEN)
async def openapi_json() -> ASGIResponse:
    """The OpenAPI document."""
    return ASGIResponse(body=json.dumps(openapi.document()), headers=_HEADERS, media_type="application/json")


@get("/docs", opt=_OPEN)
async def reference() -> ASGIResponse:
    """The API reference."""
    return ASGIResponse(body=_reference(), headers=_HEADERS, media_type="text/html")


@get("/problems/{name:str}", opt=_OPEN)
async def problem(request: Request[Any, Any, Any]) -> ASGIResponse:
    """What a problem's `type` means."""
    kind = problems.KINDS.get(request.path_params["name"])
    if kind is None:
        raise problems.Problem(problems.NOT_FOUND, "There is no kind of problem with this name; /docs lists them.")
    page = f"<h1>{escape(kind.title)}</h1><p><code>{kind.type}</code>, status {kind.status}</p><p>{_prose(kind.meaning)}</p><p><a href=/docs>API reference</a></p>"
    return ASGIResponse(body=_page(kind.title, page), headers=_HEADERS, media_type="text/html")


@functools.cache
def _reference() -> str:
    document = openapi.document()
    parts = [
        f"<h1>{openapi.TITLE} {escape(openapi.version())}</h1><p>{_prose(document['info']['description'])}</p><p><a href=/openapi.json>OpenAPI document</a></p>"
    ]
    parts += [_operation(path, method, operation) for path, operations in document["paths"].items() for method, operation in operations.items()]
    rows = "".join(
        f"<tr><td>{kind.status}<td><a href={kind.type}><code>{kind.name}</code></a><td>{_prose(kind.meaning)}" for kind in problems.KINDS.values()
    )
    parts.append(f"<h2 id=problems>Problems</h2><table><tr><th>status<th>name<th>meaning{rows}</table><h2 id=schemas>Schemas</h2>")
    parts += [
        f"<details id=schema-{escape(name)}><summary><code>{escape(name)}</code></summary>{_code(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    ]
    return _page(f"{openapi.TITLE}: API reference", "".join(parts))


def _operation(path: str, method: str, operation: operations.Json) -> str:
    html = f"<h2 id={operation['operationId']}><span class=method>{method.upper()}</span> <code>{escape(path)}</code></h2>"
    html += f"<p><b>{escape(operation['summary'])}.</b> {_prose(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{_prose(p['description'])}<td><code>{escape(_limits(p['schema']))}</code>"
            for p in parameters
        )
        html += f"<table><tr><th>parameter<th>in<th>meaning<th>values{rows}</table>"
    if body := operation.get("requestBody"):
        html += "<p>Body:</p>" + _examples(body["content"])
    for status, response in operation["responses"].items():
        html += (
            f"<details><summary><code>{status}</code> {_prose(response['description'])}</summary>{_examples(response.get('content', {}))}</details>"
        )
    return html


def _limits(schema: operations.Json) -> str:
    if "enum" in schema:
        return " | ".join(schema["enum"])
    bounds = f", {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""
    default = f", default {schema['default']}" if "default" in schema else ""
    return f"{schema.get('format', schema['type'])}{bounds}{default}"


def _examples(content: operations.Json) -> str:
    return "".join(f"<p><code>{escape(name)}</code></p>" + "".join(_code(example) for example in _given(body)) for name, body in content.items())


def _given(body: operations.Json) -> list[object]:
    """The examples of a body: one, or several by name."""
    several = [example["value"] for example in body.get("examples", {}).values()]
    return [body["example"], *several] if "example" in body else several


def _code(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _prose(text: str) -> str:
    """Text whose `quoted` parts are code."""
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in enumerate(text.split("`")))


def _page(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><link rel=icon href='data:,'><style>{_STYLE}</style><main>{body}</main></html>"
    )
