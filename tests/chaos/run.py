"""One chaos run: load, faults from a seed, and the invariants, checked from outside."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import aio_pika
import httpx
import msgspec

from services.storer.housekeeping import Housekeeping
from shared import topology
from shared.blobs import Blobs
from shared.dead_letters import DeadLetters
from shared.mongo import Mongo
from tests.chaos.world import World, publish_images, until_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SUBMITTERS = 8
BURST = 5
DUPLICATED = 0.03
SETTLED = {"stored", "failed"}
SETTLE_SECONDS = 240.0
RECOVER_SECONDS = 90.0


class Report(msgspec.Struct, kw_only=True):
    """What happened. Times are in seconds."""

    seed: int
    images: int
    faults: dict[str, int] = {}
    posts: int = 0
    refused: dict[str, int] = {}
    accepted: int = 0
    stored: int = 0
    failed: int = 0
    lost: int = 0
    duplicated: int = 0
    repeated_messages: int = 0
    longest_recovery: float = 0.0
    longest_recovery_after: str = ""
    settled_after_last_fault: float = 0.0
    duration: float = 0.0
    violations: list[str] = []


class Run:
    """A run. Everything that is left to chance comes from the seed; when exactly things meet is the machine's."""

    def __init__(self, made: World, *, seed: int, images: int, seconds: float) -> None:
        self._world = made
        self._chance = random.Random(seed)
        self._seconds = seconds
        self._expected = publish_images(made.origin, images, random.Random(seed))
        self._accepted: dict[str, str] = {}
        self._faults: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self.report = Report(seed=seed, images=images)

    async def run(self) -> Report:
        """Submits, breaks, waits, checks."""
        started = time.monotonic()
        repeating = asyncio.create_task(self._repeat_messages())
        submitting = asyncio.create_task(self._submit_all())
        await self._break_things(started)
        await submitting
        broken_until = time.monotonic()
        await self._until_settled()
        self.report.settled_after_last_fault = round(time.monotonic() - broken_until, 1)
        repeating.cancel()
        await asyncio.gather(repeating, return_exceptions=True)
        await self._check()
        self.report.faults = dict(sorted(self._faults.items()))
        self.report.refused = dict(self._refused)
        self.report.duration = round(time.monotonic() - started, 1)
        return self.report

    # Load

    async def _submit_all(self) -> None:
        urls = list(self._expected)
        self._chance.shuffle(urls)
        # Spread over three quarters of the time, so that faults meet work and the last ones meet stragglers.
        pause = 0.75 * self._seconds * SUBMITTERS / len(urls)
        await asyncio.gather(
            *(self._submit(urls[start::SUBMITTERS], pause, random.Random(f"{self.report.seed} {start}")) for start in range(SUBMITTERS))
        )

    async def _submit(self, urls: list[str], pause: float, chance: random.Random) -> None:
        async with httpx.AsyncClient(base_url=self._world.base, trust_env=False, timeout=10) as client:
            # In bursts at times of their own, so that faults meet requests under way.
            await asyncio.sleep(BURST * pause * chance.random())
            for start in range(0, len(urls), BURST):
                for url in urls[start : start + BURST]:
                    await self._post(client, url)
                await asyncio.sleep(BURST * pause * chance.uniform(0, 2))

    async def _post(self, client: httpx.AsyncClient, url: str) -> None:
        """As a client would: again after a 503 or a broken connection, until it is accepted or known."""
        while True:
            self.report.posts += 1
            try:
                answer = await client.post("/images", json={"url": url})
            except httpx.TransportError as error:
                self._refused[type(error).__name__] += 1
            else:
                if answer.status_code == httpx.codes.ACCEPTED:
                    self._accepted[url] = answer.headers["location"]
                    return
                if answer.status_code == httpx.codes.CONFLICT:  # the one whose answer got lost
                    self._accepted[url] = answer.json()["image"]
                    return
                self._refused[str(answer.status_code)] += 1
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    self.report.violations.append(f"POST answered {answer.status_code}: {answer.text[:200]}")
                    return
            await asyncio.sleep(0.2)

    # Faults

    async def _break_things(self, started: float) -> None:
        faults = self._schedule()
        while time.monotonic() - started < self._seconds:
            name = next(faults)
            self._faults[name] += 1
            injected = time.monotonic()
            await self._fault(name)()
            await until_ready(self._world, seconds=RECOVER_SECONDS)
            took = time.monotonic() - injected
            if took > self.report.longest_recovery:
                self.report.longest_recovery, self.report.longest_recovery_after = round(took, 1), name
            await asyncio.sleep(self._chance.uniform(0, 1.5))

    def _schedule(self) -> Any:
        """Each fault once in an order of chance, again and again: even a short run meets every kind."""
        names = list(self._faults_by_name())
        while True:
            self._chance.shuffle(names)
            yield from names

    def _fault(self, name: str) -> Callable[[], Awaitable[Any]]:
        return self._faults_by_name()[name]

    def _faults_by_name(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        here, chance = self._world, self._chance
        faults: dict[str, Callable[[], Awaitable[Any]]] = {
            "kill -9 RabbitMQ": lambda: here.kill_broker(chance.uniform(0, 5)),
            "kill -9 MongoDB": lambda: here.kill_database(chance.uniform(0, 5)),
            "cut connections to RabbitMQ": lambda: _done(here.amqp.cut()),
            "cut connections to MongoDB": lambda: _done(here.mongo.cut()),
            "delay RabbitMQ": lambda: here.slow(here.amqp, chance.uniform(1, 3)),
            "delay MongoDB": lambda: here.slow(here.mongo, chance.uniform(1, 3)),
            "memory alarm in RabbitMQ": lambda: here.memory_alarm(chance.uniform(1, 4)),
        }
        for service in ("api", "fetcher", "storer"):
            faults[f"kill -9 {service}"] = lambda service=service: here.kill_service(service, chance)  # type: ignore[misc]
            faults[f"restart {service}"] = lambda service=service: here.restart_service(service, chance)  # type: ignore[misc]
        return faults

    async def _repeat_messages(self) -> None:
        """Reads along on the exchange and publishes some messages a second time, as a broker or a publisher may."""
        while True:
            with suppress(aio_pika.exceptions.AMQPError, OSError, RuntimeError, TimeoutError):
                async with await aio_pika.connect(self._world.rabbitmq.amqp_url) as connection:
                    channel = await connection.channel()
                    exchange = await channel.get_exchange(topology.EXCHANGE)
                    queue = await channel.declare_queue(exclusive=True)
                    await queue.bind(exchange, "#")
                    async with queue.iterator(no_ack=True) as messages:
                        async for message in messages:
                            if not message.headers.get("repeated") and self._chance.random() < DUPLICATED:
                                message.headers["repeated"] = True
                                await exchange.publish(message, message.routing_key or "")
                                self.report.repeated_messages += 1
            await asyncio.sleep(0.5)

    # Invariants

    async def _until_settled(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                images = await self._every_image()
                if images and all(found["status"] in SETTLED for found in images):
                    return
            await asyncio.sleep(1)

    async def _every_image(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        address = "/images?limit=500"
        async with httpx.AsyncClient(base_url=self._world.base, trust_env=False, timeout=30) as client:
            while address:
                answer = (await client.get(address)).raise_for_status().json()
                found += answer["items"]
                address = answer["next"]
        return found

    async def _check(self) -> None:
        report, images = self.report, await self._every_image()
        by_url = {found["source_url"]: found for found in images}
        report.accepted = len(self._accepted)
        report.stored = sum(found["status"] == "stored" for found in images)
        report.failed = sum(found["status"] == "failed" for found in images)
        report.duplicated = len(images) - len(by_url)
        async with httpx.AsyncClient(base_url=self._world.base, trust_env=False, timeout=30) as client:
            for url, location in self._accepted.items():
                problem = await self._check_image(client, url, by_url.get(url))
                if problem:
                    report.lost += 1
                    report.violations.append(f"{url} ({location}): {problem}")
        await self._check_queues()
        await self._check_database()

    async def _check_image(self, client: httpx.AsyncClient, url: str, found: dict[str, Any] | None) -> str | None:
        expected = self._expected[url]
        if found is None:
            return "accepted, but not in the list"
        if found["status"] not in SETTLED:
            return f"still {found['status']}"
        if expected is None:
            return None if found["status"] == "failed" and found["error"]["reason"] == "http_status" else f"should have failed: {found}"
        if found["status"] != "stored":
            return f"should have been stored: {found['error']}, {found['attempts']}"
        content = (await client.get(found["stored_url"])).raise_for_status().content
        if hashlib.sha256(content).hexdigest() != expected:
            return "stored with other bytes"
        made = [(datetime.fromisoformat(attempt["at"]), attempt["took_ms"], attempt["reason"]) for attempt in found["attempts"]]
        # A message that was published twice can make two attempts in the same millisecond, but one attempt is told of once.
        in_order = [at for at, _, _ in made] == sorted(at for at, _, _ in made)
        return None if in_order and len(set(made)) == len(made) else f"attempts doubled or out of order in the history: {found['attempts']}"

    async def _check_queues(self) -> None:
        management = self._world.rabbitmq.management_url.replace("http://", "http://guest:guest@")
        deadline = time.monotonic() + 30
        async with httpx.AsyncClient(base_url=management, trust_env=False, timeout=30) as client:
            while True:
                queues = (await client.get("api/queues/%2F")).raise_for_status().json()
                left = {queue["name"]: queue.get("messages", 0) for queue in queues if queue.get("messages", 0)}
                # The management API's numbers are a few seconds old.
                if not left or time.monotonic() > deadline:
                    break
                await asyncio.sleep(1)
        self.report.violations += [f"{count} messages left in {name}" for name, count in left.items()]

    async def _check_database(self) -> None:
        at_once = timedelta(seconds=-1)
        mongo = Mongo(self._world.mongo_url, timeout=30)
        try:
            dead_letters = DeadLetters(mongo, Blobs(mongo))
            sweeping = Housekeeping(mongo, dead_letters, unreferenced_for=at_once, orphaned_for=at_once)
            await sweeping.sweep()
            await sweeping.sweep()
            dead = await mongo["dead_letters"].count_documents({})
            files = {file["_id"] async for file in mongo["fs.files"].find({}, {"_id": 1})}
            hashes = [file["metadata"].get("sha256") async for file in mongo["fs.files"].find({}, {"metadata.sha256": 1})]
            chunks = set(await mongo["fs.chunks"].distinct("files_id"))
            referred = set(await mongo["images"].distinct("file") + await mongo["images"].distinct("versions.file")) - {None}
        finally:
            mongo.close()
        report = self.report
        report.duplicated += len(hashes) - len(set(hashes))
        checks = {
            "dead letters": dead,
            "chunks without a file after housekeeping": len(chunks - files),
            "files without chunks": len(files - chunks),
            "files without a reference after housekeeping": len(files - referred),
            "references to no file": len(referred - files),
        }
        report.violations += [f"{count} {what}" for what, count in checks.items() if count]


async def _done(_: object) -> None:
    return None
