"""GET /metrics on real servers: who may read it, and what it says of the queues and of MongoDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics, vitals
from shared.census import Census
from shared.dead_letters import read
from shared.dispatch import RELAYED_AFTER
from shared.events import Envelope
from shared.vitals import Vitals
from tests.api import Api, gate_to, id_of, rabbitmq_says, running_api, through
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

READER, WRITER = "0123456789abcdef", "fedcba9876543210:write"
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await api.parts.publisher.wait()
        yield api


async def figures(api: Api) -> Figures:
    """What a scrape says, by name and labels."""
    text = (await api.client.get("/metrics")).raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples
    }


def one(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((f"bowerbird_{name}", frozenset(labels.items())))


async def test_it_says_what_waits_and_how_mongodb_is(api: Api) -> None:
    await api.store("https://example.org/stored", b"x" * 5000)
    await api.client.post("/images", json={"url": "https://example.org/queued"})
    await api.parts.dead_letters.keep(read(Envelope(None, {}, b"hello", None, None, None)))

    async def settled() -> Figures | None:
        # Each is counted anew after some seconds of its own.
        found = await figures(api)
        waits: list[float | None] = [one(found, "queue_messages", queue="fetcher.download-requested"), one(found, "relay_backlog_images")]
        return found if [one(found, "images", status="stored"), *waits] == [1, 2, 0] else None

    found = await until(settled)
    assert found
    assert one(found, "images", status="queued") == 1
    assert one(found, "dead_letters") == 1
    assert one(found, "queue_consumers", queue="fetcher.download-requested") == 0
    assert 0 < (one(found, "oldest_queued_image_age_seconds") or 0) < 60
    assert one(found, "broker_connected") == 1
    assert 5000 < (one(found, "files_bytes", measure="content") or 0) < 6000
    assert one(found, "mongodb_members", state="healthy") == 1
    assert one(found, "mongodb_documents", collection="images") == 2
    assert (one(found, "mongodb_collection_bytes", collection="fs.chunks", measure="content") or 0) > 5000
    assert (one(found, "mongodb_operations_total", type="insert") or 0) > 0
    assert (one(found, "mongodb_operation_seconds_total", type="writes") or 0) > 0


async def test_scraping_makes_no_process_listen_to_what_happens(api: Api) -> None:
    for _ in range(3):
        await figures(api)
    assert not api.parts.live.listening
    await api.client.get("/stats")

    async def listening() -> bool:
        return api.parts.live.listening

    await until(listening)


async def test_streams_and_duplicates_are_counted(api: Api) -> None:
    before = metrics.DUPLICATES["image",]._value.get(), metrics.DUPLICATES["batch",]._value.get()
    url = "https://example.org/again"
    for expected in (202, 409):
        assert (await api.client.post("/images", json={"url": url})).status_code == expected
    (await api.client.post("/batches", json={"urls": [url, "https://example.org/new"]})).raise_for_status()
    async with api.client.stream("GET", "/events"):
        assert one(await figures(api), "listeners") == 1
    found = await figures(api)
    assert one(found, "duplicates_refused_total", submission="image") == before[0] + 1
    assert one(found, "duplicates_refused_total", submission="batch") == before[1] + 1


async def test_requests_are_counted_by_their_routes(api: Api) -> None:
    before = await figures(api)
    place = await api.store("https://example.org/a", b"x" * 5000)
    await api.client.get(f"{place}/content")
    await api.client.get("/images/unknown")
    await api.client.get("/no/such/place")
    found = await figures(api)

    def more(name: str, **labels: str) -> float:
        return (one(found, name, **labels) or 0) - (one(before, name, **labels) or 0)

    assert more("requests_total", path="/images/{image}/content", method="GET", status="2xx") == 1
    assert more("requests_total", path="/images", method="POST", status="2xx") == 1
    assert more("requests_total", path="/images/{image}", method="GET", status="4xx") == 1
    assert more("requests_total", path="none", method="GET", status="4xx") == 1
    assert more("served_bytes_total", path="/images/{image}/content") == 5000
    assert more("request_duration_seconds_count", path="/images/{image}") == 1


async def test_what_the_relay_sends_is_counted(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate:
        gate.shut()
        async with running_api(mongo_url, through(gate, amqp_url)) as api:
            before = one(await figures(api), "relayed_total") or 0
            for number in range(3):
                await api.client.post("/images", json={"url": f"https://example.org/{number}"})

            async def backlog() -> bool:
                return one(await figures(api), "relay_backlog_images") == 3

            await until(backlog)
            await gate.open()

            async def relayed() -> bool:
                return (one(await figures(api), "relayed_total") or 0) - before == 3

            await until(relayed)


async def test_without_keys_it_is_for_this_machine_alone(mongo_url: str, amqp_url: str, api: Api) -> None:
    assert (await api.client.get("/metrics")).headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (await api.client.head("/metrics")).status_code == 200
    assert (await api.client.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})).status_code == 403
    assert (await api.client.get("/metrics?x=1")).status_code == 400
    async with running_api(mongo_url, amqp_url, host="0.0.0.0", allow_anonymous=True) as public:
        assert (await public.client.get("/stats")).status_code == 200
        assert (await public.client.get("/metrics")).status_code == 403


async def test_with_keys_it_takes_one_that_can_read(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=(READER, WRITER)) as api:
        for key, status in ((None, 401), (READER, 200), (WRITER.removesuffix(":write"), 403)):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            assert (await api.client.get("/metrics", headers=headers)).status_code == status


async def test_while_servers_are_away_it_answers_without_what_they_know(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(mongo_url) as mongodb, gate_to(amqp_url) as rabbitmq:
        async with running_api(through(mongodb, mongo_url), through(rabbitmq, amqp_url)) as api:
            await rabbitmq_says(api, "ok")
            rabbitmq.shut()
            await rabbitmq_says(api, "not connected")
            assert one(await figures(api), "broker_connected") == 0
            assert one(await figures(api), "dead_letters") == 0
        mongodb.shut()
        async with running_api(through(mongodb, mongo_url), amqp_url) as api:
            await api.parts.publisher.wait()

            async def without_mongodb() -> bool:
                found = await figures(api)
                return one(found, "dead_letters") is None and one(found, "queue_messages", queue="dead-letters") is not None

            await until(without_mongodb)


async def test_the_oldest_queued_image_is_the_one_that_was_asked_for_first(api: Api, mongo: Mongo) -> None:
    census, at = Census(mongo), datetime(2026, 1, 2, tzinfo=UTC)
    assert await census.oldest_queued() is None
    for number in range(3):
        url = f"https://example.org/{number}"
        await api.client.post("/images", json={"url": url})
        await mongo["images"].update_one({"_id": id_of(url)}, {"$set": {"requested_at": at + timedelta(hours=number)}})
    assert await census.oldest_queued() == at
    await api.failed(id_of("https://example.org/0"))
    assert await census.oldest_queued() == at + timedelta(hours=1)


async def test_the_backlog_is_counted_up_to_a_limit(mongo: Mongo) -> None:
    census = Census(mongo)
    at = datetime.now(UTC)
    fresh = {"_id": "a dispatcher's yet", "requested_at": at, "dispatched": False}
    left = [{"_id": str(number), "requested_at": at - 2 * RELAYED_AFTER, "dispatched": False} for number in range(5)]
    await mongo["images"].insert_many([*left, fresh, {"_id": "dispatched", "requested_at": at}])
    assert await census.undispatched() == 5
    assert await census.undispatched(most=3) == 3


async def test_every_collection_has_a_size_also_before_there_is_anything(mongo: Mongo) -> None:
    sizes = await Vitals(mongo).sizes()
    assert set(sizes) == set(vitals.COLLECTIONS)
    assert {each.documents for each in sizes.values()} == {0}
    server = await Vitals(mongo).server()
    assert server.oplog_seconds >= 0
    assert await Vitals(mongo).members() == vitals.Members(healthy=1, unhealthy=0, lag_seconds=0)
    assert set(server.cache_bytes) == {"used", "dirty", "limit"}
