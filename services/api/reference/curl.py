"""A command line for each operation: made from the examples of its parameters and body, and done by tests/integration/test_api_examples.py."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from services.api.reference.operations import Json

BASE = "http://127.0.0.1:8000"
_JSON = "application/json"
_EVENTS = "text/event-stream"


def samples(path: str, method: str, operation: Json) -> list[Json]:
    """One for each media type of the body, or one: as in the OpenAPI extension x-codeSamples."""
    bodies = operation.get("requestBody", {}).get("content", {"": {}})
    return [
        {
            "lang": "Shell",
            "label": f"curl, {media_type}" if media_type else "curl",
            "source": _command(path, method, operation, media_type, first=at == 0),
        }
        for at, media_type in enumerate(bodies)
    ]


def _command(path: str, method: str, operation: Json, media_type: str, *, first: bool) -> str:
    """Headers stand in the `first` command alone: an Idempotency-Key is good for one body."""
    before, options = _body(method, operation, media_type)
    given = [parameter for parameter in operation.get("parameters", ()) if "example" in parameter]
    if first:
        options += ["-H " + shlex.quote(f"{parameter['name']}: {parameter['example']}") for parameter in given if parameter["in"] == "header"]
    return " ".join([*before, "curl", *options, *_output(method, operation), shlex.quote(_address(path, given))])


def _address(path: str, given: list[Json]) -> str:
    for parameter in given:
        path = path.replace(f"{{{parameter['name']}}}", quote(str(parameter["example"])))
    query = urlencode({parameter["name"]: parameter["example"] for parameter in given if parameter["in"] == "query"})
    return BASE + path + (f"?{query}" if query else "")


def _body(method: str, operation: Json, media_type: str) -> tuple[list[str], list[str]]:
    """What comes before curl, and its options."""
    if not media_type:
        return [], {"get": [], "head": ["-I"]}.get(method, [f"-X {method.upper()}"])
    example = operation["requestBody"]["content"][media_type]["example"]
    if media_type == _JSON:
        return [], ([] if method == "post" else [f"-X {method.upper()}"]) + [f"--json {shlex.quote(json.dumps(example))}"]
    end = r"\r\n" if "\r\n" in example else r"\n"
    lines = " ".join(shlex.quote(line) for line in example.splitlines())
    return [f"printf '%s{end}' {lines} |"], [f"-H 'Content-Type: {media_type}'", "--data-binary @-"]


def _output(method: str, operation: Json) -> list[str]:
    """Where bytes go, and that events are shown as they come."""
    types = operation["responses"].get("200", {}).get("content", {})
    if _EVENTS in types:
        return ["-N"]
    return ["-o copy"] if method == "get" and types and _JSON not in types else []
