"""The metrics that are nobody's own: what waits in the queues and in MongoDB, and how MongoDB is.

Each api process shows them, the same ones. What they cost doesn't depend on how often anybody scrapes: they are kept as those of GET /stats are
(services/api/kept.py). What can't be found out is left out, rather than said to be what it was.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from services.api.kept import Kept
from shared.errors import BowerbirdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from services.api.stats import Stats
    from shared.vitals import Members, Server, Sizes, Vitals

log = logging.getLogger("bowerbird.api")

ASKED_EVERY = 10.0


class _Asked(NamedTuple):
    ask: Callable[[], Awaitable[Any]]
    show: Callable[[Any], Iterable[Metric]]


class Figures:
    """What is asked, and as what metrics each answer is shown."""

    def __init__(self, stats: Stats, vitals: Vitals) -> None:
        self._asked = (
            _Asked(stats.images, _images),
            _Asked(
                stats.stored, lambda stored: [_by("files_bytes", "Bytes of all files", "measure", {"content": stored.files, "disk": stored.disk})]
            ),
            _Asked(stats.dead_letters, lambda letters: [_one("dead_letters", "Messages that could not be processed", letters)]),
            _Asked(stats.queues, _queues),
            _Asked(stats.backlog, _backlog),
            _Asked(Kept(vitals.server, seconds=ASKED_EVERY).get, _server),
            _Asked(Kept(vitals.members, seconds=ASKED_EVERY).get, _members),
            _Asked(Kept(vitals.sizes, seconds=ASKED_EVERY).get, _sizes),
        )
        self._known: list[Any] = [None] * len(self._asked)

    async def refresh(self) -> None:
        """Asks for what isn't known, or not any more."""
        await asyncio.gather(*(self._refresh(number) for number in range(len(self._asked))))

    async def _refresh(self, number: int) -> None:
        answer = None
        try:
            answer = await self._asked[number].ask()
        except BowerbirdError as error:
            log.debug("a figure is missing", extra={"error": str(error)})
        finally:
            # Also when it has taken too long: the others are there by then.
            self._known[number] = answer

    def collect(self) -> Iterator[Metric]:
        """What was answered last."""
        for asked, answer in zip(self._asked, self._known, strict=True):
            if answer is not None:
                yield from asked.show(answer)


def _one(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"bowerbird_{name}", meaning, value=value)


def _by(name: str, meaning: str, label: str, values: Mapping[str, float], kind: Callable[..., Any] = GaugeMetricFamily) -> Metric:
    family: Any = kind(f"bowerbird_{name}", meaning, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    found: Metric = family
    return found


def _images(counted: Mapping[str, int]) -> list[Metric]:
    return [_by("images", "Images by status", "status", {str(status): number for status, number in counted.items()})]


def _queues(queues: list[Any]) -> list[Metric]:
    return [
        _by(
            "queue_messages",
            "Messages that wait in a queue, without those in a consumer's hands",
            "queue",
            {each.name: each.messages for each in queues},
        ),
        _by("queue_consumers", "Consumers of a queue", "queue", {each.name: each.consumers for each in queues}),
    ]


def _backlog(backlog: Any) -> list[Metric]:  # noqa: ANN401  (stats.py's own)
    age = (datetime.now(UTC) - backlog.oldest).total_seconds() if backlog.oldest else 0.0
    return [
        _one("oldest_queued_image_age_seconds", "How long the oldest image that is queued has been", max(0.0, age)),
        _one(
            "relay_backlog_images",
            "Images whose request RabbitMQ hasn't confirmed for seconds, up to 100,000: the relay's",
            backlog.undispatched,
        ),
    ]


def _server(server: Server) -> list[Metric]:
    took = server.took
    return [
        _by("mongodb_connections", "Connections that are open, and that may be besides", "state", server.connections),
        _by("mongodb_operations", "Operations, by their kind", "type", server.operations, CounterMetricFamily),
        _by(
            "mongodb_timed_operations",
            "Operations whose time was taken",
            "type",
            {kind: each.operations for kind, each in took.items()},
            CounterMetricFamily,
        ),
        _by("mongodb_operation_seconds", "Time that those took", "type", {kind: each.seconds for kind, each in took.items()}, CounterMetricFamily),
        _by("mongodb_cache_bytes", "WiredTiger's cache: used, not written yet, and its limit", "part", server.cache_bytes),
        _one("mongodb_oplog_window_seconds", "From the oldest entry of the oplog to the newest", server.oplog_seconds),
    ]


def _members(members: Members) -> list[Metric]:
    return [
        _by("mongodb_members", "Members of the replica set", "state", {"healthy": members.healthy, "unhealthy": members.unhealthy}),
        _one("mongodb_replication_lag_seconds", "How far the last of the healthy members is behind the primary", members.lag_seconds),
    ]


def _sizes(sizes: Mapping[str, Sizes]) -> Iterator[Metric]:
    yield _by("mongodb_documents", "Documents of a collection", "collection", {name: each.documents for name, each in sizes.items()})
    family = GaugeMetricFamily(
        "bowerbird_mongodb_collection_bytes", "Bytes of a collection: as they are, on disk, indexes", labels=["collection", "measure"]
    )
    for name, each in sizes.items():
        for measure, number in (("content", each.content), ("disk", each.disk), ("indexes", each.indexes)):
            family.add_metric([name, measure], number)
    yield family
