"""The AsyncAPI document: the events, their exchange and queues, and which service sends and receives what. `bowerbird asyncapi` prints it.

Not FastStream's own: for handlers that take raw messages it raises PydanticUserError, and it knows neither what aio-pika publishes nor a queue's arguments.

Sections as in the specification, 3.0.0. A channel is either a routing key of the exchange, to which an event is sent, or a queue, from which one
service receives.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import TYPE_CHECKING

from services.api.reference import channels
from services.api.reference.messages import messages, schemas
from services.api.reference.openapi import TITLE, version
from shared import events, topology
from shared.settings import load

if TYPE_CHECKING:
    from services.api.reference.operations import Json

SENT: dict[str, tuple[type[events.Event], ...]] = {
    "api": (events.DownloadRequested, events.CallbackRequested),
    "fetcher": (
        events.ImagePart, events.ImageFetched, events.ImageUnchanged, events.PageScanned, events.DownloadDelayed, events.DownloadFailed,
        events.CallbackAttempted,
    ),
    "storer": (events.DownloadRequested, events.CallbackRequested, *topology.ANNOUNCEMENTS),
}  # fmt: skip
"""What each service publishes to the exchange."""
PUT_OFF = {"fetcher": topology.RETRIED, "storer": (topology.IMAGE_FETCHED,)}
"""The queues to whose delays each service sends what isn't to be read yet."""

_DESCRIPTION = (
    "What Bowerbird's services tell one another over RabbitMQ. Events that a service must read are persistent, confirmed and delivered at least once: "
    "in any order, and now and then again, with the same `message_id`. The announcements ({announced}) are for whoever listens, on a queue of "
    "one's own; they are sent unconfirmed, once for each time that the outcome is written, and get lost when RabbitMQ takes nothing within a second. "
    "Fields are only added, with defaults, and unknown ones are to be ignored; what breaks is a new version (`v`) beside the old one. "
    "docs/events.md says how to listen without being in the way."
)
_SERVER = {
    "host": "127.0.0.1:5672",
    "protocol": "amqp",
    "protocolVersion": "0-9-1",
    "description": "RabbitMQ 3.10 or newer: the one, and the virtual host, that BOWERBIRD_AMQP_URL names.",
}


@functools.cache
def document(delays: tuple[float, ...]) -> Json:
    """The document, as JSON values. `delays`, in seconds, are those of the settings."""
    announced = ", ".join(f"`{kind.NAME}`" for kind in topology.ANNOUNCEMENTS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"{TITLE}: the events",
            "version": version(),
            "description": _DESCRIPTION.format(announced=announced),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": events.JSON,
        "servers": {"rabbitmq": _SERVER},
        "channels": channels.channels(delays),
        "operations": _operations(delays),
        "components": {"messages": messages(), "schemas": schemas()},
    }


def _operations(delays: tuple[float, ...]) -> Json:
    found: Json = {}
    for service, kinds in SENT.items():
        for kind in kinds:
            summary = f"The {service} sends {kind.NAME}" + ("." if kind.NAME in topology.READ else ", for whoever listens.")
            found |= _operation("send", service, kind.NAME, summary)
    for queue in (*topology.WORK, topology.DEAD):
        # Dead letters are the storer's: it keeps them in MongoDB.
        service = queue.name.partition(".")[0] if queue.routing_key else "storer"
        found |= _operation("receive", service, queue.name, f"The {service} receives {queue.routing_key or 'what could not be processed'}.")
    for kind in topology.ANNOUNCEMENTS:
        found |= _operation(
            "receive",
            "api",
            kind.NAME,
            f"The api hears {kind.NAME}, on an exclusive queue of each process, while somebody asks for GET /events or GET /stats.",
        )
    for service, queues in PUT_OFF.items():
        for queue in queues:
            for waiting in channels.delays_of(queue, delays):
                found |= _operation("send", service, waiting.name, f"The {service} puts {queue.routing_key} off, or tries it again later.")
    return found


def _operation(action: str, service: str, channel: str, summary: str) -> Json:
    return {
        f"{service}.{action}.{channel}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "tags": [{"name": service}],
            "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in channels.carried(channel)],
        }
    }


def main() -> int:
    """`bowerbird asyncapi`: prints the document, with the delays that the environment sets. Raises SettingsError."""
    found = document(load(os.environ).retry_delays)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0
