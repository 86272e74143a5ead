"""From POST to stored: the project, its peers and the machine's own limit in turns, so that all of them meet the same machine."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from typing import TYPE_CHECKING

from bench import limits, machine, peers
from bench.load import load, request
from bench.measure import Section, Table, ratios
from bench.peers import Peers
from bench.world import default_processes, project, room, shown

if TYPE_CHECKING:
    from bench.origin import Origin
    from bench.world import Project, Room, World

NAME = "end-to-end"
TITLE = "End to end: POST accepted to stored"
GOAL_SIZE = "80 KB"
CONNECTIONS = 32
SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Post:
    """The request that submits image `number`."""

    origin: Origin
    size: str

    def __call__(self, number: int) -> bytes:
        """As it is sent."""
        return request("POST", "/images", b'{"url": "%s"}' % self.origin.url(self.size, number).encode())


def stock(*, quick: bool) -> dict[str, int]:
    """How many images of each size."""
    return {GOAL_SIZE: 400} if quick else {GOAL_SIZE: 6000, "6 KB": 6000, "500 KB": 1500}


async def measure(world: World) -> Section:
    """Every size; the goals are for 80 KB."""
    section = Section(name=NAME, title=TITLE)
    others = Peers(world.data)
    if not world.quick:
        await others.install(world.say)
    if not others.installed:
        section.skipped["peers"] = "the quick form doesn't install them; a whole run does"
    for size in stock(quick=world.quick):
        async with room(world.servers) as where, project(world, where) as running:
            await _measure_size(section, world, where, running, size, others if others.installed else None)
            for name, peak in running.peak_memory().items():
                section.add(f"{size}: peak memory of a {name}", "MiB", [peak], how="VmHWM with its helpers, at the end of all runs")
    section.notes.append(f"The project ran as `bowerbird up` starts it here: {shown(default_processes())}.")
    section.notes.append(
        "img2dataset and Scrapy write plain files, with no queue, no status and no fsync; the project's writes are durable throughout."
    )
    return section


async def _measure_size(section: Section, world: World, where: Room, running: Project, size: str, others: Peers | None) -> None:
    count = world.origin.stock[size]
    ours: list[float] = []
    peer: dict[str, list[float]] = {name: [] for name in peers.COMMANDS} if others else {}
    alone: dict[str, list[float]] = {"download": [], "publish": [], "insert": []}
    cpu: dict[str, float] = {}
    for number in world.rounds:
        rate, cpu = await store(world, where, running, size, count)
        found = await others.measure([world.origin.url(size, image) for image in range(count)], world.folder) if others else {}
        bare = await limits.measure(world.origin, where, size, count, sum(default_processes().values()))
        said = ", ".join(f"{name} {value:,.0f}" for name, value in {"bowerbird": rate, **found, **bare}.items())
        world.say(f"  {size}, {'warm-up' if number < 0 else f'run {number + 1}'}: {said} images/s")
        if number >= 0:
            ours.append(rate)
            for runs, figures in ((peer, found), (alone, bare)):
                for name, values in runs.items():
                    values.append(figures[name])
    _note(section, size, ours, peer, alone)
    section.tables.append(_cpu_table(size, cpu, count))


async def store(world: World, where: Room, running: Project, size: str, count: int) -> tuple[float, dict[str, float]]:
    """Submits so many images one by one: images stored a second, and the CPU seconds that each part took. Forgets them after."""
    before = machine.cpu_seconds()
    posting = asyncio.create_task(
        load(running.port, Post(world.origin, size), range(count), expect=202, processes=1, connections=CONNECTIONS, seconds=SECONDS)
    )
    storing = asyncio.create_task(where.until_stored(count, seconds=SECONDS))
    try:
        posted, ended = await asyncio.gather(posting, storing)
    finally:
        posting.cancel()
        storing.cancel()
    cpu = {name: seconds - before.get(name, 0.0) for name, seconds in machine.cpu_seconds().items()}
    cpu["the bench's own POSTs"] = posted.cpu * (ended - posted.began)
    await where.empty()
    return count / (ended - posted.began), cpu


def _note(section: Section, size: str, ours: list[float], peer: dict[str, list[float]], alone: dict[str, list[float]]) -> None:
    goal = size == GOAL_SIZE
    goals = {"img2dataset": 2.0, "scrapy": 4.0}
    section.add(
        f"{size}: bowerbird", "images/s", ours, how=f"single POSTs from one process, {CONNECTIONS} connections, until the last is stored",
        at_least=900.0 if goal else None,
    )  # fmt: skip
    add = functools.partial(section.add, unit="images/s")
    for name, runs in peer.items():
        add(f"{size}: {name}", runs=runs, how=peers.COMMANDS[name])
    add(f"{size}: download alone", runs=alone["download"], how="aiohttp into memory")
    add(f"{size}: publish alone", runs=alone["publish"], how="aio-pika, persistent, confirmed, quorum queue")
    add(f"{size}: insert alone", runs=alone["insert"], how=f"pymongo, batches of up to {limits.MAX_BATCH}, majority, journaled")
    slowest = [min(values) for values in zip(*alone.values(), strict=True)]
    add(f"{size}: the machine's own limit", runs=slowest, how=f"the slowest of those three, each with {sum(default_processes().values())} processes")
    for name, runs in peer.items():
        section.add(f"{size}: bowerbird / {name}", "x", ratios(ours, runs), how="run by run", at_least=goals.get(name) if goal else None)
    section.add(f"{size}: bowerbird / limit", "x", ratios(ours, slowest), how="run by run", at_least=0.5 if goal else None)


def _cpu_table(size: str, cpu: dict[str, float], count: int) -> Table:
    rows = [[name, f"{1000 * seconds / count:.2f}"] for name, seconds in sorted(cpu.items(), key=lambda part: -part[1]) if seconds > 0]
    return Table(title=f"CPU time of an image of {size}, in ms, by who takes it (last run)", header=["who", "ms"], rows=rows)
