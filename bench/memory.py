"""The most memory that each process takes under full load, and what more fetchers bring when it is the origin that takes its time."""

from __future__ import annotations

import dataclasses

from bench import end_to_end
from bench.measure import Section, ratios
from bench.origin import own_origin
from bench.world import World, default_processes, project, room

NAME = "memory"
TITLE = "Memory, and cost by size"
GOAL_MIB = 200.0
DELAY = 0.1
FETCHERS = (1, 2, 4)
PER_FETCHER = 160
"""Images a second that one fetcher can get of one host that takes 100 ms, 16 at once."""


async def measure(world: World) -> Section:
    """Full load first, then one, two and four fetchers."""
    section = Section(name=NAME, title=TITLE)
    await _memory(section, world)
    await _scaling(section, world)
    return section


async def _memory(section: Section, world: World) -> None:
    async with room(world.servers) as where, project(world, where) as running:
        for size, count in end_to_end.stock(quick=world.quick).items():
            await end_to_end.store(world, where, running, size, range(count))
        peaks = running.peak_memory()
    for name, peak in peaks.items():
        world.say(f"  peak memory of a {name}: {peak:.0f} MiB")
        how = "VmHWM of the process and its helpers, after a full load of each size"
        section.add(f"peak memory of a {name}", "MiB", [peak], how=how, at_most=GOAL_MIB)


async def _scaling(section: Section, world: World) -> None:
    rates: dict[int, list[float]] = {}
    async with own_origin(world.folder, delay=DELAY) as slow:
        there = dataclasses.replace(world, origin=slow)
        for fetchers in FETCHERS[:2] if world.quick else FETCHERS:
            async with room(world.servers) as where, project(world, where, {**default_processes(), "fetcher": fetchers}) as running:
                rates[fetchers] = []
                count = fetchers * PER_FETCHER * world.pick(8, 1)
                for turn, number in enumerate(world.rounds):
                    rate, _ = await end_to_end.store(there, where, running, "6 KB", range(turn * count, (turn + 1) * count))
                    world.say(f"  an origin that takes {1000 * DELAY:g} ms, {fetchers} fetcher{'s' if fetchers > 1 else ''}: {rate:,.0f} images/s")
                    if number >= 0:
                        rates[fetchers].append(rate)
    for fetchers, runs in rates.items():
        how = f"6 KB from an origin of our own that takes {1000 * DELAY:g} ms; 16 downloads at once, the default for one host"
        section.add(f"{fetchers} fetcher{'s' if fetchers > 1 else ''}", "images/s", runs, how=how)
    for fetchers in list(rates)[1:]:
        each = [ratio / fetchers for ratio in ratios(rates[fetchers], rates[1])]
        section.add(f"{fetchers} fetchers / {fetchers} times one", "x", each, how="run by run", at_least=0.9)
