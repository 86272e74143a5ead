"""Three of each server, of which one dies while there is work: compose.cluster.yaml on a real Docker engine. With -s it is a report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.compose.stack import Stack, running
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container

pytestmark = [pytest.mark.anyio, pytest.mark.compose, pytest.mark.timeout(900)]

FILES = ("compose.yaml", "compose.cluster.yaml")
THREE = 3
WITHIN = 30.0
"""Seconds from a server's death until the first image that is submitted after it is stored."""
AT_ONCE = 200
TRICKLE, PAUSE = 5, 0.5
"""So many images so often, in seconds, all the while."""
GALLERY = "http://nginx/demo/gallery/"

MEMBERS = """
import json, pathlib, pymongo
url = pathlib.Path("/run/bowerbird/mongo-url").read_text()
status = pymongo.MongoClient(url).admin.command("replSetGetStatus")
print(json.dumps([status["votingMembersCount"], {member["name"].partition(":")[0]: member["stateStr"] for member in status["members"]}]))
"""


class Load:
    """Submits the gallery's pictures again and again, each time under URLs of their own."""

    def __init__(self, client: httpx.AsyncClient, pictures: dict[str, bytes]) -> None:
        self.accepted: dict[str, bytes] = {}
        self._client = client
        self._urls = ((f"{GALLERY}{name}?{number}", pictures[name]) for number, name in zip(itertools.count(), itertools.cycle(pictures)))

    async def batch(self, number: int) -> None:
        """Some at once. Returns when they are accepted."""
        urls = dict(itertools.islice(self._urls, number))
        answer = await patiently(self._client, "POST", "/batches", json={"urls": [*urls]})
        # Known are those of an attempt whose answer was lost.
        assert answer.json()["accepted"] + answer.json()["known"] == number
        self.accepted |= urls

    async def one(self) -> str:
        """One alone; its path, when it is accepted."""
        [(url, content)] = itertools.islice(self._urls, 1)
        answer = await patiently(self._client, "POST", "/images", good={httpx.codes.ACCEPTED, httpx.codes.CONFLICT}, json={"url": url})
        self.accepted[url] = content
        # Known is that of an attempt whose answer was lost.
        path: str = answer.json()["links"]["self"] if answer.is_success else answer.json()["image"]
        return path

    @contextlib.asynccontextmanager
    async def trickling(self) -> AsyncIterator[None]:
        """Goes on submitting a few for as long as the block takes."""
        enough = asyncio.Event()

        async def trickle() -> None:
            while not enough.is_set():
                await self.batch(TRICKLE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await enough.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(trickle())
            yield
            enough.set()


async def test_one_of_three_dies_and_nothing_is_lost(compose: list[str]) -> None:
    began = time.monotonic()
    async with running(compose, *FILES) as stack, stack.client() as client, contextlib.AsyncExitStack() as consoles:
        management = await consoles.enter_async_context(stack.consoles(auth=("management", await stack.secret("management"))))
        await until(partial(queues_have_three_members, management), seconds=60, every=0.5)
        await until(partial(set_is_whole, stack), seconds=60, every=0.5)
        say(began, "up: three RabbitMQ nodes with every queue on all of them, three members of the replica set")
        load = Load(client, await gallery(client))
        async with load.trickling():
            node = await busiest_node(management)
            dead = [await one_dies(stack, client, load, node), await one_dies(stack, client, load, await primary(stack))]
        began = time.monotonic()
        await until(partial(all_stored, client, load), seconds=120, every=0.5)
        say(began, f"until the last of the {len(load.accepted)} accepted images was stored, with both still dead")
        began = time.monotonic()
        await every_copy_is_as_its_original(client, load)
        say(began, f"all {len(load.accepted)} copies read and compared with their originals")
        began = time.monotonic()
        await stack.docker("start", *dead)
        await until(partial(queues_have_three_members, management), seconds=120, every=0.5)
        await until(partial(set_is_whole, stack), seconds=120, every=0.5)
        say(began, "both started again: every queue on three nodes, three members")


async def one_dies(stack: Stack, client: httpx.AsyncClient, load: Load, service: str) -> str:
    """Kills a service's container with work under way, and waits until work goes on. Returns the container, which stays dead."""
    [container] = await stack.containers(service)
    await load.batch(AT_ONCE)
    under_way = len(load.accepted) - await stored(client)
    assert under_way > 0, "killed too late"
    began = time.monotonic()
    await stack.docker("kill", container)
    path = await load.one()
    say(began, f"{service} killed with {under_way} images under way; the first image accepted after it")
    await until(partial(is_stored, client, path), seconds=2 * WITHIN, every=0.05)
    say(began, "  and stored")
    assert time.monotonic() - began < WITHIN
    await until(partial(all_but_the_newest_are_stored, client, len(load.accepted)), seconds=2 * WITHIN, every=0.2)
    say(began, "  all that was accepted until then stored too")
    return container


async def gallery(client: httpx.AsyncClient) -> dict[str, bytes]:
    """Its pictures, by their names."""
    names = set(re.findall(r'data-src="gallery/([\w.]+)"', (await client.get("/demo/gallery.html")).text))
    assert names
    return {name: (await patiently(client, "GET", f"/demo/gallery/{name}")).content for name in sorted(names)}


async def queues_have_three_members(management: httpx.AsyncClient) -> bool:
    """Whether every queue is on three nodes, and all of them are there."""
    with contextlib.suppress(httpx.TransportError):
        queues, nodes = await management.get("/rabbitmq/api/queues"), await management.get("/rabbitmq/api/nodes")
        if queues.is_success and nodes.is_success:
            online = [len(queue.get("online", ())) for queue in queues.json() if queue.get("type") == "quorum"]
            return [node["running"] for node in nodes.json()] == [True] * THREE and set(online) == {THREE}
    return False


async def busiest_node(management: httpx.AsyncClient) -> str:
    """The service of the RabbitMQ node that leads most queues and has most connections."""
    queues, connections = [(await management.get(f"/rabbitmq/api/{what}")).json() for what in ("queues", "connections")]
    nodes = Counter([*(queue["leader"] for queue in queues if "leader" in queue), *(connection["node"] for connection in connections)])
    [(node, _)] = nodes.most_common(1)
    return str(node).removeprefix("rabbit@")


async def members(stack: Stack) -> tuple[int, dict[str, str]]:
    """How many members of the replica set vote, and what each one is."""
    [storer, *_] = await stack.containers("storer")
    voting, states = json.loads(await stack.docker("exec", storer, "python", "-c", MEMBERS))
    return voting, states


async def set_is_whole(stack: Stack) -> bool:
    """Whether one member is the primary and two follow it. A new one votes when it has everything."""
    voting, states = await members(stack)
    return voting == THREE and sorted(states.values()) == ["PRIMARY", "SECONDARY", "SECONDARY"]


async def primary(stack: Stack) -> str:
    """The service that is the replica set's primary."""
    _, states = await members(stack)
    [service] = [name for name, state in states.items() if state == "PRIMARY"]
    return service


async def patiently(client: httpx.AsyncClient, method: str, path: str, *, good: Container[int] = range(200, 300), **request: Any) -> httpx.Response:
    """The answer, whose status must be a good one. Asks again as long as there is none: an api whose database has no primary says 503, and nginx 429 to who is in a hurry."""

    async def asked() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.request(method, path, **request)
            if answer.status_code not in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}:
                return answer
        return None

    answer = await until(asked, seconds=2 * WITHIN, every=0.1)
    assert answer is not None
    assert answer.status_code in good, (answer.status_code, answer.text[:500])
    return answer


