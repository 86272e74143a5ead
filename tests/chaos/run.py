"""One chaos run: load, faults from a seed, and the invariants, checked from outside."""

from __future__ import annotations

import asyncio
import random
import time

from tests.chaos import leftovers
from tests.chaos.checks import Checks
from tests.chaos.clients import Clients
from tests.chaos.faults import Faults
from tests.chaos.plan import Plan
from tests.chaos.report import Report
from tests.chaos.told import Told
from tests.chaos.world import World  # noqa: TC001  (as its neighbours)


async def run(made: World, *, seed: int, images: int, seconds: float) -> Report:
    """Submits, breaks, waits, checks. Everything that is left to chance comes from the seed; when exactly things meet is the machine's."""
    plan = Plan(made.origin, images, random.Random(seed))
    report = Report(seed=seed, submitted=plan.submitted)
    told = Told(made.receiver, report, random.Random(f"{seed} told"))
    clients = Clients(made.base, plan, report, seconds=seconds, callback=made.receiver.url)
    checks = Checks(made.base, plan, clients, told, report)
    faults = Faults(made, report, random.Random(seed))
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        repeating = group.create_task(faults.repeat_messages())
        asking = group.create_task(clients.run())
        await faults.inject(seconds)
        await asking
        broken_until = time.monotonic()
        await checks.until_settled()
        report.settled_after_last_fault = round(time.monotonic() - broken_until, 1)
        repeating.cancel()
    await clients.leave()
    await checks.check()
    await leftovers.check_queues(made, report)
    await leftovers.check_database(made, report)
    report.duration = round(time.monotonic() - started, 1)
    return report
