"""`docker compose up`, from the first start to the last: everything that compose.yaml promises, on a real Docker engine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.compose.stack import ROOT, Stack, running
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [pytest.mark.anyio, pytest.mark.compose, pytest.mark.timeout(900)]

DEMO = "http://nginx/demo/"
MANY = 400
KINDS = ("webp", "jpg", "png", "jpg", "avif", "jpg", "gif", "jpg", "webp")
"""The endings of the gallery's first nine images (deploy/demo/make.py)."""
SERVICES = ("api", "fetcher", "storer")


async def test_the_whole_stack_does_what_it_promises(compose: list[str]) -> None:
    # One test: nobody wants to wait for a stack of each promise's own.
    steps: list[Callable[[Stack], Awaitable[None]]] = [
        nothing_is_published_but_nginx, everybody_has_as_little_as_they_need, only_who_has_a_key_is_let_in, the_demo_page_is_downloaded,
        only_the_demo_is_private_and_allowed, bytes_come_from_the_cache_and_only_to_whom_they_may, events_come_at_once, the_consoles_are_there,
        killed_and_scaled_nothing_is_lost, prometheus_sees_everything, taken_down_and_up_again_everything_is_there,
        a_restart_changes_nothing,
    ]  # fmt: skip
    began = time.monotonic()
    async with running(compose) as stack:
        print(f"\n{time.monotonic() - began:5.1f} s  up and ready")  # noqa: T201  (with -s it is a report)
        for step in steps:
            began = time.monotonic()
            await step(stack)
            print(f"{time.monotonic() - began:5.1f} s  {step.__name__.replace('_', ' ')}")  # noqa: T201


async def nothing_is_published_but_nginx(stack: Stack) -> None:
    published = await stack.docker("ps", "--filter", f"label=com.docker.compose.project={stack.project}", "--format", "{{.Names}} {{.Ports}}")
    open_ports = [line for line in published.splitlines() if "->" in line]
    assert len(open_ports) == 1
    assert "nginx" in open_ports[0]
    assert f"127.0.0.1:{stack.port}->8080/tcp" in open_ports[0]
    assert "0.0.0.0" not in open_ports[0]


async def everybody_has_as_little_as_they_need(stack: Stack) -> None:
    mongo, rabbitmq, nginx = [await stack.addresses(name) for name in ("mongo", "rabbitmq", "nginx")]
    # First that the question can be answered with yes.
    assert await stack.reaches("storer", mongo["database"], 27017)
    assert await stack.reaches("fetcher", rabbitmq["messages"], 5672)
    assert not await stack.reaches("fetcher", "mongo", 27017)
    assert not await stack.reaches("fetcher", mongo["database"], 27017)
    assert not any([await stack.reaches("fetcher", address, port) for address in nginx.values() for port in (8080, 8081)])
    for service in SERVICES:
        [one, other] = await stack.containers(service)
        assert one != other
        assert await stack.docker("exec", one, "id", "-u") == "10001\n"
        with pytest.raises(AssertionError, match="Read-only"):
            await stack.docker("exec", one, "touch", "/opt/bowerbird/new")
        await has_room_for_files(stack, one)
    [fetcher, _] = await stack.containers("fetcher")
    assert (await stack.docker("exec", fetcher, "ls", "/run/bowerbird")).split() == ["amqp-url", "webhook-secret"]


