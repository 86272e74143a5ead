"""Traces, from real processes to a collector: one from POST to the stored copy, whatever happens in between."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.collector import Collector, above
from tests.e2e.conftest import SETTLED
from tests.e2e.test_up import ready, running_up
from tests.origin import Origin, body, image, sequence, status
from tests.polling import until
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.collector import Seen
    from tests.e2e.test_up import Up

pytestmark = pytest.mark.anyio

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REQUESTED, FETCHED = "publish bowerbird:download-requested", "publish bowerbird:image-fetched"
CALLBACK = "publish bowerbird:callback-requested"
FETCH, STORE = "process fetcher.download-requested", "process storer.image-fetched"
ALL = ("POST /images", "insert images", REQUESTED, FETCH, "download", "GET", "recognise", FETCHED, STORE, "store images")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
async def up(collector: Collector, amqp_url: str, mongo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Up]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with running_up(amqp_url, mongo_url, tmp_path) as up:
        await ready(up)
        yield up


@pytest.fixture
async def client(up: Up) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=up.base, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin("127.77.0.1") as origin:
        yield origin


async def submit(client: httpx.AsyncClient, url: str, **more: str) -> dict[str, Any]:
    """The image, once nothing more will happen to it."""
    answer = await client.post("/images", json={"url": url, **more}, headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "a=b"})
    assert answer.status_code == 202, answer.text

    async def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(answer.headers["location"])).raise_for_status().json()
        return found if found["status"] in SETTLED else None

    found = await until(ask)
    assert found
    return found


def ours(span: Seen) -> bool:
    return span.trace == TRACE


async def test_one_post_is_one_trace_through_all_services(collector: Collector, client: httpx.AsyncClient, origin: Origin) -> None:
    picture = await submit(client, origin.on("/a.png", body(image("PNG"), "image/png")) + "?secret")
    spans = await collector.traced(ours, *ALL, "publish bowerbird:image-stored")
    by_name = {span.name: span for span in spans}
    [post] = [span for span in spans if span.name == "POST /images"]
    assert (post.service, post.parent, post.attributes["http.response.status_code"]) == ("bowerbird-api", CALLER, 202)
    assert above(by_name["store images"], spans) == [STORE, FETCHED, FETCH, REQUESTED, "POST /images"]
    assert above(by_name["publish bowerbird:image-stored"], spans)[0] == STORE
    assert above(by_name["insert images"], spans) == ["POST /images"]
    assert {by_name[name].service for name in (FETCH, "download", "GET", "recognise", FETCHED)} == {"bowerbird-fetcher"}
    assert by_name["store images"].service == "bowerbird-storer"
    get = by_name["GET"]
    assert get.attributes["url.full"] == origin.url("/a.png") + "?…", "signed URLs have their secrets there"
    assert get.events == ["connecting", "connected"]
    # The correlation id, which is in logs, and the trace name each other.
    conversation = by_name[STORE].attributes["messaging.message.conversation_id"]
    assert conversation.startswith(f"{picture['id']}.")
    assert conversation == by_name[REQUESTED].attributes["messaging.message.conversation_id"]
    assert not any(span.failed for span in spans)
    assert "traceparent" not in {name.lower() for name in origin.requests[0].headers}, "an origin learns of no trace"


async def test_the_attempts_of_an_image_are_one_trace(up: Up, collector: Collector, client: httpx.AsyncClient, origin: Origin) -> None:
    found = await submit(client, origin.on("/a.png", sequence(status(503), body(image("PNG"), "image/png"))))
    assert found["status"] == "stored"
    delay = "publish fetcher.download-requested.in-300ms"
    spans = await collector.traced(ours, *ALL, FETCH, delay, "download", "GET", "process storer.download-delayed", "note failures")
    first, second = sorted((span for span in spans if span.name == FETCH), key=lambda span: span.attributes["messaging.message.id"])
    [store] = [span for span in spans if span.name == STORE]
    assert above(first, spans) == [REQUESTED, "POST /images"]
    assert above(second, spans) == [delay, FETCH, REQUESTED, "POST /images"]
    assert above(store, spans) == [FETCHED, FETCH, delay, FETCH, REQUESTED, "POST /images"]
    downloads = {span.parent: span for span in spans if span.name == "download"}
    assert (downloads[first.id].failed, downloads[first.id].attributes["error.type"]) == (True, "http_status")
    assert not downloads[second.id].failed
    assert not first.failed, "the message was handled as it should be"
    logs = "".join(log.read_text() for log in up.output.parent.rglob("logs/fetcher*.log"))
    line = re.search(r".*a download failed.*", logs)
    assert line
    assert TRACE in line[0], "a line of log names its trace"


async def test_the_images_of_a_page_are_traces_that_link_to_its_own(collector: Collector, client: httpx.AsyncClient, origin: Origin) -> None:
    for name in "ab":
        origin.on(f"/{name}.png", body(image("PNG"), "image/png"))
    found = await submit(client, origin.on("/page", body(b"<!DOCTYPE html><img src=/a.png><img src=/b.png>", "text/html")))
    assert found["status"] == "expanded"
    page = await collector.traced(ours, "process storer.page-scanned", "scan the page")
    [scanned] = [span for span in page if span.name == "process storer.page-scanned"]

    def of_page(span: Seen) -> bool:
        return (TRACE, scanned.id) in span.links

    first = await collector.traced(of_page, *ALL[2:-1])
    second = await collector.traced(lambda span: of_page(span) and span.trace != first[0].trace, *ALL[2:-1])
    for trace in (first, second):
        [begun] = [span for span in trace if not span.parent]
        assert begun.name == REQUESTED


async def test_a_callback_is_part_of_the_trace_and_carries_it_on(collector: Collector, client: httpx.AsyncClient, origin: Origin) -> None:
    async with Receiver("127.77.0.2") as receiver:
        await submit(client, origin.on("/a.png", body(image("PNG"), "image/png")), callback_url=receiver.url)
        [call] = await receiver.calls(1)
        spans = await collector.traced(ours, *ALL, CALLBACK, "process fetcher.callback-requested", "POST", "process storer.callback-attempted")
        [asked] = [span for span in spans if span.name == "process fetcher.callback-requested"]
        assert above(asked, spans)[:2] == [CALLBACK, STORE]
        assert call.headers["traceparent"] == f"00-{TRACE}-{asked.id}-01"


async def test_the_images_of_a_batch_link_to_its_trace_and_its_callback_is_in_it(
    collector: Collector, client: httpx.AsyncClient, origin: Origin
) -> None:
    urls = [origin.on(f"/{number}.png", body(image("PNG", seed=number), "image/png")) for number in range(3)]
    async with Receiver("127.77.0.2") as receiver:
        answer = await client.post("/batches", json={"urls": urls, "callback_url": receiver.url}, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        assert answer.status_code == 202, answer.text
        [call] = await receiver.calls(1)
    spans = await collector.traced(ours, "POST /batches", CALLBACK, "process fetcher.callback-requested")
    [post] = [span for span in spans if span.name == "POST /batches"]
    [asked] = [span for span in spans if span.name == "process fetcher.callback-requested"]
    assert above(asked, spans) == [CALLBACK, "POST /batches"]
    assert call.headers["traceparent"] == f"00-{TRACE}-{asked.id}-01"

    async def begun() -> bool:
        found = [span for span in list(collector.spans) if (TRACE, post.id) in span.links]
        return len({span.trace for span in found if span.name == REQUESTED and not span.parent}) == len(urls)

    await until(begun)


async def test_a_collector_that_is_away_costs_no_image_and_few_lines(up: Up, collector: Collector, client: httpx.AsyncClient, origin: Origin) -> None:
    collector.accept = False
    for number in range(50):
        found = await submit(client, origin.on(f"/{number}.png", body(image("PNG", seed=number), "image/png")))
        assert found["status"] == "stored"

    async def complained() -> bool:
        return "doesn't take traces" in up.output.read_text()

    await until(complained, seconds=30)
    began = time.monotonic()
    up.process.terminate()
    up.process.wait(30)
    assert time.monotonic() - began < 15
    output = up.output.read_text()
    # One for each process, of which there are four, and none of the library's own.
    assert 1 <= output.count("doesn't take traces") <= 4
    assert "opentelemetry" not in output
    assert "urllib3" not in output
    assert "Traceback" not in output