async def stored(client: httpx.AsyncClient) -> int:
    """How many images are."""
    images: dict[str, int] = (await patiently(client, "GET", "/stats")).json()["images"]
    return images["stored"]


async def is_stored(client: httpx.AsyncClient, path: str) -> bool:
    """Whether an image is."""
    return bool((await patiently(client, "GET", path)).json()["status"] == "stored")


async def all_but_the_newest_are_stored(client: httpx.AsyncClient, accepted: int) -> bool:
    """Whether as many are stored as had been accepted at some time. Which ones is seen at the end."""
    return await stored(client) >= accepted


async def all_stored(client: httpx.AsyncClient, load: Load) -> bool:
    """Whether every image is."""
    return await stored(client) == len(load.accepted)


async def every_copy_is_as_its_original(client: httpx.AsyncClient, load: Load) -> None:
    """Each accepted URL is an image, and its copy has the bytes that its origin shows."""
    images: dict[str, str] = {}
    following = "/images?limit=100"
    while following:
        page = (await patiently(client, "GET", following)).json()
        images |= {image["source_url"]: image["stored_url"] for image in page["items"] if image["status"] == "stored"}
        following = page["next"]
    assert images.keys() == load.accepted.keys()
    few = asyncio.Semaphore(8)

    async def compare(url: str) -> None:
        async with few:
            assert (await patiently(client, "GET", images[url])).content == load.accepted[url], url

    await asyncio.gather(*(compare(url) for url in images))


def say(began: float, what: str) -> None:
    """A line of the report."""
    print(f"\n{time.monotonic() - began:6.1f} s  {what}", end="", flush=True)  # noqa: T201
