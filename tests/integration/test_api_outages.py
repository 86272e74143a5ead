"""The api while RabbitMQ or MongoDB can't be reached, by way of a gate in front of each that can be shut."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import pytest

from shared import topology
from tests.api import id_of, running_api, taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.api import Api

pytestmark = pytest.mark.anyio


class Gate:
    """A TCP proxy to a server. Shut, it drops its connections and takes no new ones; stuck, it takes them and passes nothing on."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    def stick(self) -> None:
        self._flowing.clear()

    def unstick(self) -> None:
        self._flowing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._start(self._pass_on(reader, far_writer))
        self._start(self._pass_on(far_reader, writer))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    await self._flowing.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


def through(gate: Gate, url: str) -> str:
    """The URL with the gate's port, and for MongoDB without the discovery that would lead around it."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    netloc = f"{user}{at}127.0.0.1:{gate.port}"
    return parts._replace(netloc=netloc, query="directConnection=true" if parts.scheme == "mongodb" else parts.query).geturl()


async def rabbitmq_says(api: Api, what: str) -> None:
    async def asked() -> bool:
        return bool((await api.client.get("/health/ready")).json()["checks"]["rabbitmq"] == what)

    await until(asked)


async def timed_post(api: Api, url: str) -> tuple[int, float]:
    started = time.monotonic()
    answer = await api.client.post("/images", json={"url": url})
    return answer.status_code, time.monotonic() - started


async def test_it_starts_without_any_server_and_says_so(mongo_url: str, amqp_url: str) -> None:
    async with Gate(mongo_url) as mongo, Gate(amqp_url) as rabbit:
        await mongo.shut()
        await rabbit.shut()
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
    async with Gate(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        await gate.shut()
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
    async with Gate(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        gate.stick()
        answers = [await timed_post(api, f"https://example.org/{number}") for number in range(20)]
        gate.unstick()
        assert {status for status, _ in answers} == {202}
        assert max(seconds for _, seconds in answers) < 1


@pytest.mark.parametrize("how", ["shut", "stuck"])
async def test_with_mongodb_away_the_answer_is_503_in_bounded_time_and_all_is_well_after(mongo_url: str, amqp_url: str, how: str) -> None:
    async with Gate(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        where = await api.store("https://example.org/stored", b"bytes")
        if how == "shut":
            await gate.shut()
        else:
            gate.stick()
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
            gate.unstick()

        async def well() -> bool:
            return (await api.client.get(f"{where}/content")).content == b"bytes"

        await until(well)
        assert (await timed_post(api, "https://example.org/new"))[0] == 202
