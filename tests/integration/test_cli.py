"""The client against a real api: as a program, in a pipe and in a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from shared import events
from shared.dead_letters import read
from tests.api import running_api, taken
from tests.cli import bowerbird, in_a_terminal
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api import Api

pytestmark = pytest.mark.anyio

QUEUE = "fetcher.download-requested"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await until(lambda: _connected(api))
        yield api


async def _connected(api: Api) -> bool:
    return api.parts.publisher.connected


async def bury(api: Api, body: bytes = b'{"x":1}', queue: str = QUEUE, **headers: object) -> str:
    """A dead letter's id."""
    died = read(events.Envelope("download-requested", {**headers, "x-death": [{"queue": queue, "reason": "rejected"}]}, body, events.JSON, "m", "c"))
    await api.parts.dead_letters.keep(died)
    return died.id


async def test_what_is_dead_is_listed_shown_replayed_and_deleted(api: Api, amqp_url: str) -> None:
    request = events.DownloadRequested(image="a", revision=1, url="http://a/", requested_at=datetime.now(UTC))
    good, bad = await bury(api, events.encode(request).body), await bury(api, b"\xff\x00", v=7)

    listed = await bowerbird(api.client.base_url, "dead", "ls")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split("\t")[0] for line in listed.out.splitlines()] == ["id", bad, good]

    shown = await bowerbird(api.client.base_url, "dead", "show", bad)
    assert {f"id: {bad}", f"queue: {QUEUE}", "header v: 7", "body: binary, 2 bytes"} <= set(shown.out.splitlines())

    assert (await bowerbird(api.client.base_url, "dead", "replay", good)).out == f"{good}  sent to {QUEUE} again\n"
    assert await taken(amqp_url, QUEUE) == [request]

    assert (await bowerbird(api.client.base_url, "dead", "delete", "--all")).code == 2
    assert json.loads((await bowerbird(api.client.base_url, "dead", "delete", "--all", "--yes", "--json")).out) == {"deleted": [bad], "refused": {}}
    assert json.loads((await bowerbird(api.client.base_url, "dead", "ls", "--json")).out) == []


async def test_all_pages_of_them(api: Api) -> None:
    ids = [await bury(api, str(number).encode()) for number in range(501)]
    assert [found["id"] for found in json.loads((await bowerbird(api.client.base_url, "dead", "ls", "--json")).out)] == ids[::-1]


async def test_one_that_can_only_be_deleted_says_so(api: Api) -> None:
    foreign = await bury(api, queue="somebody-elses")
    done = await bowerbird(api.client.base_url, "dead", "replay", "--all")
    assert (done.code, done.out) == (1, "")
    assert "can only be deleted" in done.err
    assert (await bowerbird(api.client.base_url, "dead", "show", foreign)).code == 0


async def test_an_unknown_one(api: Api) -> None:
    done = await bowerbird(api.client.base_url, "dead", "show", "a" * 26)
    assert done == (1, "", f"{'a' * 26}: No dead letter has this id. `bowerbird dead ls` lists those that are there.\n")


async def test_in_a_terminal_there_is_a_table_and_nothing_hostile_in_it(api: Api) -> None:
    buried = await bury(api, b"\x1b]0;owned\x07", queue="\x1b]0;owned\x07", evil="\x1b]0;owned\x07")
    table = await in_a_terminal(api.client.base_url, "dead", "ls")
    shown = await in_a_terminal(api.client.base_url, "dead", "show", buried)
    assert "━" in table.out or "─" in table.out
    for done in (table, shown):
        assert buried in done.out
        assert "\x1b]" not in done.out
        assert "\x07" not in done.out


@pytest.mark.parametrize(("types", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1), ("\x04", 1, 1)])
async def test_in_a_terminal_it_asks_before_it_deletes(api: Api, types: str, code: int, left: int) -> None:
    await bury(api)
    done = await in_a_terminal(api.client.base_url, "dead", "delete", "--all", types=types)
    assert "Delete a dead letter for ever? [y/N]" in done.out
    assert done.code == code
    assert len((await api.client.get("/dead-letters")).json()["items"]) == left


async def test_what_a_wiped_broker_lost_is_requeued(api: Api, amqp_url: str) -> None:
    for number in range(3):
        await api.client.post("/images", json={"url": f"http://example.com/{number}"})
    lost = await _requests(amqp_url, 3)
    done = await bowerbird(api.client.base_url, "requeue", "--status", "queued")
    assert (done.code, done.out) == (0, "3 images are being downloaded afresh, in the background.\n")
    found = await _requests(amqp_url, 3)
    assert {request.image for request in found} == {request.image for request in lost}
    assert {(request.image, request.revision) for request in found} == {(request.image, request.revision + 1) for request in lost}
    assert "nothing to do" in (await bowerbird(api.client.base_url, "requeue", "--status", "failed")).out


async def test_a_key_is_wanted_and_taken_from_the_environment(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=("sesame",)) as api:
        assert "wants a key" in (await bowerbird(api.client.base_url, "dead", "ls")).err
        assert "doesn't know this key" in (await bowerbird(api.client.base_url, "dead", "ls", BOWERBIRD_KEY="open")).err
        assert await bowerbird(api.client.base_url, "dead", "ls", "--json", BOWERBIRD_KEY="sesame") == (0, "[]\n", "")


async def _requests(amqp_url: str, count: int) -> list[events.DownloadRequested]:
    """So many requests, taken out of the fetchers' queue."""
    found: list[events.DownloadRequested] = []

    async def complete() -> bool:
        found.extend(await taken(amqp_url, QUEUE))
        return len(found) >= count

    await until(complete)
    return found
