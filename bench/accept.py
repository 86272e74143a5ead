"""What one api process accepts: single URLs as fast as it can, single URLs at a constant rate, and batches."""

from __future__ import annotations

import json

import httpx

from bench.bare import bare_api
from bench.load import load, request
from bench.measure import Section, ratios
from bench.world import World, project, room

NAME = "accept"
TITLE = "Accept: one api process"
ALONE = {"api": 1}
CONNECTIONS = 64
RATE = 1000.0
BATCH = 1000


def post(number: int) -> bytes:
    """A URL that was never submitted, on one of a thousand hosts."""
    return request("POST", "/images", b'{"url": "https://host-%d.example/pictures/%d.jpg"}' % (number % 1000, number))


def post_nothing(number: int) -> bytes:
    """As many bytes, to the api that does nothing."""
    return post(number).replace(b"/images", b"/202", 1)


def post_batch(number: int) -> bytes:
    """A thousand URLs."""
    urls = [f"https://host-{image % 1000}.example/batches/{image}.jpg" for image in range(number * BATCH, (number + 1) * BATCH)]
    return batch_of(urls)


def batch_of(urls: list[str]) -> bytes:
    """The request that submits these URLs together."""
    return request("POST", "/batches", json.dumps({"urls": urls}).encode())


async def measure(world: World) -> Section:
    """The requests go to the broker, where nobody takes them; they aren't this section's business."""
    section = Section(name=NAME, title=TITLE)
    async with room(world.servers) as where, project(world, where, ALONE) as api, bare_api(world.folder) as bare:
        await _single(section, world, api.port, bare)
        await _at_a_rate(section, world, api.port)
        peak = api.peak_memory()["api"]
        section.add("peak memory of the api", "MiB", [peak], how="VmHWM, after all single POSTs", at_most=200.0)
    # A queue of its own: both together would be more than fits into one.
    async with room(world.servers) as where, project(world, where, ALONE) as api:
        await _batches(section, world, api.port, api.url)
    return section


async def _single(section: Section, world: World, port: int, bare: int) -> None:
    ours, nothing, cores = [], [], 0.0
    for number in world.rounds:
        first = (number + 1) * 10**6
        seconds = world.pick(8, 0.5)
        found = await load(port, post, range(first, first + 10**6), expect=202, connections=CONNECTIONS, seconds=seconds)
        floor = await load(bare, post_nothing, range(10**6), expect=202, connections=CONNECTIONS, seconds=seconds / 2)
        world.say(f"  single POSTs: {found.rate:,.0f}/s (an api that does nothing: {floor.rate:,.0f}/s)")
        if number >= 0:
            ours.append(found.rate)
            nothing.append(floor.rate)
            cores = found.cores
    how = f"2 processes, {CONNECTIONS} connections, closed loop; they took {cores:.2f} cores"
    section.add("single POSTs", "/s", ours, how=how, at_least=2500.0)
    section.add("single POSTs, an api that does nothing", "/s", nothing, how="uvicorn and one ready answer, the same load")
    section.add("single POSTs / doing nothing", "x", ratios(ours, nothing), how="run by run")


async def _at_a_rate(section: Section, world: World, port: int) -> None:
    half, most = [], []
    for number in world.rounds:
        count = int(RATE * world.pick(10, 1))
        first = (number + 100) * 10**6
        found = await load(port, post, range(first, first + count), expect=202, connections=256, rate=RATE)
        world.say(f"  at {RATE:,.0f} POSTs a second: median {found.p(0.5):.1f} ms, p99 {found.p(0.99):.1f} ms")
        if number >= 0:
            half.append(found.p(0.5))
            most.append(found.p(0.99))
    how = "open loop, 2 processes, 256 connections, each request timed from when it was due"
    section.add(f"median at {RATE:,.0f}/s", "ms", half, how=how)
    section.add(f"p99 at {RATE:,.0f}/s", "ms", most, how=how, at_most=50.0)


async def _batches(section: Section, world: World, port: int, url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        probe = await client.post(f"{url}/batches", json={"urls": ["https://host.example/probe.jpg"]})
    if probe.status_code != httpx.codes.ACCEPTED:
        section.skipped["batches"] = f"POST /batches answers {probe.status_code}"
        return
    runs = []
    for number in world.rounds:
        first, count = (number + 1) * 100, world.pick(40, 4)
        found = await load(port, post_batch, range(first, first + count), expect=202, processes=1, connections=4)
        world.say(f"  batches: {found.rate * BATCH:,.0f} URLs/s")
        if number >= 0:
            runs.append(found.rate * BATCH)
    section.add("batches", "URLs/s", runs, how=f"JSON, {BATCH:,} URLs each, 4 connections, closed loop", at_least=20_000.0)
