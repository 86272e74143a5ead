"""shared/tracing.py and shared/spans.py: what links to what, and that nothing is there while traces are off."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from shared import collector, tracing
from shared.batching import Batcher
from shared.errors import Reason, TransientError, Undecodable
from shared.events import Envelope
from tests.recording import linked, recording, text

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
NOWHERE = "http://127.0.0.1:9"


def envelope(**headers: Any) -> Envelope:
    return Envelope("download-requested", headers, b"{}", None, "id", "image.1")


def python(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BOWERBIRD_", "OTEL_"))}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**clean, **environ}, capture_output=True, text=True, check=False, timeout=60
    )


def start(*blocked: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Of a storer, on an installation without some modules, and with settings of which one more is missing."""
    absent = "".join(f"sys.modules[{name!r}] = None; " for name in blocked)
    return python(f"import sys; {absent}from services.storer.main import main; sys.exit(main())", **environ)


def test_while_off_nothing_of_it_is_imported() -> None:
    # FastStream itself looks whether opentelemetry.semconv is there, and takes its (empty) package in.
    heavy = ("opentelemetry.trace", "opentelemetry.context", "opentelemetry.sdk", "opentelemetry.exporter", "shared.spans", "shared.collector")
    program = (
        "import sys, os; import services.api.main, services.fetcher.main, services.storer.main; from shared import tracing\n"
        "with tracing.exporting('api', os.environ): print([name for name in sys.modules if name.startswith(" + repr(heavy) + ")])"
    )
    assert python(program).stdout.strip() == "[]"
    assert "'shared.spans'" in python(program, **{ENDPOINT: NOWHERE}).stdout


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {ENDPOINT: ""}])
def test_it_can_be_switched_off_in_the_standard_ways(off: dict[str, str]) -> None:
    with tracing.exporting("api", {ENDPOINT: NOWHERE, **off}):
        assert not tracing.on()


def test_without_the_extra_a_collector_stops_the_start_and_says_what_to_do() -> None:
    done = start("opentelemetry", **{ENDPOINT: NOWHERE})
    assert done.returncode == 2
    assert done.stderr.startswith(f"{ENDPOINT} is set, but OpenTelemetry isn't installed")
    assert "bowerbird[tracing]" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ENDPOINT, "localhost:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_SAMPLER", "often"), ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ],
)  # fmt: skip
def test_a_wrong_setting_stops_the_start_with_its_name(name: str, value: str) -> None:
    done = start(**{ENDPOINT: NOWHERE, name: value})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"{name} is {value!r}, but should be ")


def test_a_message_carries_the_trace_on() -> None:
    with recording() as recorded:
        message = envelope(v=1)
        with tracing.step("before"), tracing.publishing(message, "bowerbird", "download-requested"):
            pass
        published = recorded.one("publish bowerbird:download-requested")
        before = recorded.one("before").context
        assert published.parent
        assert before
        assert published.parent.span_id == before.span_id
        assert message.headers == {"v": 1, "traceparent": text(published)}


def test_a_message_that_is_sent_again_links_to_what_it_was() -> None:
    with recording() as recorded:
        message = envelope()
        for _ in range(2):
            with tracing.publishing(message, "", "dead-letters"):
                pass
        first, second = recorded.all("publish dead-letters")
        assert first.context
        assert second.context
        assert linked(second) == [first.context.span_id]
        assert first.context.trace_id != second.context.trace_id


def test_what_was_kept_is_continued_or_linked_to() -> None:
    with recording() as recorded:
        with tracing.step("asked"):
            alone, many = tracing.cause(), tracing.cause(of_many=True)
        for cause in (alone, many, None, "nonsense", "link:nonsense"):
            with tracing.step("not this"), tracing.caused_by(cause), tracing.publishing(envelope(), "", "x"):
                pass
        asked = recorded.one("asked").context
        continued, apart, *without = recorded.all("publish x")
        assert asked
        assert continued.parent
        assert continued.parent.span_id == asked.span_id
        assert (apart.parent, linked(apart)) == (None, [asked.span_id])
        assert [(span.parent, linked(span)) for span in without] == [(None, [])] * 3


