"""How long one image takes when nothing else is to be done: from sending the POST until its document says `stored`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx

from bench.measure import BenchError, Section, percentile
from bench.world import default_processes, project, room, shown

if TYPE_CHECKING:
    from bench.world import Room, World

NAME = "latency"
TITLE = "Latency: one image, alone"
SIZE = "80 KB"
LOOK_SECONDS = 0.0005
SECONDS = 10.0


async def measure(world: World) -> Section:
    """One after another; the pause between two is as long as the wait for the first was."""
    section = Section(name=NAME, title=TITLE)
    half, most, download = [], [], []
    count = world.pick(150, 20)
    async with room(world.servers) as where, project(world, where) as running, httpx.AsyncClient(base_url=running.url, trust_env=False) as client:
        for number in world.rounds:
            taken = [await _once(client, where, world.origin.url(SIZE, image)) for image in range(count)]
            alone = [await _download(client, world.origin.url(SIZE, image)) for image in range(count)]
            await where.empty()
            world.say(f"  POST to stored: median {1000 * percentile(taken, 0.5):.1f} ms, p99 {1000 * percentile(taken, 0.99):.1f} ms")
            if number >= 0:
                half.append(1000 * percentile(taken, 0.5))
                most.append(1000 * percentile(taken, 0.99))
                download.append(1000 * percentile(alone, 0.5))
    how = f"{count} images one after another; {shown(default_processes())}; the document is looked at every {1000 * LOOK_SECONDS:g} ms"
    section.add("POST to stored, median", "ms", half, how=how, at_most=25.0)
    section.add("POST to stored, p99", "ms", most, how=how)
    section.add("the download alone, median", "ms", download, how="httpx, from the same origin")
    return section


async def _once(client: httpx.AsyncClient, where: Room, url: str) -> float:
    began = time.monotonic()
    image = (await client.post("/images", json={"url": url})).raise_for_status().json()["id"]
    while not await where.images.find_one({"_id": image, "status": "stored"}, {"_id": 1}):
        if time.monotonic() - began > SECONDS:
            raise BenchError(f"{url} was not stored within {SECONDS:g} s")
        await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic() - began


async def _download(client: httpx.AsyncClient, url: str) -> float:
    began = time.monotonic()
    (await client.get(url)).raise_for_status()
    return time.monotonic() - began
