"""Who asked to be told is told, once and signed, through the whole pipeline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from tests.callbacks import KEYS, SECRET
from tests.e2e.conftest import running
from tests.origin import body, delayed, image, sequence, status
from tests.polling import until
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings
    from tests.e2e.conftest import Pipeline
    from tests.origin import Origin
    from tests.receiver import Call

pytestmark = pytest.mark.anyio


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver("127.77.0.2") as receiver:
        yield receiver


@pytest.fixture
async def signing(settings: Settings) -> AsyncIterator[Pipeline]:
    async with running(dataclasses.replace(settings, webhook_secret=KEYS)) as pipeline:
        yield pipeline


async def delivered(pipeline: Pipeline, location: str, count: int = 1) -> list[dict[str, Any]]:
    """The deliveries about an image or a batch, once so many have arrived and are noted."""

    async def ask() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = (await pipeline.client.get(f"{location}/deliveries")).raise_for_status().json()["items"]
        return found if len(found) >= count and all(one["status"] == "delivered" for one in found) else None

    found = await until(ask)
    assert found
    assert len(found) == count
    return found


async def submit(pipeline: Pipeline, url: str, receiver: Receiver, *, method: str = "POST") -> str:
    answer = await pipeline.client.request(method, "/images", json={"url": url, "callback_url": receiver.url})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def check(call: Call) -> dict[str, Any]:
    assert call.signed_with(SECRET)
    data: dict[str, Any] = call.message["data"]
    return data


async def test_of_an_image_that_was_stored(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    location = await submit(signing, origin.on("/a.png", body(image("PNG"), "image/png")), receiver)
    [one] = await delivered(signing, location)
    [call] = receiver.came
    said = check(call)
    found = (await signing.client.get(location)).json()
    assert call.message["type"] == one["type"] == "image.stored"
    assert {name: found[name] for name in said if name != "links"} == {name: value for name, value in said.items() if name != "links"}
    assert call.headers["webhook-id"] == one["id"]
    assert call.body.decode() == one["payload"]


async def test_of_an_image_that_failed_after_all_its_attempts(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    location = await submit(signing, origin.on("/down", status(500)), receiver)
    await delivered(signing, location)
    [call] = receiver.came
    said = check(call)
    assert (call.message["type"], said["status"], said["error"]["reason"]) == ("image.failed", "failed", "http_status")
    assert origin.hits["/down"] == 1 + len(signing.settings.retry_delays), "told when no attempt was left, and not before"


async def test_of_a_page_when_its_images_are_known(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    origin.on("/a.png", body(image("PNG"), "image/png"))
    location = await submit(signing, origin.on("/page", body(b"<!DOCTYPE html><img src=/a.png>", "text/html")), receiver)
    await delivered(signing, location)
    [call] = receiver.came
    said = check(call)
    assert (call.message["type"], said["status"]) == ("page.expanded", "expanded")
    assert len((await signing.client.get(said["links"]["images"])).json()["items"]) == 1


async def test_of_each_refresh_also_when_nothing_has_changed(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    picture = body(image("PNG"), "image/png", etag='"1"')
    url = origin.on("/a.png", sequence(picture, status(304, etag='"1"'), body(image("PNG", seed=1), "image/png"), status(404)))
    location = await submit(signing, url, receiver)
    for count in range(1, 4):
        await delivered(signing, location, count)
        await submit(signing, url, receiver, method="PUT")
    await delivered(signing, location, 4)
    said = [(call.message["type"], check(call).get("sha256")) for call in receiver.came]
    assert [kind for kind, _ in said] == ["image.stored"] * 3 + ["image.failed"]
    assert said[0] == said[1] != said[2]
    assert len({call.headers["webhook-id"] for call in receiver.came}) == 4


async def test_of_a_batch_once_when_the_last_of_it_is_settled(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    slow = origin.on("/slow.png", delayed(1.5, body(image("PNG", seed=1), "image/png")))
    page = origin.on("/page", body(b"<!DOCTYPE html><img src=/a.png>", "text/html"))
    urls = [origin.on("/a.png", body(image("PNG"), "image/png")), origin.on("/gone", status(404)), slow, page, "http://10.0.0.1/"]
    answer = await signing.client.post("/batches", json={"urls": urls, "callback_url": receiver.url})
    location = answer.headers["location"]
    [call] = await receiver.calls(1)
    found = (await signing.client.get(location)).json()
    said = check(call)
    assert call.message["type"] == "batch.completed"
    assert said["counts"] == found["images"] == {"queued": 0, "delayed": 0, "stored": 2, "failed": 1, "expanded": 1}
    assert (said["id"], said["total"]) == (found["id"], 5)
    await delivered(signing, location)
    # A refresh of one of its images completes it no second time.
    await signing.settled((await signing.client.put("/images", json={"url": slow})).headers["location"])
    await delivered(signing, await submit(signing, urls[1], receiver, method="PUT"))
    assert [call.message["type"] for call in receiver.came] == ["batch.completed", "image.failed"]


async def test_of_an_image_that_was_deleted_meanwhile_nobody_is_told(signing: Pipeline, origin: Origin, receiver: Receiver) -> None:
    location = await submit(signing, origin.on("/slow.png", delayed(1.0, body(image("PNG"), "image/png"))), receiver)

    async def asked() -> bool:
        return origin.hits["/slow.png"] == 1

    await until(asked)
    assert (await signing.client.delete(location)).status_code == 204
    # One that comes after it is told of, so that the one before it would have been.
    later = await submit(signing, origin.on("/later.png", delayed(1.5, body(image("PNG"), "image/png"))), receiver)
    await delivered(signing, later)
    assert [check(call)["links"]["self"] for call in receiver.came] == [later]