async def test_a_batch_is_in_the_trace_of_the_first_and_linked_with_the_others() -> None:
    async def write(items: list[int]) -> list[int]:
        with tracing.step(f"within {len(items)}"):
            return items

    async def one(number: int) -> None:
        with tracing.step(f"item {number}"):
            await batcher.add(number)

    batcher: Batcher[int, int] = Batcher(write, max_items=10, name="write")
    with recording() as recorded:
        await asyncio.gather(*(one(number) for number in range(3)))
        contexts = [recorded.one(f"item {number}").context for number in range(3)]
        first, *others = [context.span_id for context in contexts if context]
        batch = recorded.one("write")
        assert batch.parent
        assert batch.parent.span_id == first
        assert linked(batch) == others
        assert [linked(recorded.one(f"item {number}")) for number in (1, 2)] == [[batch.context and batch.context.span_id]] * 2
        assert recorded.one("within 3").parent == batch.context


async def test_a_batch_of_what_nobody_traced_is_in_nobodys_trace() -> None:
    gate = asyncio.Event()

    async def write(items: list[int]) -> list[int]:
        with tracing.step("within"):
            await gate.wait()
        return items

    batcher: Batcher[int, int] = Batcher(write, max_items=10, name="write")
    with recording() as recorded:
        with tracing.step("traced"):
            first = batcher.put(0)  # begins the task that writes the next batch too
        await asyncio.sleep(0)
        second = batcher.put(1)
        gate.set()
        await asyncio.gather(first, second)
        assert recorded.names.count("write") == 1
        assert [span.parent is None for span in recorded.all("within")] == [False, True]


def test_errors_are_told_by_name_and_strangers_texts_are_not() -> None:
    with recording() as recorded:
        for error in (TransientError(Reason.TIMEOUT, "Too slow."), ValueError("a stranger's text")):
            with pytest.raises(type(error)), tracing.step("step"):
                raise error
        with tracing.step("step"):
            tracing.failed(Undecodable("not an event"))
        found = [(span.attributes and span.attributes["error.type"], span.status.description) for span in recorded.all("step")]
        assert found == [("timeout", "timeout: Too slow."), ("ValueError", None), ("Undecodable", "not an event")]
        assert all(span.status.status_code is StatusCode.ERROR and not span.events for span in recorded.all("step"))


def test_log_lines_have_their_trace(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("bowerbird.tests")
    with tracing.exporting("api", {ENDPOINT: NOWHERE}), tracing.step("step"):
        log.warning("within")
        trace = (tracing.cause() or "").split("-")[1]
    log.warning("after")
    within, after = caplog.records
    assert vars(within)["trace_id"] == trace
    assert not hasattr(after, "trace_id")


class Down(SpanExporter):
    def __init__(self) -> None:
        self.result = SpanExportResult.FAILURE

    def export(self, spans: Any) -> SpanExportResult:
        del spans
        return self.result


def test_a_collector_that_is_away_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now, down = [0.0], Down()
    patient = collector.Patient(down, clock=lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        patient.export([None] * 10)  # type: ignore[list-item]
    down.result = SpanExportResult.SUCCESS
    patient.export([])
    assert [record.message for record in caplog.records] == ["the collector doesn't take traces: see OTEL_EXPORTER_OTLP_ENDPOINT"] * 2 + [
        "traces are taken again"
    ]
    assert vars(caplog.records[-1])["lost_spans"] == 1000


class Stuck(Down):
    """A collector that takes a batch and never answers, until the gate is open."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS
        self.gate = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.gate.wait(30)
        return super().export(spans)


def test_what_waits_for_a_collector_is_bounded_and_holds_up_no_end() -> None:
    stuck = Stuck()
    try:
        with collector.provider("api", {}, exporter=stuck) as provider:
            tracer = provider.get_tracer("tests")
            for _ in range(10_000):
                tracer.start_span("span").end()
            [processor] = provider._active_span_processor._span_processors
            assert len(processor._batch_processor._queue) == 2048  # type: ignore[attr-defined]
            began = time.monotonic()
        assert time.monotonic() - began < collector.CLOSE_SECONDS + 1
    finally:
        stuck.gate.set()
