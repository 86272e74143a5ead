"""shared/metrics.py and shared/exposition.py: what is measured, and who may ask for it how."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from services.api.monitoring.figures import Figures
from services.api.monitoring.metering import Metered
from services.fetcher.hosts import BREAKER_FAILURES, BREAKER_SECONDS, Hosts
from services.local.errors import StartError
from services.local.up import metrics_ports
from shared import exposition, metrics, vitals
from shared.errors import Reason, SettingsError, StoreUnavailable, TransientError
from shared.events import DownloadRequested
from shared.settings import Settings
from tests.redelivery import fetched

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, tzinfo=UTC)


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


async def asked(port: int, request: bytes) -> tuple[str, str]:
    """The head and the body of an answer; of a connection that is closed instead, nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head, body


def test_what_a_block_takes_is_observed_whether_it_succeeds_or_fails() -> None:
    name = "bowerbird_recognise_duration_seconds_count"
    before = value(name, status="success"), value(name, status="error")
    with metrics.Timed(metrics.RECOGNISED):
        pass
    with pytest.raises(ValueError), metrics.Timed(metrics.RECOGNISED):
        raise ValueError
    assert (value(name, status="success"), value(name, status="error")) == (before[0] + 1, before[1] + 1)


async def test_a_batch_counts_once_with_its_items_and_its_error_passes() -> None:
    async def write(items: list[int]) -> int:
        if not items:
            raise StoreUnavailable("away")
        return sum(items)

    measured = metrics.batched("test", write)
    assert await measured([1, 2, 3]) == 6
    with pytest.raises(StoreUnavailable):
        await measured([])
    assert (value("bowerbird_batch_items_count", batch="test"), value("bowerbird_batch_items_sum", batch="test")) == (2, 3)
    assert value("bowerbird_batch_duration_seconds_count", batch="test", status="error") == 1


@pytest.mark.parametrize(
    ("since", "sum_", "count"),
    [
        (timedelta(seconds=-90), 90, 1),
        (timedelta(seconds=90), 0, 1),  # of a clock that is ahead
        (None, 0, 0),
    ],
)
def test_a_queue_wait_is_from_the_event_to_now(since: timedelta | None, sum_: float, count: int) -> None:
    queue = f"test.{since}"
    metrics.waited(queue, datetime.now(UTC) + since if since else None)
    assert value("bowerbird_queue_wait_seconds_count", queue=queue) == count
    assert value("bowerbird_queue_wait_seconds_sum", queue=queue) == pytest.approx(sum_, abs=1)


@pytest.mark.parametrize("since", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59)])  # noqa: DTZ001  (what a message may have)
def test_a_time_without_a_zone_is_no_time(since: datetime) -> None:
    metrics.waited("test.naive", since)
    assert value("bowerbird_queue_wait_seconds_count", queue="test.naive") == 0


def test_a_message_that_was_to_wait_has_no_time_since_when_it_waits() -> None:
    request = DownloadRequested(image="a", revision=1, url="http://a/", requested_at=AT)
    assert request.since == AT
    assert DownloadRequested(image="a", revision=1, attempt=2, url="http://a/", requested_at=AT).since is None
    assert DownloadRequested(image="a", revision=1, url="http://a/", requested_at=AT, not_before=AT).since is None
    event = fetched("a", content=b"x")
    assert event.since == event.fetched_at


@pytest.mark.parametrize(
    ("template", "method", "expected"),
    [
        ("/images/{image}", "GET", ("/images/{image}", "GET")),
        ("", "GET", ("none", "GET")),
        (None, "PROPFIND", ("none", "other")),
    ],
)
async def test_a_request_is_counted_by_its_route_and_nothing_that_a_stranger_chose(
    template: str | None, method: str, expected: tuple[str, str]
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"method": method, "path": "/images/secret"} | ({} if template is None else {"path_template": template})
    metered = Metered(scope, send)
    path, counted_as = expected
    before = value("bowerbird_requests_total", path=path, method=counted_as, status="4xx"), value("bowerbird_served_bytes_total", path=path)
    messages: list[Any] = [{"type": "http.response.start", "status": 404, "headers": []}, {"type": "http.response.body", "body": b"four"}]
    for message in messages:
        await metered(message)
    assert sent == messages
    assert value("bowerbird_requests_total", path=path, method=counted_as, status="4xx") == before[0] + 1
    assert value("bowerbird_served_bytes_total", path=path) == before[1] + 4
    assert "secret" not in (await exposition.text()).decode()


async def test_open_breakers_are_those_that_hold_attempts_back_now() -> None:
    now = [1000.0]
    hosts = Hosts(1, clock=lambda: now[0])
    for name in ("down", "up"):
        for _ in range(BREAKER_FAILURES):
            with pytest.raises(TransientError):
                async with hosts[name].turn(last=True):
                    raise TransientError(Reason.CONNECT, "no")
    assert hosts.open_breakers() == 2
    async with hosts["up"].turn(last=True):
        pass
    assert hosts.open_breakers() == 1
    now[0] += BREAKER_SECONDS
    assert hosts.open_breakers() == 0


