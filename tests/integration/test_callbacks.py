"""Callbacks on real servers: signed, delivered, tried again, and never where they must not go."""

from __future__ import annotations

import dataclasses
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from services.fetcher.callbacks import Callbacks as Caller
from services.fetcher.main import fetcher
from shared.deliveries import Kind, delivery_id
from shared.status import Status, now
from tests.callbacks import DELAYS, IMAGE, OLD_SECRET, PICTURE, SECRET, World, failed, running, settings_for, stored
from tests.origin import Origin, body, image
from tests.polling import until
from tests.receiver import Endless, Receiver, never

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(amqp_url: str, mongo_url: str) -> Settings:
    return settings_for(amqp_url, mongo_url)


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with running(settings) as world:
        yield world


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


# What is sent


async def test_a_stored_image_is_told_of_signed_with_each_secret(world: World, receiver: Receiver) -> None:
    delivery = await world.tell(receiver.url)
    found = await world.settled(delivery, "delivered")
    [call] = receiver.came
    assert call.path == "/told?token=hush"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("Bowerbird/")
    assert call.headers["webhook-id"] == delivery
    assert call.signed_with(SECRET)
    assert call.signed_with(OLD_SECRET)
    assert not call.signed_with("whsec_" + "A" * 44)
    message = call.message
    assert message["type"] == "image.stored"
    assert message["timestamp"].endswith("Z")
    own = f"https://pictures.example/images/{IMAGE}"
    data = message["data"]
    assert (data["id"], data["status"], data["source_url"], data["sha256"]) == (IMAGE, "stored", PICTURE, "ab" * 32)
    assert (data["format"], data["width"], data["height"], data["size"], data["stored_url"]) == ("jpeg", 3, 2, 5, f"{own}/content")
    assert data["links"] == {"self": own, "content": f"{own}/content"}
    assert found["payload"].encode() == call.body
    [attempt] = found["attempts"]
    assert (attempt["number"], attempt["replay"], attempt["http_status"], attempt["reason"]) == (1, 0, 204, None)
    assert found["delivered_at"] == attempt["at"]


async def test_a_failed_image_is_told_of_with_its_reason(world: World, receiver: Receiver) -> None:
    await world.settled(await world.tell(receiver.url, failed()), "delivered")
    [call] = receiver.came
    assert call.message["type"] == "image.failed"
    assert call.message["data"]["source_url"] == PICTURE
    assert call.message["data"]["error"] == {"reason": "dns", "detail": "The host's name does not exist."}


async def test_a_batch_that_is_done_is_told_of_once(world: World, receiver: Receiver) -> None:
    batch = "b" * 32
    await world.api.parts.batches.begin(batch, fingerprint="x", total=3, callback=None)
    for _ in range(3):
        await world.publish(await world.callbacks.for_batch(batch, {Status.STORED: 2, Status.FAILED: 1}, 3, receiver.url, now()))
        await world.settled(delivery_id(batch, 1, Kind.BATCH_COMPLETED), "delivered")
    [call] = receiver.came
    data = call.message["data"]
    assert (data["id"], data["total"], data["counts"]) == (batch, 3, {Status.STORED: 2, Status.FAILED: 1})
    [listed] = (await world.api.client.get(f"/batches/{batch}/deliveries")).json()["items"]
    assert (listed["type"], listed["links"]["about"]) == ("batch.completed", f"https://pictures.example/batches/{batch}")


# What follows from an answer


async def test_a_failure_is_tried_again_with_the_same_id_after_the_delays(world: World, receiver: Receiver) -> None:
    receiver.answers = [500, 404, 200]
    delivery = await world.tell(receiver.url)
    found = await world.settled(delivery, "delivered")
    first, second, third = receiver.came
    assert {call.headers["webhook-id"] for call in receiver.came} == {delivery}
    assert {call.body for call in receiver.came} == {first.body}
    assert all(call.signed_with(SECRET) for call in receiver.came)
    assert second.at - first.at >= DELAYS[0] * 0.8
    assert third.at - second.at >= DELAYS[1] * 0.8
    assert [(attempt["number"], attempt["http_status"]) for attempt in found["attempts"]] == [(1, 500), (2, 404), (3, 200)]
    assert found["attempts"][0]["detail"] == "The receiver answered 500 Internal Server Error."


async def test_after_the_last_delay_it_has_failed(world: World, receiver: Receiver) -> None:
    receiver.answers = [500]
    found = await world.settled(await world.tell(receiver.url), "failed")
    assert len(receiver.came) == len(found["attempts"]) == 1 + len(DELAYS)
    assert (found["next_attempt_at"], found["delivered_at"]) == (None, None)


async def test_gone_is_the_end(world: World, receiver: Receiver) -> None:
    receiver.answers = [410]
    found = await world.settled(await world.tell(receiver.url), "failed")
    assert len(receiver.came) == 1
    assert found["attempts"][0]["detail"] == "The receiver answered 410 Gone: it wants no more of these."


