"""The page /docs/events, made from the AsyncAPI document: who tells whom what, each event, each queue."""

from __future__ import annotations

import functools
from html import escape
from typing import TYPE_CHECKING

from services.api.reference import asyncapi
from services.api.reference.html import code, page, prose

if TYPE_CHECKING:
    from services.api.reference.operations import Json


@functools.cache
def events_page(delays: tuple[float, ...]) -> str:
    """The page. `delays`, in seconds, are those of the settings."""
    document = asyncapi.document(delays)
    info, components = document["info"], document["components"]
    parts = [
        (
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{prose(info['description'])}</p>"
            "<p><a href=/docs/asyncapi.json>AsyncAPI document</a>, <a href=/docs>API reference</a></p>"
        ),
        f"<h2 id=services>Who tells whom what</h2><table><tr><th>event<th>sent by<th>received by{_exchange(document)}</table>",
    ]
    parts += [_message(message) for message in components["messages"].values()]
    parts.append(f"<h2 id=queues>Queues</h2><table><tr><th>queue<th>what it does{_queues(document)}</table><h2 id=schemas>Schemas</h2>")
    parts += [
        f"<details id=schema-{escape(name)}><summary><code>{escape(name)}</code></summary>{code(schema)}</details>"
        for name, schema in components["schemas"].items()
    ]
    return page(info["title"], "".join(parts))


def _exchange(document: Json) -> str:
    return "".join(
        f"<tr><td><a href=#{name}><code>{name}</code></a><td>{', '.join(_services(document, 'send', name))}"
        f"<td>{', '.join(_services(document, 'receive', name))}"
        for name in document["components"]["messages"]
    )


def _services(document: Json, action: str, event: str) -> list[str]:
    """The services that send an event to the exchange, or receive it from their queue; what is done with delays and dead letters is left out."""
    places = {f"#/channels/{event}", *(f"#/channels/{queue}" for queue in _bound(document, event))}
    found = [operation for operation in document["operations"].values() if operation["action"] == action and operation["channel"]["$ref"] in places]
    return sorted({operation["tags"][0]["name"] for operation in found})


def _bound(document: Json, event: str) -> list[str]:
    return [
        name
        for name, channel in document["channels"].items()
        if any(bound["routingKey"] == event for bound in channel["bindings"]["amqp"].get("x-bound-to", ()))
    ]


def _message(message: Json) -> str:
    html = f"<h2 id={message['name']}>{escape(message['title'])}</h2>"
    html += "".join(f"<p>{prose(line)}</p>" for line in message["description"].splitlines())
    rows = "".join(f"<tr><td>{name}<td><code>{escape(str(value))}</code>" for name, value in message["x-amqp-properties"].items())
    html += f"<table><tr><th>property<th>in the first example{rows}</table>"
    for example in message["examples"]:
        html += f"<p>{escape(example['name'])}: headers, and body (<code>{escape(message['contentType'])}</code>)</p>"
        html += code(example["headers"]) + code(example["payload"])
    return html


def _queues(document: Json) -> str:
    return "".join(
        f"<tr><td><code>{escape(channel['address'])}</code><td>{prose(channel['description'])}"
        f"<details><summary>arguments</summary>{code(channel['bindings']['amqp']['x-arguments'])}</details>"
        for channel in document["channels"].values()
        if channel["bindings"]["amqp"]["is"] == "queue"
    )
