"""Pages of the list and single images, while the collection grows: the first page and the deepest, with every filter that is offered."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx

from bench.accept import ALONE, CONNECTIONS
from bench.bare import bare_api
from bench.collection import FORMATS, LARGE_HOST, STATUSES, added_at, batch, document, fill, page
from bench.end_to_end import GOAL_SIZE
from bench.load import load, request
from bench.measure import Section, Table, percentile, ratios
from bench.world import project, room
from services.api import cursors
from shared.listing import Position

if TYPE_CHECKING:
    from bench.world import Project, Room, World

NAME = "browse"
TITLE = "Browse: pages of 100 images, and single ones"
LIMIT = 100
SECONDS = 60.0
Times = dict[tuple[int, str], list[list[float]]]
"""By size of the collection and kind of page: the times of each run, in seconds."""


@dataclasses.dataclass(frozen=True)
class Cycle:
    """The requests of a list, over and over."""

    requests: list[bytes]

    def __call__(self, number: int) -> bytes:
        """The next."""
        return self.requests[number % len(self.requests)]


def filters(size: int) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """What the list may be narrowed to: the parameters, and the same as MongoDB has it."""
    half = added_at(size // 2)
    told = half.isoformat().replace("+00:00", "Z")
    return {
        "none": ({}, {}),
        "status": ({"status": STATUSES[0]}, {"status": STATUSES[0]}),
        "host": ({"host": LARGE_HOST}, {"host": LARGE_HOST}),
        "format": ({"format": FORMATS[0]}, {"format": FORMATS[0]}),
        "page": ({"page": page(0)}, {"in": page(0)}),
        "batch": ({"batch": batch(0)}, {"in": batch(0)}),
        "added_after": ({"added_after": told}, {"added_at": {"$gt": half}}),
        "added_before": ({"added_before": told}, {"added_at": {"$lt": half}}),
        "status, host": ({"status": STATUSES[0], "host": LARGE_HOST}, {"status": STATUSES[0], "host": LARGE_HOST}),
        "status, format": ({"status": STATUSES[0], "format": FORMATS[0]}, {"status": STATUSES[0], "format": FORMATS[0]}),
    }


async def measure(world: World) -> Section:
    """Every size with the same api; then single images from the largest."""
    section = Section(name=NAME, title=TITLE)
    sizes = (1_000, 10_000) if world.quick else (10_000, 100_000, 1_000_000, 5_000_000)
    times: Times = {}
    async with room(world.servers) as where:
        template = await _template(world, where)
        for before, size in zip((0, *sizes), sizes, strict=False):
            world.say(f"  filling up to {size:,} documents ...")
            await fill(where, template, range(before, size))
            async with project(world, where, ALONE) as api:
                await _pages(section, world, where, api, size, times)
                if size == sizes[-1]:
                    await _single(section, world, template, api.port, size)
    _note(section, times, sizes)
    return section


async def _template(world: World, where: Room) -> dict[str, Any]:
    """A document as the project makes it."""
    async with project(world, where) as running, httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{running.url}/images", json={"url": world.origin.url(GOAL_SIZE, 0)})).raise_for_status()
        await where.until_stored(1, seconds=SECONDS)
        made: dict[str, Any] = await where.images.find_one()
        await where.empty()
    return made


async def _pages(section: Section, world: World, where: Room, api: Project, size: int, times: Times) -> None:
    kinds: dict[str, bytes] = {}
    for name, (parameters, query) in filters(size).items():
        if refusal := await _refusal(api.url, parameters):
            section.skipped[f"filter {name}"] = refusal
            continue
        deep = {**parameters, "cursor": await _deepest(where, query)}
        kinds[f"{name}, first"] = request("GET", f"/images?{urlencode({**parameters, 'limit': LIMIT})}")
        kinds[f"{name}, deepest"] = request("GET", f"/images?{urlencode({**deep, 'limit': LIMIT})}")
    names, count = list(kinds), world.pick(200, 30)
    for number in range(-1, world.rounds.stop):
        numbers = range(count * len(names))
        found = await load(api.port, Cycle(list(kinds.values())), numbers, expect=200, processes=1, connections=1, seconds=300)
        if number < 0:
            continue
        for index, name in enumerate(names):
            times.setdefault((size, name), []).append(list(found.latencies[index :: len(names)]))
    slowest = max(names, key=lambda name: percentile(times[size, name][-1], 0.5))
    world.say(
        f"  {size:,} documents, {len(names)} kinds of page: slowest median {1000 * percentile(times[size, slowest][-1], 0.5):.1f} ms ({slowest})"
    )


async def _refusal(url: str, parameters: dict[str, str]) -> str:
    """Why a filter can't be measured; empty if it can."""
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
        answer = await client.get(f"{url}/images", params={**parameters, "limit": str(LIMIT)})
    if answer.status_code != httpx.codes.OK:
        return f"GET /images answers {answer.status_code}: {answer.json().get('detail')}"
    listed = len(answer.json()["items"])
    return "" if listed == LIMIT else f"it lists {listed} images instead of {LIMIT}"