async def test_metrics_are_shown_on_a_port_of_their_own_if_it_is_set(port: int) -> None:
    async with exposition.exposing(Settings(metrics_port=port)):
        head, body = await asked(port, b"GET /metrics?x=y HTTP/1.1\r\nHost: here\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {len(body)}" in head
        assert {"bowerbird_relayed", "process_cpu_seconds"} <= {family.name for family in text_string_to_metric_families(body)}
        assert (await asked(port, b"HEAD /metrics HTTP/1.0\r\n\r\n"))[1] == ""
    with pytest.raises(OSError, match="Connect"):
        await asked(port, b"")
    assert value("process_cpu_seconds_total") == 0
    async with exposition.exposing(Settings()):
        pass


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404"), (b"GET /metrics/ HTTP/1.1\r\n\r\n", "404"), (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\r\n\r\n", "404"), (b"GET\r\n\r\n", "404"), (b"\xff\x00 \xff\r\n\r\n", "404"), (b"G" * 20_000, ""), (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, ""),
    ],
)  # fmt: skip
async def test_what_is_no_scrape_is_refused_and_the_next_one_is_answered(port: int, request_: bytes, status: str) -> None:
    async with exposition.exposing(Settings(metrics_port=port)):
        head, _ = await asked(port, request_)
        assert head.partition(" ")[2][:3] == status
        assert (await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0].startswith("HTTP/1.1 200")


async def test_who_says_nothing_takes_no_place_for_long_and_others_wait_for_none(port: int) -> None:
    async with exposition.exposing(Settings(metrics_port=port), seconds=0.3):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(exposition.AT_ONCE)]
        began = time.monotonic()
        assert await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n") == ("", "")
        assert time.monotonic() - began < 0.2
        for reader, writer in idle:
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert (await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0].startswith("HTTP/1.1 200")


async def test_a_port_that_is_taken_stops_the_start_and_is_named(port: int) -> None:
    async with exposition.exposing(Settings(metrics_port=port)):
        with pytest.raises(SettingsError, match=f"127.0.0.1 port {port}.*BOWERBIRD_METRICS_PORT"):
            async with exposition.exposing(Settings(metrics_port=port)):
                pass
    with pytest.raises(SettingsError, match=r"nowhere\.invalid port"):
        async with exposition.exposing(Settings(metrics_port=port, metrics_host="nowhere.invalid")):
            pass


class Told:
    """Figures that a test decides about."""

    def __init__(self, refresh: Any) -> None:
        self.refresh = refresh

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("bowerbird_told", "Told.", value=1)


async def test_figures_that_fail_or_take_too_long_hold_no_scrape_up(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("unforeseen")

    async def hang() -> None:
        await asyncio.Event().wait()

    with exposition.showing(Told(fail)):
        assert b"bowerbird_told 1" in await exposition.text()
    assert "some metrics are missing" in caplog.text
    with exposition.showing(Told(hang)):
        assert b"bowerbird_told 1" in await exposition.text(seconds=0.05)
    assert b"bowerbird_told" not in await exposition.text()


async def test_what_cannot_be_found_out_is_left_out_and_the_rest_is_there() -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            async def ask() -> Any:
                if name == "queues":
                    return []
                if name == "members":
                    return vitals.Members(healthy=1, unhealthy=2, lag_seconds=3)
                raise StoreUnavailable(name)

            return ask

    away: Any = Away()
    figures = Figures(away, away)
    await figures.refresh()
    shown = {sample.name: sample.value for family in figures.collect() for sample in family.samples if sample.labels.get("state") != "healthy"}
    assert shown == {"bowerbird_mongodb_members": 2, "bowerbird_mongodb_replication_lag_seconds": 3}


def member(state: int, seconds: float, health: float = 1.0) -> dict[str, Any]:
    return {"state": state, "health": health, "optimeDate": AT - timedelta(seconds=seconds)}


def test_the_lag_is_that_of_the_last_healthy_member() -> None:
    found = vitals.members([member(1, 0), member(2, 7), member(2, 2), member(8, 500, health=0.0), {"state": 7, "health": 1.0}])
    assert found == vitals.Members(healthy=3, unhealthy=2, lag_seconds=7)
    assert vitals.members([member(1, 3), member(2, 0)]).lag_seconds == 0
    with pytest.raises(StoreUnavailable):
        vitals.members([member(2, 0)])


def test_up_gives_every_process_a_port_of_its_own() -> None:
    assert metrics_ports(Settings(storers=1, fetchers=2, apis=1)) == [{}] * 4
    ports = metrics_ports(Settings(storers=1, fetchers=2, apis=1, metrics_port=9100))
    assert ports == [{"BOWERBIRD_METRICS_PORT": str(port)} for port in (9100, 9101, 9102, 9103)]
    assert metrics_ports(Settings(storers=1, fetchers=1, apis=1, metrics_port=65533))
    with pytest.raises(StartError, match="65534"):
        metrics_ports(Settings(storers=1, fetchers=1, apis=1, metrics_port=65534))
