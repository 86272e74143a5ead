"""What one api process serves: whole images from GridFS, answers that nothing has changed, and a little of a large image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from bench.accept import ALONE
from bench.bare import bare_api
from bench.browse import Cycle
from bench.end_to_end import GOAL_SIZE, Post
from bench.load import load, request
from bench.measure import BenchError, Section, ratios
from bench.photos import BYTES, LARGE
from bench.world import project, room

if TYPE_CHECKING:
    from bench.world import Project, Room, World

NAME = "serve"
TITLE = "Serve: one api process"
CONNECTIONS = 32
IMAGES = 200
SECONDS = 60.0
RANGE = {"range": "bytes=31457280-31458279"}  # 1,000 bytes from the middle of a chunk


async def measure(world: World) -> Section:
    """The images are stored by the project itself, and then served by an api alone."""
    section = Section(name=NAME, title=TITLE)
    async with room(world.servers) as where:
        async with project(world, where) as running:
            await load(running.port, Post(world.origin, GOAL_SIZE), range(IMAGES), expect=202, processes=1)
            await where.until_stored(IMAGES, seconds=SECONDS)
            large = await _store_large(section, world, where, running)
        async with project(world, where, ALONE) as api, bare_api(world.folder) as bare:
            stored = [image async for image in where.images.find({"size": {"$lt": 10**6}}, {"sha256": 1})]
            contents = Cycle([request("GET", f"/images/{image['_id']}/content") for image in stored])
            same = Cycle([request("GET", f"/images/{image['_id']}/content", if_none_match=f'"{image["sha256"]}"') for image in stored])
            await _compare(section, world, "content of 80 KB", (api.port, contents), (bare, f"/200/{BYTES[GOAL_SIZE]}"), status=200, goal=1500.0)
            await _compare(section, world, "304", (api.port, same), (bare, "/304"), status=304, goal=5000.0)
            if large:
                await _range(section, world, where, api, large)
    return section


async def _store_large(section: Section, world: World, where: Room, running: Project) -> str:
    """The id of an image of 60 MiB, empty if it can't be stored."""
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        answer = await client.post(f"{running.url}/images", json={"url": world.origin.url(LARGE, 0)})
        image = str(answer.raise_for_status().json()["id"])
    try:
        await where.until_stored(IMAGES + 1, seconds=SECONDS)
    except BenchError as error:
        section.skipped[f"a Range of {LARGE}"] = str(error)
        return ""
    return image


async def _compare(
    section: Section, world: World, name: str, ours: tuple[int, Cycle], nothing: tuple[int, str], *, status: int, goal: float
) -> None:  # fmt: skip
    rates: list[float] = []
    floors: list[float] = []
    cores = 0.0
    for number in world.rounds:
        seconds = world.pick(8, 0.5)
        found = await load(*ours, range(10**6), expect=status, connections=CONNECTIONS, seconds=seconds)
        floor = await load(nothing[0], Cycle([request("GET", nothing[1])]), range(10**6), expect=status, connections=CONNECTIONS, seconds=seconds / 2)
        world.say(f"  {name}: {found.rate:,.0f}/s (an api that does nothing: {floor.rate:,.0f}/s)")
        if number >= 0:
            rates.append(found.rate)
            floors.append(floor.rate)
            cores = found.cores
    how = f"{IMAGES} images, 2 processes, {CONNECTIONS} connections, closed loop; they took {cores:.2f} cores"
    section.add(name, "/s", rates, how=how, at_least=goal)
    section.add(f"{name}, an api that does nothing", "/s", floors, how="uvicorn and one ready answer of that size, the same load")
    section.add(f"{name} / doing nothing", "x", ratios(rates, floors), how="run by run")


async def _range(section: Section, world: World, where: Room, api: Project, image: str) -> None:
    target = f"/images/{image}/content"
    read = await _chunks_read(where, f"{api.url}{target}")
    world.say(f"  1,000 bytes of {LARGE}: {read} chunk{'s' if read > 1 else ''} read")
    section.add(f"chunks read for 1,000 bytes of {LARGE}", "chunks", [float(read)], how="MongoDB's profiler: documents examined", at_most=1.0)
    some = Cycle([request("GET", target, b"", **RANGE)])
    runs = []
    for number in world.rounds:
        found = await load(api.port, some, range(10**6), expect=206, connections=CONNECTIONS, seconds=world.pick(5, 0.5))
        if number >= 0:
            runs.append(found.rate)
    section.add(f"1,000 bytes of {LARGE}", "/s", runs, how=f"Range, 2 processes, {CONNECTIONS} connections, closed loop")


async def _chunks_read(where: Room, url: str) -> int:
    database: Any = where.database
    await database.command("profile", 2)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(url, headers=RANGE)
    finally:
        await database.command("profile", 0)
    if answer.status_code != httpx.codes.PARTIAL_CONTENT or len(answer.content) != 1000:  # noqa: PLR2004
        raise BenchError(f"a Range was answered {answer.status_code} with {len(answer.content)} bytes")
    looked = [entry async for entry in database["system.profile"].find({"ns": f"{database.name}.fs.chunks"})]
    return sum(int(entry.get("docsExamined", 0)) for entry in looked)
