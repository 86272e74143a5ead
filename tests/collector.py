"""A collector for tests: takes spans as OTLP over HTTP, from whatever process, and keeps them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Seen(NamedTuple):
    """A span as it arrived. Ids are in hexadecimal, `parent` is empty for the first of a trace, `links` are (trace, span)."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    events: list[str]
    links: list[tuple[str, str]]
    failed: bool


class Collector:
    """Listens on a free port of loopback. While it doesn't `accept`, it answers 503 and keeps nothing."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.accept = True
        self.refused = 0

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, body)
                self.send_response(200 if collector.accept else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> None:
        """One export."""
        if not self.accept:
            self.refused += 1
            return
        assert path == "/v1/traces"
        self.spans += _read(ExportTraceServiceRequest.FromString(body))

    def trace(self, trace: str) -> list[Seen]:
        """What is there of a trace."""
        return [span for span in list(self.spans) if span.trace == trace]

    async def traced(self, wanted: Callable[[Seen], bool], *names: str) -> list[Seen]:
        """The spans of the trace that has such a span, once it has all of these names, as often as they are given."""

        async def ask() -> list[Seen] | None:
            for span in list(self.spans):
                if wanted(span):
                    found = self.trace(span.trace)
                    there = [one.name for one in found]
                    if all(there.count(name) >= names.count(name) for name in names):
                        return found
            return None

        try:
            found = await until(ask)
        except AssertionError:
            raise AssertionError(f"only {sorted((span.service, span.name) for span in self.spans)}") from None
        assert found
        return found


def above(span: Seen, spans: Iterable[Seen]) -> list[str]:
    """The names of the spans around a span, the innermost first."""
    by_id = {one.id: one for one in spans}
    names = []
    while parent := by_id.get(span.parent):
        names.append(parent.name)
        span = parent
    return names


def _read(request: ExportTraceServiceRequest) -> list[Seen]:
    seen = []
    for resource in request.resource_spans:
        service = {pair.key: _value(pair.value) for pair in resource.resource.attributes}["service.name"]
        for scope in resource.scope_spans:
            seen += [
                Seen(
                    name=span.name, service=service, trace=span.trace_id.hex(), id=span.span_id.hex(), parent=span.parent_span_id.hex(),
                    attributes={pair.key: _value(pair.value) for pair in span.attributes},
                    events=[event.name for event in span.events],
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                )
                for span in scope.spans
            ]  # fmt: skip
    return seen


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