async def _deepest(where: Room, query: dict[str, Any]) -> str:
    """The cursor after which the oldest images follow, as many as make a whole page."""
    oldest = where.images.find(query, {"added_at": 1}).sort([("added_at", 1), ("_id", 1)]).skip(LIMIT).limit(1)
    [last] = await oldest.to_list()
    return cursors.encode(Position(last["added_at"], last["_id"]))


async def _single(section: Section, world: World, template: dict[str, Any], port: int, size: int) -> None:
    gets = Cycle([request("GET", f"/images/{document(template, number)['_id']}") for number in range(0, size, max(1, size // 5000))])
    ours, nothing = [], []
    async with bare_api(world.folder) as bare:
        for number in world.rounds:
            seconds = world.pick(8, 0.5)
            found = await load(port, gets, range(10**6), expect=200, connections=CONNECTIONS, seconds=seconds)
            floor = await load(bare, Cycle([request("GET", "/200/800")]), range(10**6), expect=200, connections=CONNECTIONS, seconds=seconds / 2)
            world.say(
                f"  GET /images/{{id}}: {found.rate:,.0f}/s (an api that does nothing: {floor.rate:,.0f}/s), the load took {found.cores:.2f} cores"
            )
            if number >= 0:
                ours.append(found.rate)
                nothing.append(floor.rate)
    how = f"5,000 of {size:,} images, 2 processes, {CONNECTIONS} connections, closed loop"
    section.add("GET /images/{id}, one api process", "/s", ours, how=how, at_least=4000.0)
    section.add("GET, an api that does nothing", "/s", nothing, how="uvicorn and one ready answer of 800 bytes, the same load")
    section.add("GET /images/{id} / doing nothing", "x", ratios(ours, nothing), how="run by run")


def _note(section: Section, times: Times, sizes: tuple[int, ...]) -> None:
    names = list(dict.fromkeys(name for _, name in times))
    runs = range(len(next(iter(times.values()))))
    median = {key: [1000 * percentile(values, 0.5) for values in each] for key, each in times.items()}
    worst = {key: [1000 * percentile(values, 0.99) for values in each] for key, each in times.items()}
    how = f"one connection, one request after the other, all {len(names)} kinds of page in turns"
    for size in sizes:
        section.add(
            f"{size:,} documents, slowest kind of page, median", "ms", [max(median[size, name][run] for name in names) for run in runs], how=how
        )
        section.add(f"{size:,} documents, worst p99 of any kind", "ms", [max(worst[size, name][run] for name in names) for run in runs], how=how)
    between = [max(values[run] for values in median.values()) / min(values[run] for values in median.values()) for run in runs]
    grown = [max(median[sizes[-1], name][run] / median[sizes[0], name][run] for name in names) for run in runs]
    section.add("slowest page / fastest page, of any kind and size", "x", between, how="medians", at_most=1.5)
    section.add(f"the same page at {sizes[-1]:,} / at {sizes[0]:,} documents, the worst kind", "x", grown, how="medians")
    section.add("worst p99 of any page", "ms", [max(values[run] for values in worst.values()) for run in runs], how=how, at_most=20.0)
    rows = [[name, *(f"{median[size, name][-1]:.1f} / {worst[size, name][-1]:.1f}" for size in sizes)] for name in names]
    header = ["filter, page", *(f"{size:,}" for size in sizes)]
    section.tables.append(Table(title="Median / p99 in ms, by documents in the collection (last run)", header=header, rows=rows))
