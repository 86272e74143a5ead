"""Traces of a test's own process, kept in memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import tracing
from shared.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.sampling import Sampler


class Recorded:
    """The spans that are over."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self, name: str) -> list[ReadableSpan]:
        """Those with a name, in the order in which they ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one with a name."""
        [span] = self.all(name)
        return span

    @property
    def names(self) -> list[str]:
        """Of all of them."""
        return [span.name for span in self._exporter.get_finished_spans()]


@contextmanager
def recording(sampler: Sampler | None = None) -> Iterator[Recorded]:
    """Traces are on until the block ends."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing.using(Spans(provider)):
        yield Recorded(exporter)


def text(span: ReadableSpan) -> str:
    """The traceparent of those that follow from a span."""
    assert span.context
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that a span links to."""
    return [link.context.span_id for link in span.links]
