"""POST /batches and GET /batches/{id} over HTTP, on a real MongoDB and RabbitMQ."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from services.api.batches import MAX_BODY_BYTES
from services.api.lines import MAX_URLS
from shared import topology
from tests.api import Api, gate_to, id_of, rabbitmq_says, running_api, taken, through
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio

A, B, C = (f"https://example.org/{name}.jpg" for name in "abc")
TYPES = ["application/json", "application/x-ndjson", "text/uri-list"]


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


def body_of(media_type: str, urls: list[str]) -> bytes:
    if media_type == "application/json":
        return json.dumps({"urls": urls}).encode()
    return "".join(f"{json.dumps({'url': url}) if 'json' in media_type else url}\r\n" for url in urls).encode()


async def post(api: Api, urls: list[str], media_type: str = "application/json", **headers: str) -> httpx.Response:
    return await api.client.post("/batches", content=body_of(media_type, urls), headers={"content-type": media_type, **headers})


def fates(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 202, answer.text
    return [item["outcome"] for item in answer.json()["items"]]


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{kind}"
    return body


async def nothing_recorded(api: Api) -> bool:
    """Neither an image nor a batch."""
    counts = [await collection.count_documents({}) for collection in (api.parts.catalog._images, api.parts.batches._batches)]
    return counts == [0, 0]


@pytest.mark.parametrize("media_type", TYPES)
async def test_each_line_is_told_what_became_of_it_in_order(api: Api, media_type: str) -> None:
    await api.store(A, b"bytes")
    given = [
        B,
        A,
        "ftp://example.org/",
        f"{B}#again",
        C,
        "HTTPS://EXAMPLE.org/b.jpg",
        "http://127.0.0.1/",
        f"{A}#again",
        "https://example.org/" + "x" * 3000,
    ]
    answer = await post(api, given, media_type)
    assert fates(answer) == ["accepted", "known", "refused", "repeated", "accepted", "repeated", "refused", "repeated", "refused"]
    batch = answer.json()
    items = batch["items"]
    assert [item["url"] for item in items] == [url[:2048] for url in given]
    assert [item.get("image") for item in items] == [f"/images/{id_of(url)}" if url else None for url in (B, A, "", B, C, B, "", A, "")]
    assert [item["rule"] for item in items if "rule" in item] == ["url-scheme", "url-address", "url-too-long"]
    assert all(item["detail"] for item in items if item["outcome"] == "refused")
    assert {name: batch[name] for name in ("total", "accepted", "known", "repeated", "refused")} == {
        "total": 9, "accepted": 2, "known": 1, "repeated": 3, "refused": 3,
    }  # fmt: skip
    assert batch["images"] == {"queued": 2, "delayed": 0, "stored": 1, "failed": 0, "expanded": 0}
    assert answer.headers["location"] == batch["links"]["self"] == f"/batches/{batch['id']}"
    assert (await api.client.get(answer.headers["location"])).json() == {name: value for name, value in batch.items() if name != "items"}


async def test_its_images_are_listed_counted_and_asked_for(api: Api, amqp_url: str) -> None:
    await rabbitmq_says(api, "ok")
    await api.store("https://example.org/of-no-batch.jpg", b"bytes")
    await api.store(C, b"bytes")
    await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name)
    batch = (await post(api, [A, B, C, "hello"])).json()
    listed = (await api.client.get(batch["links"]["images"])).json()["items"]
    assert sorted(image["source_url"] for image in listed) == [A, B, C]
    await api.fetched(id_of(A), b"bytes")
    await api.failed(id_of(B))
    stored = (await api.client.get(batch["links"]["images"] + "&status=stored")).json()["items"]
    assert sorted(image["source_url"] for image in stored) == [A, C]
    assert (await api.client.get(batch["links"]["self"])).json()["images"] == {"queued": 0, "delayed": 0, "stored": 2, "failed": 1, "expanded": 0}
    asked: set[str] = set()

    async def both_asked_for() -> bool:
        asked.update(request.url for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
        return asked >= {A, B}

    await until(both_asked_for)
    assert C not in asked, "what is stored isn't downloaded again"


async def test_an_image_can_be_in_many_batches_and_a_page(api: Api) -> None:
    await api.expand("https://example.org/gallery", [A])
    batches = [(await post(api, [A])).json() for _ in range(3)]
    assert [batch["known"] for batch in batches] == [1, 1, 1]
    for batch in batches:
        assert [image["source_url"] for image in (await api.client.get(batch["links"]["images"])).json()["items"]] == [A]
    both = {"batch": batches[0]["id"], "page": id_of("https://example.org/gallery")}
    assert len((await api.client.get("/images", params=both)).json()["items"]) == 1


async def test_a_file_as_people_have_them(api: Api) -> None:
    body = f"\ufeff# my pictures\r\n\r\n{A}\r\n   {B}  \r\nhttps://example.org/\xff\r\n#{C}\r\nhttps://example.org/caf\u00e9.jpg".encode()
    answer = await api.client.post("/batches", content=body + b"\r\n\xff\xfe", headers={"content-type": "text/uri-list"})
    assert fates(answer) == ["accepted", "accepted", "accepted", "accepted", "refused"]
    assert answer.json()["items"][-1] == {"url": None, "outcome": "refused", "rule": "line-syntax", "detail": "The line isn't UTF-8."}
    lines = f'{{"url": "{A}"}}\n{{"url": \n"{C}"'.encode()
    answer = await api.client.post("/batches", content=lines, headers={"content-type": "application/x-ndjson"})
    assert fates(answer) == ["known", "refused", "accepted"]


@pytest.mark.parametrize("media_type", TYPES)
async def test_ten_thousand_are_taken_and_one_more_is_not(api: Api, media_type: str) -> None:
    urls = [f"https://example.org/{number}.jpg" for number in range(MAX_URLS + 1)]
    found = problem(await post(api, urls, media_type), 413, "content-too-large")
    assert "10,000" in found["detail"]
    assert await nothing_recorded(api)
    answer = await post(api, urls[:-1], media_type)
    assert set(fates(answer)) == {"accepted"}
    batch = answer.json()
    assert (batch["accepted"], batch["images"]["queued"]) == (MAX_URLS, MAX_URLS)
    assert await api.parts.catalog._images.count_documents({"in": batch["id"]}) == MAX_URLS


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("announced", [False, True])
async def test_a_body_that_is_too_large_records_nothing_and_its_sender_is_told(api: Api, media_type: str, announced: bool) -> None:  # noqa: FBT001
    start = b'{"urls": ["https://example.org/a.jpg", "' if media_type == "application/json" else b'"https://example.org/a.jpg"\n"'
    body = start + b"x" * MAX_BODY_BYTES

    async def chunks() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), 1024**2):
            yield body[begin : begin + 1024**2]

    answer = await api.client.post("/batches", content=body if announced else chunks(), headers={"content-type": media_type})
    problem(answer, 413, "content-too-large")
    assert await nothing_recorded(api)


@pytest.mark.parametrize("media_type", TYPES)
async def test_who_goes_on_sending_after_too_many_is_told_so(api: Api, media_type: str) -> None:
    body = body_of(media_type, [f"https://example.org/{number}" for number in range(MAX_URLS + 1)] + ["https://example.org/" + "x" * 1900] * 8000)
    answer = await api.client.post("/batches", content=body, headers={"content-type": media_type})
    problem(answer, 413, "content-too-large")
    assert await nothing_recorded(api)


@pytest.mark.parametrize(
    ("media_type", "body", "status", "kind"),
    [
        ("", b"https://example.org/", 415, "unsupported-media-type"),
        ("text/plain", b"https://example.org/", 415, "unsupported-media-type"),
        ("application/x-www-form-urlencoded", b"urls=https://example.org/", 415, "unsupported-media-type"),
        ("application/json", b"", 400, "bad-body"),
        ("application/json", b'{"urls": []}', 400, "bad-body"),
        ("application/json", b'["https://example.org/"]', 400, "bad-body"),
        ("application/json", b'{"urls": ["https://example.org/", 5]}', 400, "bad-body"),
        ("application/json", b'{"urls": ["https://example.org/"]', 400, "bad-body"),
        ("application/x-ndjson", b"\n\n", 400, "bad-body"),
        ("text/uri-list", b"# nothing\n", 400, "bad-body"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(api: Api, media_type: str, body: bytes, status: int, kind: str) -> None:
    headers = {"content-type": media_type} if media_type else {}
    answer = await api.client.post("/batches", content=body, headers=headers)
    problem(answer, status, kind)
    if status == 415:
        assert answer.headers["accept-post"].startswith("application/json, text/uri-list, application/x-ndjson")
    assert await nothing_recorded(api)


async def test_a_batch_of_nothing_but_refused_lines_is_a_batch(api: Api) -> None:
    batch = (await post(api, ["hello", "ftp://example.org/"])).json()
    assert (batch["total"], batch["refused"], sum(batch["images"].values())) == (2, 2, 0)
    assert (await api.client.get(batch["links"]["images"])).json() == {"items": [], "next": None}


@pytest.mark.parametrize("batch", ["x", "0" * 32, "a" * 26, "A" * 32, "0" * 33, "$where", "%00"])
async def test_an_unknown_batch_is_not_found(api: Api, batch: str) -> None:
    problem(await api.client.get(f"/batches/{batch}"), 404, "unknown-batch")
    assert (await api.client.head(f"/batches/{batch}")).status_code == 404


async def test_addresses_are_absolute_behind_a_proxy(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, public_url="https://pictures.example/api") as api:
        await api.client.post("/images", json={"url": A})
        answer = await post(api, [A, B])
        batch = answer.json()
        assert [item["outcome"] for item in batch["items"]] == ["known", "accepted"]
        assert batch["items"][1]["image"] == f"https://pictures.example/api/images/{id_of(B)}"
        assert answer.headers["location"] == f"https://pictures.example/api/batches/{batch['id']}"


@pytest.mark.parametrize("media_type", TYPES)
async def test_a_client_that_drips_and_goes_away_has_changed_nothing(api: Api, media_type: str) -> None:
    url = api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    for byte in body_of(media_type, [A, B, C]):
        writer.write(b"1\r\n%c\r\n" % byte)
        await writer.drain()
    # An answer to another client shows that the server has had its turns.
    for _ in range(20):
        assert (await api.client.get("/images")).json()["items"] == []
    writer.transport.abort()
    for _ in range(20):
        await api.client.get("/health/live")
    assert await nothing_recorded(api)
    assert await reader.read(1) == b""


async def test_with_the_broker_away_a_batch_is_accepted_and_asked_for_when_it_is_back(mongo_url: str, amqp_url: str) -> None:
    async with gate_to(amqp_url) as gate, running_api(mongo_url, through(gate, amqp_url)) as api:
        await rabbitmq_says(api, "ok")
        gate.shut()
        await rabbitmq_says(api, "not connected")
        urls = [f"https://example.org/{number}" for number in range(1500)]
        assert set(fates(await post(api, urls))) == {"accepted"}
        await gate.open()
        asked: set[str] = set()

        async def all_asked_for() -> bool:
            asked.update(request.url for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
            return asked == set(urls)

        await until(all_asked_for, seconds=30, every=0.2)


@pytest.mark.parametrize("how", ["shut", "stuck"])
async def test_with_mongodb_away_a_batch_is_refused_and_the_next_try_finds_all_well(mongo_url: str, amqp_url: str, how: str) -> None:
    async with gate_to(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        await api.store(A, b"bytes")
        if how == "shut":
            gate.shut()
        else:
            gate.hold()
        async with asyncio.timeout(10):
            answer = await post(api, [A, B], **{"idempotency-key": "key"})
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        if how == "shut":
            await gate.open()
        else:
            gate.release()

        async def accepted() -> bool:
            return (await post(api, [A, B], **{"idempotency-key": "key"})).status_code == 202

        await until(accepted)
        assert fates(await post(api, [A, B], **{"idempotency-key": "key"})) == ["known", "accepted"]
        assert len(await api.parts.catalog.undispatched(before=datetime.now(UTC) + timedelta(minutes=1), limit=10)) <= 2
