"""The api while RabbitMQ or MongoDB can't be reached, by way of a gate in front of each that can be shut."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from shared import topology
from tests.api import gate_to, id_of, rabbitmq_says, running_api, taken, through
from tests.polling import until

if TYPE_CHECKING:
    from tests.api import Api

pytestmark = pytest.mark.anyio


async def timed_post(api: Api, url: str) -> tuple[int, float]:
    started = time.monotonic()
    answer = await api.client.post("/images", json={"url": url})
    return answer.status_code, time.monotonic() - started


async def test_it_starts_without_any_server_and_says_so(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(mongo_url) as mongo, gate_to(amqp_url) as rabbit:
        mongo.shut()
        rabbit.shut()
        async with running_api(through(mongo, mongo_url), through(rabbit, amqp_url)) as api:
            assert (await api.client.get("/health/live")).status_code == 200
            ready = await api.client.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["checks"]["rabbitmq"] == "not connected"
            assert ready.json()["checks"]["mongodb"] != "ok"
            await mongo.open()
            await rabbit.open()

            async def accepted() -> bool:
                return (await timed_post(api, "https://example.org/1"))[0] in {202, 409}

            await until(accepted)
            await rabbitmq_says(api, "ok")

            async def delivered() -> bool:
                return id_of("https://example.org/1") in {request.image for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name)}

            await until(delivered)


async def test_with_the_broker_away_urls_are_accepted_fast_and_delivered_when_it_is_back(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        gate.shut()
        answers = await asyncio.gather(*(timed_post(api, f"https://example.org/{number}") for number in range(50)))
        assert {status for status, _ in answers} == {202}
        assert max(seconds for _, seconds in answers) < 1
        await gate.open()
        delivered: set[str] = set()

        async def all_delivered() -> bool:
            delivered.update(request.image for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
            return len(delivered) == 50

        await until(all_delivered, seconds=30, every=0.2)


async def test_a_broker_that_hangs_delays_no_answer(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        gate.hold()
        answers = [await timed_post(api, f"https://example.org/{number}") for number in range(20)]
        gate.release()
        assert {status for status, _ in answers} == {202}
        assert max(seconds for _, seconds in answers) < 1


@pytest.mark.parametrize("how", ["shut", "stuck"])
async def test_with_mongodb_away_the_answer_is_503_in_bounded_time_and_all_is_well_after(mongo_url: str, amqp_url: str, how: str) -> None:
    async with gate_to(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        where = await api.store("https://example.org/stored", b"bytes")
        if how == "shut":
            gate.shut()
        else:
            gate.hold()
        started = time.monotonic()
        answers = await asyncio.gather(
            *(api.client.post("/images", json={"url": f"https://example.org/{number}"}) for number in range(20)),
            api.client.get(where),
            api.client.get(f"{where}/content"),
            api.client.get("/images"),
        )
        assert time.monotonic() - started < 10
        for answer in answers:
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert (await api.client.get("/health/live")).status_code == 200
        ready = await api.client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["mongodb"] == "ok") == (503, False)
        if how == "shut":
            await gate.open()
        else:
            gate.release()

        async def well() -> bool:
            return (await api.client.get(f"{where}/content")).content == b"bytes"

        await until(well)
        assert (await timed_post(api, "https://example.org/new"))[0] == 202
