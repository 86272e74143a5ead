"""What is broken in a chaos run, in an order that the seed gives."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aio_pika

from shared import topology
from tests.chaos.world import World, until_ready

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from tests.chaos.report import Report

DUPLICATED = 0.03
RECOVER_SECONDS = 90.0

Fault = tuple[str, "Callable[[], Awaitable[Any]]"]


class Faults:
    """Injects faults, one after the other."""

    def __init__(self, made: World, report: Report, chance: random.Random) -> None:
        self._world = made
        self._report = report
        self._chance = chance

    async def inject(self, seconds: float) -> None:
        """One fault after the other for a time, waiting each time until the api says that everything is there again."""
        started = time.monotonic()
        faults = self._schedule()
        while time.monotonic() - started < seconds:
            name, fault = next(faults)
            self._report.faults[name] += 1
            injected = time.monotonic()
            await fault()
            await until_ready(self._world, seconds=RECOVER_SECONDS)
            took = time.monotonic() - injected
            if took > self._report.longest_recovery:
                self._report.longest_recovery, self._report.longest_recovery_after = round(took, 1), name
            await asyncio.sleep(self._chance.uniform(0, 1.5))

    async def repeat_messages(self) -> None:
        """Reads along on the exchange and publishes some messages a second time, as a broker or a publisher may; until cancelled."""
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
                                self._report.repeated_messages += 1
            await asyncio.sleep(0.5)

    def _schedule(self) -> Iterator[Fault]:
        """Each fault once in an order of chance, again and again: even a short run meets every kind."""
        faults = self._all()
        while True:
            self._chance.shuffle(faults)
            yield from faults

    def _all(self) -> list[Fault]:
        here, chance = self._world, self._chance
        faults: list[Fault] = [
            ("kill -9 RabbitMQ", lambda: here.kill_broker(chance.uniform(0, 5))),
            ("kill -9 MongoDB", lambda: here.kill_database(chance.uniform(0, 5))),
            ("cut connections to RabbitMQ", lambda: _done(here.amqp.cut())),
            ("cut connections to MongoDB", lambda: _done(here.mongo.cut())),
            ("delay RabbitMQ", lambda: here.slow(here.amqp, chance.uniform(1, 3))),
            ("delay MongoDB", lambda: here.slow(here.mongo, chance.uniform(1, 3))),
            ("memory alarm in RabbitMQ", lambda: here.memory_alarm(chance.uniform(1, 4))),
        ]
        for service in ("api", "fetcher", "storer"):
            faults.append((f"kill -9 {service}", lambda service=service: here.kill_service(service, chance)))  # type: ignore[misc]
            faults.append((f"restart {service}", lambda service=service: here.restart_service(service, chance)))  # type: ignore[misc]
        return faults


async def _done(_: object) -> None:
    return None
