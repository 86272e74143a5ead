"""Traces, off unless a collector is named: what the rest of the code calls, at next to no cost while they are off.

OpenTelemetry itself is imported by shared/spans.py alone, which is imported only when OTEL_EXPORTER_OTLP_ENDPOINT (or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set. A trace travels in the header `traceparent` of each message, and, since what is accepted is kept in
MongoDB and published later by whoever comes to it, in the image's document, as its `trace` (docs/tracing.md).
"""

from __future__ import annotations

import functools
import importlib
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from shared.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from aio_pika.abc import AbstractIncomingMessage
    from opentelemetry.trace import Span

    from shared.events import Envelope
    from shared.spans import Asking, Spans

    Consume = Callable[[AbstractIncomingMessage], Awaitable[None]]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_NOTHING = nullcontext()
_spans: Spans | None = None


@contextmanager
def exporting(service: str, environ: Mapping[str, str]) -> Iterator[None]:
    """Has the spans of this process exported until the block ends, if the environment names a collector.

    Raises SettingsError when one is named and OpenTelemetry isn't installed, or one of its settings is wrong.
    """
    endpoint = next((name for name in ENDPOINTS if environ.get(name)), None)
    if endpoint is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        yield
        return
    try:
        spans = importlib.import_module("shared.spans")
        setup = importlib.import_module("shared.collector")
    except ImportError as error:
        problem = f"{endpoint} is set, but OpenTelemetry isn't installed ({error.name}): pip install 'bowerbird[tracing]', or unset it."
        raise SettingsError([problem]) from None
    with setup.provider(service, environ) as provider, using(spans.Spans(provider)):
        yield


@contextmanager
def using(spans: Spans) -> Iterator[None]:
    """Has spans made by these until the block ends."""
    global _spans  # noqa: PLW0603  (one for the process, as for logging: every module would have to hand it on)
    former, _spans = _spans, spans
    try:
        yield
    finally:
        _spans = former


def on() -> bool:
    """Whether anything is traced: to be asked once, by those who would otherwise prepare for it."""
    return _spans is not None


def step(name: str) -> AbstractContextManager[None]:
    """A part of what is being done."""
    return _NOTHING if _spans is None else _spans.step(name)


def processing(consume: Consume, queue: str) -> Consume:
    """What consumes the messages of a queue; each time, when traces are on, it continues the trace of whoever published the message."""
    if (spans := _spans) is None:
        return consume

    @functools.wraps(consume)
    async def traced(message: AbstractIncomingMessage) -> None:
        with spans.processing(message, queue):
            await consume(message)

    return traced


def publishing(envelope: Envelope, exchange: str, routing_key: str) -> AbstractContextManager[None]:
    """The publishing of a message, which carries the trace on in a header."""
    return _NOTHING if _spans is None else _spans.publishing(envelope, exchange, routing_key)


def answering(method: str, path: str, parent: str | None, *, trusted: bool) -> AbstractContextManager[Callable[[int, str | None], None]]:
    """The answering of an HTTP request, with a function for its status and route. `parent` is its traceparent, as it came.

    Only one who is trusted has a trace continued; of a stranger's it is merely noted.
    """
    if _spans is None:
        raise RuntimeError("Nothing is traced.")
    return _spans.answering(method, path, parent, trusted=trusted)


def asking(method: str, url: str, host: str, port: int | None) -> Asking | None:
    """An HTTP request of ours to somebody, which is under way until it is told otherwise."""
    return None if _spans is None else _spans.asking(method, url, host, port)


def headers() -> dict[str, str]:
    """For a request of ours, to one who may know of the trace."""
    return {} if _spans is None else _spans.headers()


def failed(error: BaseException) -> None:
    """What is being done fails, and nothing is raised."""
    if _spans is not None:
        _spans.failed(error)


def cause(*, of_many: bool = False) -> str | None:
    """What is being done, as text, to be kept with what follows from it. When that is `of_many`, each has a trace of its own that links here."""
    return None if _spans is None else _spans.cause(of_many=of_many)


def caused_by(cause: str | None) -> AbstractContextManager[None]:
    """What is being done in the block follows from what was kept, and from nothing else."""
    return _NOTHING if _spans is None else _spans.caused_by(cause)


def here() -> Span | None:
    """What is being done, to be named to `together`."""
    return None if _spans is None else _spans.here()


def together(name: str, members: Sequence[Span | None]) -> AbstractContextManager[Any]:
    """What is done for several at once."""
    return _NOTHING if _spans is None else _spans.together(name, members)