async def only_who_has_a_key_is_let_in(stack: Stack) -> None:
    assert len(stack.key) >= 32
    async with stack.client(key=False) as stranger, stack.client() as client:
        assert (await stranger.get("/images")).status_code == 401
        assert (await stranger.get("/images", headers={"Authorization": "Bearer bowerbird"})).status_code == 401
        assert (await client.get("/images")).status_code == 200
        assert (await stranger.get("/")).status_code == 200
        assert (await stranger.get("/demo/")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404
        too_large = await client.post("/images", content=b"x" * 70_000)
        assert (too_large.status_code, too_large.json()["type"]) == (413, "/problems/content-too-large")


async def the_demo_page_is_downloaded(stack: Stack) -> None:
    async with stack.client() as client:
        assert (await client.post("/images", json={"url": DEMO})).status_code == 202
        await settled(client, stored=28, failed=1, expanded=1)
        [failed] = await items(client, status="failed")
        assert failed["source_url"] == f"{DEMO}images/gone.jpg"
        for image in await items(client, status="stored"):
            shown = await client.get(image["source_url"].removeprefix("http://nginx"))
            copy = await client.get(image["stored_url"])
            assert copy.content == shown.content
            assert hashlib.sha256(copy.content).hexdigest() == image["sha256"]


async def only_the_demo_is_private_and_allowed(stack: Stack) -> None:
    async with stack.client() as client:
        api = (await stack.addresses("api"))["messages"]
        assert (await client.post("/images", json={"url": f"http://{api}:8000/docs"})).status_code == 422
        for url, reason in (("http://api:8000/docs", "blocked"), ("http://nginx/images", "http_status")):
            image = (await client.post("/images", json={"url": url})).json()
            path = image["links"]["self"]
            failed = await until(partial(with_status, client, path, "failed"))
            assert failed
            assert failed["error"]["reason"] == reason
            assert (await client.delete(path)).status_code == 204


async def bytes_come_from_the_cache_and_only_to_whom_they_may(stack: Stack) -> None:
    async with stack.client() as client, stack.client(key=False) as stranger:
        image = (await client.post("/images", json={"url": f"{DEMO}gallery/01.webp"})).json()
        path = image["links"]["self"]
        await until(lambda: with_status(client, path, "stored"))
        for what, kind in (("content", "image/webp"), ("thumbnail?w=160", "image/webp")):
            first, second = [await client.get(f"{path}/{what}") for _ in range(2)]
            assert [answer.headers["x-cache-status"] for answer in (first, second)] == ["MISS", "HIT"]
            assert first.content == second.content
            assert second.headers["content-type"] == kind
            # What lies in the cache is not for those who may not have it.
            refused = await stranger.get(f"{path}/{what}")
            assert (refused.status_code, refused.headers.get_list("www-authenticate")) == (401, ['Bearer realm="bowerbird"'])
            assert (await client.get(f"{path}/{what}", headers={"If-None-Match": second.headers["etag"]})).status_code == 304
        part = await client.get(f"{path}/content", headers={"Range": "bytes=4-7"})
        whole = await client.get(f"{path}/content")
        assert (part.status_code, part.content) == (206, whole.content[4:8])
        assert (await client.delete(path)).status_code == 204
        gone = await client.get(f"{path}/content")
        assert (gone.status_code, gone.json()["type"]) == (404, "/problems/unknown-image")


async def events_come_at_once(stack: Stack) -> None:
    async with stack.client() as client, client.stream("GET", "/events") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        image = (await client.post("/images", json={"url": f"{DEMO}gallery/02.jpg"})).json()
        async with asyncio.timeout(10):
            async for line in lines:
                if image["id"] in line:
                    break


async def the_consoles_are_there(stack: Stack) -> None:
    password = await stack.secret("management")
    async with stack.consoles(auth=("management", password)) as consoles:
        queues = (await consoles.get("/rabbitmq/api/queues/%2F")).json()
        assert {"fetcher.download-requested", "storer.image-fetched", "dead-letters"} <= {queue["name"] for queue in queues}
        # A page whose name its owner has resolve to this machine.
        assert (await consoles.get("/rabbitmq/", headers={"Host": "elsewhere.example"})).status_code == 421
    async with stack.consoles(auth=("guest", "guest")) as consoles:
        assert (await consoles.get("/rabbitmq/api/overview")).status_code == 401


async def killed_and_scaled_nothing_is_lost(stack: Stack) -> None:
    async with stack.client() as client:
        urls = [f"{DEMO}gallery/{number % 9 + 1:02}.{KINDS[number % 9]}?{number}" for number in range(MANY)]
        batch = (await client.post("/batches", json={"urls": urls})).json()
        assert batch["accepted"] == MANY
        await asyncio.gather(stack.kill_a("fetcher"), stack.kill_a("storer"), stack.kill_a("api"))
        path = batch["links"]["self"]
        assert (await stored(client, path) or 0) < MANY, "they were killed too late"
        await stack.up("--scale", "fetcher=3", "--scale", "storer=3", "--no-recreate")
        assert [len(await stack.containers(service)) for service in SERVICES] == [2, 3, 3]
        await until(lambda: all_stored(client, path), seconds=90, every=0.2)
        assert (await client.get("/dead-letters")).json()["items"] == []


async def prometheus_sees_everything(stack: Stack) -> None:
    if not (ROOT / "deploy" / "prometheus").exists():
        return
    # By its name: the profile's other service, Grafana, has no part in this.
    await stack.compose("--profile", "monitoring", "up", "--detach", "--no-recreate", "--scale", "fetcher=3", "--scale", "storer=3", "prometheus")
    async with stack.consoles() as consoles:

        async def all_up() -> bool:
            answer = await consoles.get("/prometheus/api/v1/targets")
            targets = answer.json()["data"]["activeTargets"] if answer.is_success else []
            up = [target["labels"]["job"] for target in targets if target["health"] == "up"]
            return len(up) == len(targets) and {"bowerbird-api", "bowerbird-fetcher", "bowerbird-storer", "rabbitmq"} <= set(up)

        await until(all_up, seconds=90, every=1)
        groups = (await consoles.get("/prometheus/api/v1/rules")).json()["data"]["groups"]
        assert groups
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


async def taken_down_and_up_again_everything_is_there(stack: Stack) -> None:
    async with stack.client() as client:
        before, key = await everything(client), stack.key
    await stack.compose("--profile", "monitoring", "down", "--remove-orphans")
    assert not await stack.containers("rabbitmq")
    await stack.up()
    assert stack.key == key
    async with stack.client() as client:
        assert await everything(client) == before
        image = next(image for image in before if image["status"] == "stored")
        assert hashlib.sha256((await client.get(image["stored_url"])).content).hexdigest() == image["sha256"]
        # And it goes on.
        added = (await client.post("/images", json={"url": f"{DEMO}gallery/03.png"})).json()
        await until(lambda: with_status(client, added["links"]["self"], "stored"))


async def counts(client: httpx.AsyncClient) -> dict[str, int]:
    """Images by status."""

    async def asked() -> dict[str, int] | None:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.get("/stats")
            if answer.is_success:
                found: dict[str, int] = answer.json()["images"]
                return found
        return None

    found = await until(asked, seconds=60, every=0.2)
    assert found
    return found


async def a_restart_changes_nothing(stack: Stack) -> None:
    # The same containers once more, which have been written to by now.
    await stack.compose("restart", "--timeout", "60", "nginx", "demo", *SERVICES)
    await stack.up("--no-recreate")
    async with stack.client() as client:
        added = (await client.post("/images", json={"url": f"{DEMO}gallery/04.jpg"})).json()
        await until(lambda: with_status(client, added["links"]["self"], "stored"))
    for service in SERVICES:
        await has_room_for_files(stack, (await stack.containers(service))[0])
    await until(partial(all_healthy, stack), seconds=60, every=0.5)


async def has_room_for_files(stack: Stack, container: str) -> None:
    """There is a folder for temporary files, and it can be written."""
    assert await stack.docker("exec", container, "sh", "-c", "touch $TMPDIR/new && rm $TMPDIR/new && echo writable") == "writable\n"


async def all_healthy(stack: Stack) -> bool:
    """Whether every container that has a healthcheck runs and is well."""
    states = await stack.docker("ps", "--all", "--filter", f"label=com.docker.compose.project={stack.project}", "--format", "{{.Names}} {{.Status}}")
    return all("(healthy)" in state or "Exited (0)" in state for state in states.splitlines())


async def stored(client: httpx.AsyncClient, batch: str) -> int | None:
    """How many of a batch's images are; None when the api that was asked has just been killed."""
    with contextlib.suppress(httpx.TransportError):
        answer = await client.get(batch)
        if answer.is_success:
            found: int = answer.json()["images"]["stored"]
            return found
    return None


async def all_stored(client: httpx.AsyncClient, batch: str) -> bool:
    """Whether a batch is done, and well."""
    return await stored(client, batch) == MANY


async def settled(client: httpx.AsyncClient, **expected: int) -> None:
    """Returns when all images are as expected."""

    async def as_expected() -> bool:
        return {status: number for status, number in (await counts(client)).items() if number} == expected

    try:
        await until(as_expected, seconds=90, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{await counts(client)} instead of {expected}") from error


async def items(client: httpx.AsyncClient, **filters: str) -> list[dict[str, Any]]:
    """The first page of a list."""
    found: list[dict[str, Any]] = (await client.get("/images", params=filters)).json()["items"]
    return found


async def with_status(client: httpx.AsyncClient, path: str, status: str) -> dict[str, Any] | None:
    """An image, once it has this status."""
    image: dict[str, Any] = (await client.get(path)).json()
    return image if image["status"] == status else None


async def everything(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All images, page by page."""
    found, following = [], "/images?limit=100"
    while following:
        page = (await client.get(following)).json()
        found += page["items"]
        following = page["next"]
    return found
