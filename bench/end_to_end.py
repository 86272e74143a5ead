"""From POST to stored: the project, its peers and the machine's own limit in turns, so that all of them meet the same machine."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from bench import limits, machine, peers
from bench.accept import BATCH, batch_of
from bench.load import load, request
from bench.measure import BenchError, Section, Table, ratios
from bench.peers import Peers
from bench.world import default_processes, project, room, shown

if TYPE_CHECKING:
    from bench.origin import Origin
    from bench.world import Project, Room, World

NAME = "end-to-end"
TITLE = "End to end: POST accepted to stored"
GOAL_SIZE = "80 KB"
OURS, IN_BATCHES, LIMIT = "bowerbird", "bowerbird, in batches", "the machine's own limit"
TIMES = 2
"""One by one, and in batches: images of their own for each, since the same URL isn't downloaded twice."""
FIRST_MILESTONE = 900.0
GOALS = {"img2dataset": 2.0, "scrapy": 4.0, LIMIT: 0.5}
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


@dataclasses.dataclass(frozen=True)
class PostBatch:
    """The request that submits batch `number` of these images."""

    origin: Origin
    size: str
    images: range

    def __call__(self, number: int) -> bytes:
        """As it is sent."""
        return batch_of([self.origin.url(self.size, image) for image in self.images[number * BATCH : (number + 1) * BATCH]])


def stock(*, quick: bool) -> dict[str, int]:
    """How many images of each size are submitted, TIMES in each run."""
    return {GOAL_SIZE: 400} if quick else {GOAL_SIZE: 6000, "6 KB": 4000, "500 KB": 800}


async def measure(world: World) -> Section:
    """Every size; the goals are for 80 KB."""
    section = Section(name=NAME, title=TITLE)
    others = await _peers(section, world)
    for size in stock(quick=world.quick):
        async with room(world.servers) as where, project(world, where) as running:
            await _measure_size(section, world, where, running, size, others)
            for name, peak in running.peak_memory().items():
                section.add(f"{size}: peak memory of a {name}", "MiB", [peak], how="VmHWM with its helpers, at the end of all runs")
    section.notes.append(f"The project ran as `bowerbird up` starts it here: {shown(default_processes())}.")
    section.notes.append("The peers write plain files, with no queue, no status and no fsync; the project's writes are durable throughout.")
    return section


async def _peers(section: Section, world: World) -> Peers | None:
    others = Peers(world.data)
    if not world.quick:
        try:
            await others.install(world.say)
        except BenchError as error:
            section.skipped["peers"] = str(error)
            return None
    if others.installed:
        return others
    section.skipped["peers"] = "the quick form doesn't install them; a whole run does"
    return None


async def _measure_size(section: Section, world: World, where: Room, running: Project, size: str, others: Peers | None) -> None:
    count = stock(quick=world.quick)[size]
    rounds: list[dict[str, float]] = []
    cpu: dict[str, float] = {}
    for turn, number in enumerate(world.rounds):
        images = range(TIMES * turn * count, (TIMES * turn + 1) * count)
        rate, cpu = await store(world, where, running, size, images)
        in_batches, _ = await store(world, where, running, size, range(images.stop, images.stop + count), batches=True)
        rates = {OURS: rate, IN_BATCHES: in_batches}
        rates |= await others.measure([world.origin.url(size, image) for image in images], world.folder) if others else {}
        alone = await limits.measure(world.origin, where, size, count, sum(default_processes().values()))
        rates |= alone | {LIMIT: min(alone.values())}
        world.say(
            f"  {size}, {'warm-up' if number < 0 else f'run {number + 1}'}: {', '.join(f'{name} {value:,.0f}' for name, value in rates.items())}"
        )
        if number >= 0:
            rounds.append(rates)
    _note(section, size, {name: [rates[name] for rates in rounds] for name in rounds[0]})
    rows = [[name, f"{1000 * seconds / count:.2f}"] for name, seconds in sorted(cpu.items(), key=lambda part: -part[1]) if seconds > 0]
    section.tables.append(Table(title=f"CPU time of an image of {size}, in ms, by who takes it (last run)", header=["who", "ms"], rows=rows))


def _note(section: Section, size: str, runs: dict[str, list[float]]) -> None:
    how = {
        OURS: f"single POSTs from one process, {CONNECTIONS} connections, until the last is stored",
        IN_BATCHES: f"the same, {BATCH:,} URLs in each POST, one after the other",
        LIMIT: f"the slowest of those three, each with {sum(default_processes().values())} processes",
        **limits.HOW, **peers.COMMANDS,
    }  # fmt: skip
    goal = size == GOAL_SIZE
    for name, rates in runs.items():
        section.add(f"{size}: {name}", "images/s", rates, how=how[name], at_least=FIRST_MILESTONE if goal and name == OURS else None)
    for ours in (OURS, IN_BATCHES):
        for name in (*peers.COMMANDS, LIMIT):
            if name in runs:
                wanted = GOALS.get(name) if goal and ours == OURS else None
                section.add(f"{size}: {ours} / {name}", "x", ratios(runs[ours], runs[name]), how="run by run", at_least=wanted)


async def store(
    world: World, where: Room, running: Project, size: str, images: range, *, batches: bool = False
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """Submits these images, one by one or in batches: images stored a second, and the CPU seconds that each part took.

    They stay: no archive deletes what it has just stored, and what MongoDB does after half a gigabyte was deleted would be charged to the next run.
    """
    stored, before = await where.images.count_documents({"status": "stored"}), machine.cpu_seconds()
    # A batch is of so many images that those of several at once would only wait for each other.
    post, numbers, connections = (
        (PostBatch(world.origin, size, images), range(-(-len(images) // BATCH)), 1) if batches else (Post(world.origin, size), images, CONNECTIONS)
    )
    posting = asyncio.create_task(load(running.port, post, numbers, expect=202, processes=1, connections=connections, seconds=SECONDS))
    storing = asyncio.create_task(where.until_stored(len(images), before=stored, seconds=SECONDS))
    try:
        posted, ended = await asyncio.gather(posting, storing)
    finally:
        posting.cancel()
        storing.cancel()
    cpu = {name: seconds - before.get(name, 0.0) for name, seconds in machine.cpu_seconds().items()}
    cpu["the bench's own POSTs"] = posted.cpu_seconds
    return len(images) / (ended - posted.began), cpu
