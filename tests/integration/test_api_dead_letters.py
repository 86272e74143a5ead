"""/dead-letters and /requeue over HTTP."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from shared import events
from shared.dead_letters import read
from shared.errors import Reason
from shared.outcomes import unfetched
from shared.status import Status, now
from tests.api import running_api, taken
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api import Api

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        await until(lambda: _connected(api))
        yield api


async def _connected(api: Api) -> bool:
    return api.parts.publisher.connected


async def bury(api: Api, body: bytes = b'{"x":1}', queue: str = "fetcher.download-requested") -> str:
    """A dead letter's address."""
    headers = {"v": 1, "x-death": [{"queue": queue, "reason": "rejected"}]}
    died = read(events.Envelope("download-requested", headers, body, events.JSON, "m", "c"))
    await api.parts.dead_letters.keep(died)
    return f"/dead-letters/{died.id}"


async def test_they_are_listed_with_queue_reason_and_time_a_page_at_a_time(api: Api) -> None:
    for number in range(5):
        await bury(api, str(number).encode())
    first = (await api.client.get("/dead-letters?limit=3")).json()
    rest = (await api.client.get(first["next"])).json()
    letters = first["items"] + rest["items"]
    assert (len(letters), rest["next"]) == (5, None)
    assert {letter["queue"] for letter in letters} == {"fetcher.download-requested"}
    assert all(letter["reason"] == "rejected" and letter["detail"].startswith("It is no event") for letter in letters)
    assert letters[0]["headers"] == {"v": 1}


@pytest.mark.parametrize(
    ("body", "shown", "encoding"), [(b"caf\xc3\xa9", "café", "utf-8"), (b"\xff\x00", base64.b64encode(b"\xff\x00").decode(), "base64")]
)
async def test_one_is_shown_with_a_readable_body_and_looking_changes_nothing(api: Api, body: bytes, shown: str, encoding: str) -> None:
    address = await bury(api, body)
    for _ in range(2):
        letter = (await api.client.get(address)).json()
        assert (letter["body"], letter["body_encoding"], letter["body_truncated"]) == (shown, encoding, False)


async def test_a_long_body_is_shown_in_part(api: Api) -> None:
    letter = (await api.client.get(await bury(api, b"x" * 100_000))).json()
    assert letter["body_truncated"]
    assert letter["size"] == 100_000
    assert len(letter["body"]) < 100_000


async def test_a_replay_sends_it_to_its_queue_as_it_was_and_takes_it_off_the_list(api: Api, amqp_url: str) -> None:
    request = events.DownloadRequested(image="a", revision=1, url="http://a/", requested_at=now())
    address = await bury(api, events.encode(request).body)
    answer = await api.client.post(f"{address}/replay")
    assert answer.status_code == 202, answer.text
    assert await taken(amqp_url, "fetcher.download-requested") == [request]
    assert (await api.client.get(address)).status_code == 404


async def test_one_from_a_queue_that_is_not_ours_is_not_sent_there(api: Api) -> None:
    address = await bury(api, queue="somebody-elses")
    answer = await api.client.post(f"{address}/replay")
    assert answer.status_code == 404
    assert (await api.client.get(address)).status_code == 200


async def test_one_is_deleted(api: Api) -> None:
    address = await bury(api)
    assert (await api.client.delete(address)).status_code == 204
    assert (await api.client.get("/dead-letters")).json() == {"items": [], "next": None}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/replay")])
@pytest.mark.parametrize("letter", ["a" * 26, "$gt", "x"])
async def test_an_unknown_one_is_a_problem(api: Api, method: str, path: str, letter: str) -> None:
    answer = await api.client.request(method, f"/dead-letters/{letter}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_failed_is_downloaded_afresh_and_what_was_on_its_way_before_counts_no_more(api: Api, amqp_url: str) -> None:
    image = (await api.client.post("/images", json={"url": "http://example.com/a"})).json()["id"]
    await until(lambda: _dispatched(api))
    await taken(amqp_url, "fetcher.download-requested")
    first = await api.revision(image)
    failed = events.DownloadFailed(image=image, revision=first, reason=Reason.DNS, detail="x", failed_at=now(), took_ms=1)
    await api.parts.catalog.settle(unfetched(failed))
    assert (await api.client.get(f"/images/{image}")).json()["status"] == "failed"

    answer = await api.client.post("/requeue", json={"status": "failed"})
    assert (answer.status_code, answer.json()["requeued"], answer.json()["more"]) == (202, 1, False)
    found = (await api.client.get(f"/images/{image}")).json()
    assert (found["status"], found["error"], len(found["attempts"])) == ("queued", None, 1)
    await api.parts.catalog.settle(unfetched(failed))
    assert (await api.client.get(f"/images/{image}")).json()["status"] == "queued"
    [request] = await until(lambda: taken(amqp_url, "fetcher.download-requested"))
    assert (request.image, request.revision, request.attempt) == (image, first + 1, 1)


async def test_a_repetition_leaves_out_what_was_requeued_already(api: Api) -> None:
    for number in range(5):
        await api.client.post("/images", json={"url": f"http://example.com/{number}"})
    await until(lambda: _later(api))
    before = now()
    assert [await api.parts.catalog.requeue(Status.QUEUED, limit=2, before=before) for _ in range(4)] == [
        (2, True),
        (2, True),
        (1, False),
        (0, False),
    ]
    first = (await api.client.post("/requeue", json={"status": "queued"})).json()
    again = (await api.client.post("/requeue", json={"status": "queued", "before": first["before"]})).json()
    assert (first["requeued"], again["requeued"]) == (5, 0)


async def _later(api: Api) -> bool:
    newest = await api.parts.catalog._images.find_one(sort=[("requested_at", -1)])
    return newest is not None and newest["requested_at"] < now()


async def _dispatched(api: Api) -> bool:
    return not await api.parts.catalog.undispatched(before=now(), limit=1)


@pytest.mark.parametrize("body", [{"status": Status.STORED}, {"status": "x"}, {}, {"status": "failed", "limit": 1}])
async def test_only_what_has_not_come_can_be_requeued(api: Api, body: dict[str, object]) -> None:
    assert (await api.client.post("/requeue", json=body)).status_code == 400