async def test_a_receiver_that_names_a_time_is_left_alone_until_then_and_that_spends_no_attempt(settings: Settings, receiver: Receiver) -> None:
    busy = [web.Response(status=429, headers={"retry-after": "1"}), web.Response(status=503, headers={"retry-after": "1"})]
    receiver.answers = [*busy, 500, 200]
    async with running(dataclasses.replace(settings, retry_delays=(1.0,))) as world:
        found = await world.settled(await world.tell(receiver.url), "delivered")
    first, second, third, _ = receiver.came
    assert second.at - first.at >= 1.0
    assert third.at - second.at >= 1.0
    assert [attempt["number"] for attempt in found["attempts"]] == [1, 2, 3, 4]


async def test_redirects_are_not_followed(world: World, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=302, headers={"location": "/elsewhere"}), 200]
    found = await world.settled(await world.tell(receiver.url), "delivered")
    assert [call.path for call in receiver.came] == ["/told?token=hush"] * 2
    refused = found["attempts"][0]
    assert (refused["reason"], refused["detail"]) == ("redirect", "The receiver answered 302 Found: redirects are not followed.")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_never_asked(world: World, host: str) -> None:
    async with Origin("127.0.0.1") as canary:
        found = await world.settled(await world.tell(f"http://{host}:{canary.port}/"), "failed")
        assert not canary.connections
    assert [attempt["reason"] for attempt in found["attempts"]] == ["blocked"]


async def test_a_name_that_resolves_inside_is_never_asked(settings: Settings) -> None:
    async def inside(_: str) -> list[str]:
        return ["127.0.0.1"]

    async with Origin("127.0.0.1") as canary, running(settings, caller=partial(Caller, lookup=inside)) as world:
        found = await world.settled(await world.tell(f"http://public.example:{canary.port}/"), "failed")
        assert not canary.connections
    assert [attempt["reason"] for attempt in found["attempts"]] == ["blocked"]


async def test_what_a_queue_brings_is_checked_again(world: World) -> None:
    found = await world.settled(await world.tell("file:///etc/passwd"), "failed")
    assert [attempt["reason"] for attempt in found["attempts"]] == ["blocked"]


async def test_nobody_there_is_a_failure_that_may_pass(world: World) -> None:
    async with Receiver() as gone:
        url = gone.url
    found = await world.settled(await world.tell(url), "failed")
    assert [attempt["reason"] for attempt in found["attempts"]] == ["connect"] * (1 + len(DELAYS))
    assert found["attempts"][0]["detail"] == "The receiver can't be connected to."


async def test_a_huge_answer_is_a_success_of_which_little_is_read(world: World, receiver: Receiver) -> None:
    receiver.answers = [huge := Endless()]
    found = await world.settled(await world.tell(receiver.url), "delivered")
    assert len(found["attempts"]) == 1
    assert huge.sent < 32 * 1024**2, "what the buffers on the way hold, and no more"


async def test_slow_receivers_time_out_and_delay_no_download_and_no_other_receiver(settings: Settings, receiver: Receiver) -> None:
    patient = partial(Caller, attempt_seconds=4.0)
    async with Receiver("127.77.0.2") as slow, Origin("127.77.0.3") as origin, running(settings, caller=patient) as world:
        slow.answers = [never]
        waiting = [await world.tell(slow.url, stored(revision=number)) for number in range(40)]
        await slow.calls(5)
        started = time.monotonic()
        submitted = await world.api.client.post("/images", json={"url": origin.on("/a.jpg", body(image()))})
        quick = await world.tell(receiver.url, stored(revision=99))
        await world.settled(quick, "delivered", seconds=3)

        async def downloaded() -> bool:
            found = (await world.api.client.get(f"/images/{submitted.json()['id']}")).json()
            return bool(found["status"] == "stored")

        await until(downloaded, seconds=3)
        assert time.monotonic() - started < 3
        assert len(slow.came) == 5, "no more than that at once"
        found = await until(partial(_attempted, world, waiting[0]))
        assert (found["attempts"][0]["reason"], found["attempts"][0]["http_status"]) == ("timeout", None)


async def _attempted(world: World, delivery: str) -> Any:
    found = (await world.api.client.get(f"/deliveries/{delivery}")).json()
    return found if found["attempts"] else None


async def test_no_secret_and_no_query_is_in_any_log(world: World, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="bowerbird")
    receiver.answers = [500]
    await world.settled(await world.tell(receiver.url), "failed")
    await world.replay(delivery_id(IMAGE, 1, Kind.IMAGE_STORED))
    text = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith("bowerbird"))
    assert "a callback failed" in text
    for secret in ("hush", SECRET.removeprefix("whsec_"), OLD_SECRET.removeprefix("whsec_"), "v1,"):
        assert secret not in text


async def test_a_fetcher_without_a_secret_leaves_callbacks_to_one_that_has_it(settings: Settings, receiver: Receiver) -> None:
    async with running(dataclasses.replace(settings, webhook_secret=())) as world:
        delivery = await world.tell(receiver.url)
        async with fetcher(settings):
            await world.settled(delivery, "delivered")
    [call] = receiver.came
    assert call.signed_with(SECRET)
