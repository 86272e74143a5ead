"""What is counted and timed, for Prometheus: every metric of every service, with what its labels can be.

A label never has a host, an id or a URL: what strangers choose doesn't make series. How much it costs is in docs/decisions/0010-metrics.md;
what a metric is good for, in docs/operations.md. Each process has a registry of its own, and shows it (shared/exposition.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from types import TracebackType

Metric = TypeVar("Metric", bound=MetricWrapperBase)
Item = TypeVar("Item")
Result = TypeVar("Result")

REGISTRY = CollectorRegistry()
disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, which says when the process met it first

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds that a step of ours takes."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds that others take: origins, up to BOWERBIRD_FETCH_TIMEOUT, and receivers of callbacks."""
HANDLING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0)
"""Seconds that a message is in hand: a batch's in a storer, a download's in a fetcher."""
WAITS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds in a queue."""
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)

SUCCESS, ERROR = "success", "error"


class Children(dict[tuple[str, ...], Metric]):
    """A metric's series, by the values of its labels. Looking one up here takes a thirtieth of what `labels()` takes."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Metric:
        child = self[labels] = self._metric.labels(*labels)
        return child


def _counter(name: str, meaning: str, *labels: str) -> Children[Counter]:
    return Children(Counter(f"bowerbird_{name}", meaning, labels, registry=REGISTRY))


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Children[Histogram]:
    return Children(Histogram(f"bowerbird_{name}", meaning, labels, registry=REGISTRY, buckets=buckets))


def _gauge(name: str, meaning: str, *labels: str) -> Children[Gauge]:
    return Children(Gauge(f"bowerbird_{name}", meaning, labels, registry=REGISTRY))


# The api. `path` is a route (/images/{image}/content), `status` a class (2xx).
REQUESTS = _counter("requests_total", "Requests, by route, method and class of status", "path", "method", "status")
REQUEST_SECONDS = _histogram("request_duration_seconds", "Time until an answer begins", "path", buckets=FAST)
SERVED_BYTES = _counter("served_bytes_total", "Bytes of answers' bodies", "path")
DUPLICATES = _counter("duplicates_refused_total", "URLs that were known already: refused with 409 (image), or noted in a batch (batch)", "submission")
LISTENERS = Gauge("bowerbird_listeners", "Streams of live events that are open", registry=REGISTRY)
RELAYED = Counter("bowerbird_relayed_total", "Requests that had stayed behind and were published by the relay", registry=REGISTRY)

# Messages, of every service. `event` is a message's name, `status` success or error; `queue` is a queue of shared/topology.py.
PUBLISHED = _histogram("published_messages_duration_seconds", "Time until RabbitMQ confirms a message", "event", "status", buckets=FAST)
HANDLED = _histogram(
    "received_processed_messages_duration_seconds",
    "Time from a message's arrival until it is acked, rejected to the dead letters, or returned to its queue",
    "queue", "status", buckets=HANDLING,
)  # fmt: skip
QUEUE_WAIT = _histogram("queue_wait_seconds", "Time from an event until it is in somebody's hands", "queue", buckets=WAITS)
CONNECTED = Gauge("bowerbird_broker_connected", "Whether messages can be published: 1 or 0", registry=REGISTRY)

# The fetcher. `outcome` is the event that follows, `reason` why it failed, or empty.
FETCHES = _histogram("fetch_duration_seconds", "Time of a download attempt, by what came of it", "outcome", "reason", buckets=SLOW)
PUT_OFF = _counter("put_off_total", "Attempts that were put off because the host is busy or there is no room, without being made", "work")
RETRIES = _counter("retries_total", "Attempts that failed and will be repeated", "work", "reason")
RECOGNISED = _histogram("recognise_duration_seconds", "Time to recognise an image", "status", buckets=FAST)
DOWNLOADED_BYTES = Counter("bowerbird_downloaded_bytes_total", "Bytes of bodies that were downloaded", registry=REGISTRY)
OPEN_BREAKERS = _gauge("open_breakers", "Hosts that aren't asked at the moment because they didn't answer", "work")
CALLBACKS = _histogram("callback_duration_seconds", "Time of an attempt at a callback", "outcome", "reason", buckets=SLOW)

# The storer. `outcome` is what the image's document says then; `superseded` that the event changed nothing any more. What two store at the same
# moment counts for both, though only one of them keeps it.
OUTCOMES = _counter("outcomes_total", "Outcomes of downloads that were written", "outcome")
STORED_BYTES = Counter("bowerbird_stored_bytes_total", "Bytes that were stored, those that were held already left out", registry=REGISTRY)
SAME_BYTES = Counter("bowerbird_same_bytes_total", "Images, or other things, whose bytes were held already", registry=REGISTRY)
BATCH_ITEMS = _histogram("batch_items", "Items that were written, or read, together", "batch", buckets=ITEMS)
BATCH_SECONDS = _histogram("batch_duration_seconds", "Time of writing, or reading, a batch", "batch", "status", buckets=FAST)


class Timed:
    """Observes how long the block takes, with success or error as the last label: `with Timed(PUBLISHED, "image-fetched"):`."""

    __slots__ = ("_began", "_labels", "_series")

    def __init__(self, series: Children[Histogram], *labels: str) -> None:
        self._series = series
        self._labels = labels

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._series[(*self._labels, ERROR if kind else SUCCESS)].observe(time.perf_counter() - self._began)


def batched(name: str, write: Callable[[list[Item]], Awaitable[Result]]) -> Callable[[list[Item]], Awaitable[Result]]:
    """What a Batcher is given to write with, measured: once a batch."""
    size = BATCH_ITEMS[(name,)]

    async def measured(items: list[Item]) -> Result:
        size.observe(len(items))
        with Timed(BATCH_SECONDS, name):
            return await write(items)

    return measured


def waited(queue: str, since: datetime | None) -> None:
    """A message of a queue is in hand, that could have been there since a time; None, or a time without a zone, if that can't be told.

    By the clocks of two machines: where one is behind, it has waited for no time.
    """
    if since is not None and since.tzinfo is not None:
        QUEUE_WAIT[(queue,)].observe(max(0.0, time.time() - since.timestamp()))
