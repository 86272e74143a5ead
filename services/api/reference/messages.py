"""The messages of the AsyncAPI document: their schemas come from the Structs, their examples from what `events.encode` makes."""

from __future__ import annotations

import functools
import inspect
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from services.api.reference.samples import SAMPLES
from shared import events

if TYPE_CHECKING:
    from services.api.reference.operations import Json

AMQP_BINDING = "0.3.0"
_RAW: Json = {
    "type": "string",
    "format": "binary",
    "description": "The bytes themselves: no JSON, no base64. In examples each character stands for the byte of its number (ISO 8859-1).",
}
_VERSION_HEADER = "The version of the event. What isn't known here, other headers among them, is to be ignored."


def messages() -> Json:
    """The message objects, by the names of the events."""
    return {kind.NAME: _message(kind) for kind in events.KINDS}


@functools.cache
def schemas() -> Json:
    """The schemas that the messages refer to, by name. Where the body is raw bytes, the Struct's is that of the headers, without the body."""
    _, found = msgspec.json.schema_components(events.KINDS, ref_template="#/components/schemas/{name}")
    for kind in events.KINDS:
        schema = found[kind.__name__]
        schema["description"] = _prose(schema["description"])
        for field in msgspec.structs.fields(kind):
            if field.type in {datetime, datetime | None}:
                schema["properties"][field.encode_name] |= {"format": "date-time"}
        if events.is_raw(kind):
            del schema["properties"]["body"]
            schema["required"].remove("body")
    # Python's end of a text, for those who read patterns as ECMA-262 has them.
    readable: Json = json.loads(json.dumps(found).replace(r"\\Z", "$"))
    return readable


def _message(kind: type[events.Event]) -> Json:
    raw = events.is_raw(kind)
    version: Json = {"type": "object", "properties": {"v": {"const": kind.VERSION, "description": _VERSION_HEADER}}, "required": ["v"]}
    fields: Json = {"$ref": f"#/components/schemas/{kind.__name__}"}
    description = schemas()[kind.__name__]["description"]
    return {
        "name": kind.NAME,
        "title": f"{kind.NAME} v{kind.VERSION}",
        "summary": description.partition("\n")[0],
        "description": description,
        "contentType": _content_type(kind),
        "headers": {"allOf": [version, fields]} if raw else version,
        "payload": _RAW if raw else fields,
        "bindings": {"amqp": {"messageType": kind.NAME, "bindingVersion": AMQP_BINDING}},
        "examples": [_example(name, sample) for name, sample in SAMPLES if type(sample) is kind],
        "x-amqp-properties": _properties(next(sample for _, sample in SAMPLES if type(sample) is kind)),
    }


def _content_type(kind: type[events.Event]) -> str:
    if kind is events.ImageFetched:
        return "image/*"
    return events.OCTETS if events.is_raw(kind) else events.JSON


def _example(name: str, sample: events.Event) -> Json:
    envelope = events.encode(sample)
    payload: Any = envelope.body.decode("latin-1") if events.is_raw(type(sample)) else json.loads(envelope.body)
    return {"name": name, "headers": envelope.headers, "payload": payload}


def _properties(sample: events.Event) -> Json:
    """The AMQP properties of a message beside its headers, as its first example has them."""
    envelope = events.encode(sample)
    return {
        "type": envelope.type, "content_type": envelope.content_type, "message_id": envelope.message_id,
        "correlation_id": envelope.correlation_id, "delivery_mode": 2,
    }  # fmt: skip


def _prose(docstring: str) -> str:
    """A docstring as a text with a line for each paragraph."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
