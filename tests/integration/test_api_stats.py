"""GET /stats on real servers: what there is, by the cheapest count that is right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared import topology
from shared.census import Census
from shared.dead_letters import read
from shared.errors import BrokerUnavailable, Reason
from shared.events import Envelope, ImageFailed
from shared.status import Status
from tests.api import Api, gate_to, id_of, running_api, through
from tests.integration.test_api_events import stored
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
KEY, WRITE_ONLY = "0123456789abcdef", "fedcba9876543210:write"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await api.parts.publisher.wait()
        yield api


async def test_it_says_what_there_is(api: Api) -> None:
    await api.store("https://example.org/stored", b"x" * 5000)
    await api.expand("https://example.org/page", ["https://example.org/found"])
    for name, reason in (("one", Reason.DNS), ("two", Reason.HTTP_STATUS), ("three", Reason.HTTP_STATUS)):
        await api.client.post("/images", json={"url": f"https://example.org/{name}"})
        await api.failed(id_of(f"https://example.org/{name}"), reason=reason)
    await api.client.post("/images", json={"url": "https://example.org/later"})
    await api.delayed(id_of("https://example.org/later"))
    await api.parts.dead_letters.keep(read(Envelope(None, {}, b"hello", None, None, None)))
    found = (await api.client.get("/stats")).json()
    assert found["images"] == {"queued": 1, "delayed": 1, "stored": 1, "failed": 3, "expanded": 1}
    assert list(found["failures"].items()) == [("http_status", 2), ("dns", 1)]
    assert found["dead_letters"] == 1
    assert 5000 < found["bytes"]["files"] < 6000
    assert found["bytes"]["disk"] > 0
    names = [queue.name for queue in topology.queues(api.parts.settings.retry_delays)]
    assert [queue["name"] for queue in found["queues"]] == names
    assert {queue["consumers"] for queue in found["queues"]} == {0}
    assert datetime.fromisoformat(found["at"]).tzinfo


async def test_queues_say_how_full_they_are(api: Api) -> None:
    for number in range(3):
        await api.client.post("/images", json={"url": f"https://example.org/{number}"})

    async def waiting() -> bool:
        found = (await api.client.get("/stats")).json()["queues"]
        return any(queue["messages"] == 3 for queue in found if queue["name"] == topology.DOWNLOAD_REQUESTED.name)

    await until(waiting)


async def test_rates_are_what_was_heard_lately(api: Api) -> None:
    assert (await api.client.get("/stats")).json()["rate"]["stored_per_second"] == 0
    await api.parts.live.ready(10)
    for number in range(20):
        await api.parts.publisher.publish(stored(str(number)))
    await api.parts.publisher.publish(ImageFailed(image="x", revision=1, reason=Reason.DNS, detail="", failed_at=AT))

    async def rate() -> Any:
        found = (await api.client.get("/stats")).json()["rate"]
        return found if found["stored_per_second"] and found["failed_per_second"] else None

    rates = await until(rate)
    assert 0 < rates["failed_per_second"] < rates["stored_per_second"] <= 20
    assert rates["last_minute"].keys() == {"stored_per_second", "failed_per_second"}


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("most", list(Status))
async def test_counts_are_right_whichever_status_most_images_have(mongo: Mongo, most: Status) -> None:
    census = Census(mongo)
    assert await census.images() == dict.fromkeys(Status, 0)
    wanted = {status: 20 if status is most else number for number, status in enumerate(Status)}
    documents = [{"status": status, "added_at": AT} for status, number in wanted.items() for _ in range(number)]
    await mongo["images"].insert_many([{"_id": str(number), **document} for number, document in enumerate(documents)])
    assert [await census.images() for _ in range(2)] == [wanted] * 2


async def test_counts_need_no_index_that_is_not_there_yet(mongo: Mongo) -> None:
    await mongo["images"].insert_many([{"_id": "a", "status": "queued"}, {"_id": "b", "status": "stored"}])
    assert (await Census(mongo).images())[Status.QUEUED] == 1


@pytest.mark.usefixtures("catalog")
async def test_of_the_failures_the_newest_are_looked_at(mongo: Mongo) -> None:
    at = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 11)]
    await mongo["images"].insert_many(
        [{"_id": str(day), "status": "failed", "added_at": each, "error": {"reason": "dns" if day < 7 else "tls"}} for day, each in enumerate(at)]
    )
    assert await Census(mongo).failures(newest=4) == {"tls": 3, "dns": 1}


@pytest.mark.usefixtures("catalog")
async def test_counting_scans_keys_of_the_others_only(mongo: Mongo) -> None:
    plan = await mongo.database.command("explain", {"count": "images", "query": {"status": "queued"}, "hint": "status"}, verbosity="queryPlanner")
    assert "COUNT_SCAN" in str(plan["queryPlanner"]["winningPlan"])


async def test_without_rabbitmq_there_is_the_rest(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate:
        gate.shut()
        async with running_api(mongo_url, through(gate, amqp_url)) as api:
            found = (await api.client.get("/stats")).json()
            assert found["queues"] == []
            assert found["images"]["stored"] == 0
            with pytest.raises(BrokerUnavailable):
                await api.parts.publisher.depths(["x"])


async def test_without_mongodb_it_is_unavailable(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        gate.shut()
        answer = await api.client.get("/stats")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")


async def test_it_is_only_for_keys_that_can_read(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=(KEY, WRITE_ONLY)) as api:
        for key, status in ((None, 401), (WRITE_ONLY.partition(":")[0], 403), (KEY, 200)):
            answer = await api.client.get("/stats", headers={"Authorization": f"Bearer {key}"} if key else {})
            assert answer.status_code == status
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (await api.client.get("/stats?x=1", headers={"Authorization": f"Bearer {KEY}"})).status_code == 400
