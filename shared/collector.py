"""To the collector: OpenTelemetry's own exporter (OTLP over HTTP), in a thread of its own, with what must never harm the rest around it.

The standard settings hold (docs/tracing.md). The queue to that thread is bounded, and what finds it full is dropped; a collector that is away costs
one line of log a minute.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from shared.errors import SettingsError
from shared.tracing import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger("bowerbird.tracing")

WARNING_SECONDS = 60.0
CLOSE_SECONDS = 2.0
"""How long a process that stops waits for the last spans to be taken."""
LONGEST_VALUE = 1024
"""Characters of an attribute, unless the standard settings say otherwise: URLs are other people's."""

_LENGTHS = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SAMPLERS = ("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")


@contextmanager
def provider(service: str, environ: Mapping[str, str], *, exporter: SpanExporter | None = None) -> Iterator[TracerProvider]:
    """What makes and exports the spans of a service, until the block ends. Raises SettingsError."""
    _check(environ)
    _hush()
    try:
        exporting = Patient(exporter or OTLPSpanExporter())
        limits = SpanLimits() if any(environ.get(name) for name in _LENGTHS) else SpanLimits(max_span_attribute_length=LONGEST_VALUE)
        made = TracerProvider(resource=_resource(service, environ), span_limits=limits, shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(exporting))
    except ValueError as error:
        raise SettingsError([f"One of OpenTelemetry's settings (OTEL_…) is wrong: {error}"]) from None
    with _in_logs():
        try:
            yield made
        finally:
            # In a thread, since it has patience with a collector that is away.
            closing = threading.Thread(target=made.shutdown, name="tracing-close", daemon=True)
            closing.start()
            closing.join(CLOSE_SECONDS)


class Patient(SpanExporter):
    """An exporter that says when it fails, and seldom."""

    def __init__(self, exporter: SpanExporter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._exporter = exporter
        self._clock = clock
        self._warned_at = float("-inf")
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """In the exporter's own thread."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                log.info("traces are taken again", extra={"lost_spans": self._lost})
                self._lost, self._warned_at = 0, float("-inf")
            return result
        self._lost += len(spans)
        if self._clock() - self._warned_at > WARNING_SECONDS:
            self._warned_at = self._clock()
            log.warning("the collector doesn't take traces: see OTEL_EXPORTER_OTLP_ENDPOINT", extra={"lost_spans": self._lost})
        return result

    def shutdown(self) -> None:
        """Once, at the end."""
        self._exporter.shutdown()


def _check(environ: Mapping[str, str]) -> None:
    """What the library would only complain of in its own log, and go on with something else."""
    problems = [
        f"{name} is {environ[name]!r}, but should be a URL that begins with http:// or https://."
        for name in ENDPOINTS
        if environ.get(name) and not environ[name].startswith(("http://", "https://"))
    ]
    problems += [
        f"{name} is {environ[name]!r}, but should be http/protobuf."
        for name in _PROTOCOLS
        if environ.get(name) and environ[name] != "http/protobuf"
    ]  # fmt: skip
    sampler = environ.get("OTEL_TRACES_SAMPLER")
    if sampler and sampler not in _SAMPLERS:
        problems.append(f"OTEL_TRACES_SAMPLER is {sampler!r}, but should be one of {', '.join(_SAMPLERS)}.")
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG")
    if ratio and not _is_share(ratio):
        problems.append(f"OTEL_TRACES_SAMPLER_ARG is {ratio!r}, but should be a number from 0 to 1.")
    if problems:
        raise SettingsError(problems)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _resource(service: str, environ: Mapping[str, str]) -> Resource:
    ours = {
        "service.name": f"bowerbird-{service}", "service.namespace": "bowerbird", "service.instance.id": f"{socket.gethostname()}.{os.getpid()}",
    }  # fmt: skip
    # What is given to create() would win over the environment's.
    if environ.get("OTEL_SERVICE_NAME"):
        del ours["service.name"]
    named = {part.partition("=")[0].strip() for part in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def _hush() -> None:
    """The library's own words, a dozen for each failure; `Patient` has one, and of a full queue it speaks itself at most every 20 s."""
    for name in ("opentelemetry", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.WARNING)


@contextmanager
def _in_logs() -> Iterator[None]:
    """Has each line of log that belongs to a trace say so, by the names that OpenTelemetry has for that."""
    make = logging.getLogRecordFactory()

    def traced(*given: Any, **named: Any) -> logging.LogRecord:  # noqa: ANN401  (whatever logging gives)
        record = make(*given, **named)
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            record.trace_id, record.span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        return record

    logging.setLogRecordFactory(traced)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)
