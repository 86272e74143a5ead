"""The spans, made with OpenTelemetry: names and attributes are those of its semantic conventions, as far as it has any.

Imported by shared/tracing.py, and only when traces are on. Nothing that strangers say is recorded but URLs, without their queries; of errors only
their names, and the sentences that are our own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared import traceparents, urls
from shared.errors import BowerbirdError, DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aio_pika.abc import AbstractIncomingMessage
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import Attributes

    from shared.events import Envelope

_LINK = contexts.create_key("bowerbird-link")
_NOBODY = Context()
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"})
_FAULT = 500
_LINKED = "link:"


class Spans:
    """What shared/tracing.py has functions for."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("bowerbird")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A part of what is being done."""
        with self._span(name, SpanKind.INTERNAL):
            yield

    @contextmanager
    def processing(self, message: AbstractIncomingMessage, queue: str) -> Iterator[None]:
        """As the conventions for messaging have it: a process span, whose parent is the span of the publisher."""
        attributes = _messaging("process", "process", message.exchange or "", message.routing_key or "", queue)
        attributes |= {"messaging.message.body.size": len(message.body)} | _ids(message)
        if message.redelivered:
            attributes["bowerbird.redelivered"] = True
        parent = _remote(traceparents.parse(message.headers.get(traceparents.NAME)))
        with self._span(f"process {queue}", SpanKind.CONSUMER, context=_within(parent), attributes=attributes):
            yield

    @contextmanager
    def publishing(self, envelope: Envelope, exchange: str, routing_key: str) -> Iterator[None]:
        """A producer span; a message that had another before, and is sent again, links to that."""
        attributes = _messaging("send", "publish", exchange, routing_key)
        attributes |= {"messaging.message.body.size": len(envelope.body)} | _ids(envelope)
        former = _remote(traceparents.parse(envelope.headers.get(traceparents.NAME)))
        links = [Link(one) for one in (former, contexts.get_value(_LINK)) if isinstance(one, SpanContext)]
        name = attributes["messaging.destination.name"]
        with self._span(f"publish {name}", SpanKind.PRODUCER, links=links, attributes=attributes) as span:
            envelope.headers[traceparents.NAME] = _text(span.get_span_context())
            yield

    @contextmanager
    def answering(self, method: str, path: str, parent: str | None, *, trusted: bool) -> Iterator[Callable[[int, str | None], None]]:
        """A server span, as the conventions for HTTP have it. Strangers can neither have their requests recorded nor write into others' traces."""
        given = _remote(traceparents.parse(parent))
        known = method if method in _METHODS else "_OTHER"
        attributes = {"http.request.method": known, "url.path": path, "url.scheme": "http"}
        links = [Link(given)] if given and not trusted else []
        context = _within(given if trusted else None)
        verb = known if known in _METHODS else "HTTP"
        with self._span(verb, SpanKind.SERVER, context=context, links=links, attributes=attributes) as span:

            def answered(status: int, route: str | None) -> None:
                span.set_attribute("http.response.status_code", status)
                if route:
                    span.set_attribute("http.route", route)
                    span.update_name(f"{verb} {route}")
                if status >= _FAULT:
                    span.set_attribute("error.type", str(status))
                    span.set_status(Status(StatusCode.ERROR))

            yield answered

    def asking(self, method: str, url: str, host: str, port: int | None) -> Asking:
        """A client span, as the conventions for HTTP have it."""
        attributes: dict[str, Any] = {"http.request.method": method, "url.full": urls.without_query(url), "server.address": host}
        if port is not None:
            attributes["server.port"] = port
        return Asking(self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes))

    def headers(self) -> dict[str, str]:
        """Of a request that carries the trace on."""
        cause = self.cause()
        return {traceparents.NAME: cause} if cause else {}

    def failed(self, error: BaseException) -> None:
        """Notes a failure in the current span."""
        _fail(trace.get_current_span(), error)

    def cause(self, *, of_many: bool = False) -> str | None:
        """The current span's traceparent, by itself to be continued, or marked to be linked to; None if there is no span."""
        found = trace.get_current_span().get_span_context()
        return (_LINKED if of_many else "") + _text(found) if found.is_valid else None

    @contextmanager
    def caused_by(self, cause: str | None) -> Iterator[None]:
        """Continues, or links to, what was kept."""
        linked = cause is not None and cause.startswith(_LINKED)
        found = _remote(traceparents.parse(cause.removeprefix(_LINKED) if cause else None))
        with _in(contexts.set_value(_LINK, found, _NOBODY) if linked else _within(found)):
            yield

    def here(self) -> Span | None:
        """The current span, if it is recorded."""
        span = trace.get_current_span()
        return span if span.is_recording() else None

    @contextmanager
    def together(self, name: str, members: Sequence[Span | None]) -> Iterator[None]:
        """One span for all of them: in the trace of the first that is recorded, and linked with the others, both ways."""
        recorded = list({id(span): span for span in members if span is not None}.values())
        if not recorded:
            with _in(_NOBODY):  # not in that of whoever came first, long ago, and began the task that does this
                yield
            return
        first, *others = recorded
        links = [Link(span.get_span_context()) for span in others]
        attributes = {"bowerbird.batch.size": len(members)}
        with self._span(name, SpanKind.INTERNAL, context=trace.set_span_in_context(first, _NOBODY), links=links, attributes=attributes) as span:
            for other in others:
                other.add_link(span.get_span_context())
            yield

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, *, context: Context | None = None, links: Sequence[Link] = (), attributes: Attributes = None
    ) -> Iterator[Span]:
        # Not OpenTelemetry's own way with exceptions: it records their texts and tracebacks, which can be strangers' texts.
        with self._tracer.start_as_current_span(
            name, context=context, kind=kind, links=links, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                _fail(span, error)
                raise


class Asking:
    """A request to somebody, under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def note(self, event: str) -> None:
        """Something that happened on the way."""
        self._span.add_event(event)

    def answered(self, status: int) -> None:
        """The head of the answer is there."""
        self._span.set_attribute("http.response.status_code", status)
        self._span.end()

    def failed(self, error: BaseException) -> None:
        """There is none."""
        _fail(self._span, error)
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", str(error.reason) if isinstance(error, DownloadError) else type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, BowerbirdError) else None))


@contextmanager
def _in(context: Context) -> Iterator[None]:
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def _within(parent: SpanContext | None) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent), _NOBODY) if parent else _NOBODY


def _remote(parent: traceparents.TraceParent | None) -> SpanContext | None:
    if parent is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=flags)


def _text(span: SpanContext) -> str:
    return str(traceparents.TraceParent(span.trace_id, span.span_id, span.trace_flags.sampled))


def _messaging(kind: str, operation: str, *destination: str) -> dict[str, Any]:
    """What every span of a message has. A destination is exchange, routing key and, for a consumer, queue; of the same name one is enough."""
    names = ":".join(dict.fromkeys(name for name in destination if name))
    return {
        "messaging.system": "rabbitmq", "messaging.operation.type": kind, "messaging.operation.name": operation,
        "messaging.destination.name": names, "messaging.rabbitmq.destination.routing_key": destination[1],
    }  # fmt: skip


def _ids(message: AbstractIncomingMessage | Envelope) -> dict[str, Any]:
    """The conversation is the correlation id: the same for everything that one submission causes, in logs too."""
    ids = {"messaging.message.id": message.message_id, "messaging.message.conversation_id": message.correlation_id}
    return {name: value for name, value in ids.items() if value}
