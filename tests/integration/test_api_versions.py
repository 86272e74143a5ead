"""GET /images/{id}/versions, their content and their deletion, over HTTP, on a real MongoDB."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared.blobs import CHUNK_BYTES
from tests.api import Api, id_of, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"
ID = id_of(URL)
OWN = f"/images/{ID}"
FIRST, SECOND, THIRD = random.Random(1).randbytes(10_000), random.Random(2).randbytes(CHUNK_BYTES + 777), b"third"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def history(api: Api, *bodies: bytes) -> None:
    """Has the image hold these, one after another."""
    for number, body in enumerate(bodies):
        await api.client.put("/images", json={"url": URL})
        await api.fetched(ID, body, format="png" if number % 2 else "jpeg", content_type="image/png" if number % 2 else "image/jpeg", width=number)


async def listed(api: Api) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await api.client.get(f"{OWN}/versions")).json()["items"]
    return items


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def content(body: bytes) -> str:
    return f"{OWN}/versions/{sha256(body)}/content"


async def test_former_copies_are_listed_the_latest_first_with_what_they_were(api: Api) -> None:
    await history(api, FIRST, SECOND, THIRD)
    latest, first = await listed(api)
    assert (latest["sha256"], latest["size"], latest["format"], latest["content_type"]) == (sha256(SECOND), len(SECOND), "png", "image/png")
    assert (first["sha256"], first["size"], first["format"], first["width"], first["height"]) == (sha256(FIRST), len(FIRST), "jpeg", 0, 2)
    assert first["content"] == content(FIRST)
    times = [datetime.fromisoformat(text) for text in (first["fetched_at"], first["replaced_at"], latest["replaced_at"])]
    assert times == sorted(times)
    got, headed = await api.client.get(f"{OWN}/versions"), await api.client.head(f"{OWN}/versions")
    assert (headed.status_code, headed.content, headed.headers["content-length"]) == (200, b"", str(len(got.content)))
    assert (await api.client.get(OWN)).json()["links"]["versions"] == f"{OWN}/versions"


async def test_their_addresses_are_absolute_behind_a_proxy(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, public_url="https://pictures.example/api") as api:
        await history(api, FIRST, SECOND)
        [version] = await listed(api)
    assert version["content"] == f"https://pictures.example/api{content(FIRST)}"


@pytest.mark.parametrize("body", [FIRST, SECOND, THIRD], ids=["small", "of two chunks", "present"])
async def test_each_copy_is_served_by_its_hash_like_any_content(api: Api, body: bytes) -> None:
    await history(api, FIRST, SECOND, THIRD)
    answer = await api.client.get(content(body))
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["etag"] == f'"{sha256(body)}"'
    assert answer.headers["content-type"] == ("image/png" if body is SECOND else "image/jpeg")
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert ".png" in answer.headers["content-disposition"] if body is SECOND else ".jpg" in answer.headers["content-disposition"]
    headed = await api.client.head(content(body))
    assert (headed.status_code, headed.content) == (200, b"")
    assert {**headed.headers, "date": ""} == {**answer.headers, "date": ""}
    part = await api.client.get(content(body), headers={"range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, body[1:4], f"bytes 1-3/{len(body)}")
    beyond = await api.client.get(content(body), headers={"range": f"bytes={len(body)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(body)}")
    for header in ({"if-none-match": answer.headers["etag"]}, {"if-modified-since": answer.headers["last-modified"]}):
        same = await api.client.get(content(body), headers=header)
        assert (same.status_code, same.content) == (304, b"")
    assert (await api.client.get(content(body), headers={"if-none-match": f'"{sha256(b"other")}"'})).content == body


async def test_a_former_copy_is_served_while_and_after_a_refresh_fails(api: Api) -> None:
    await history(api, FIRST, SECOND)
    await api.client.put("/images", json={"url": URL})
    assert (await api.client.get(content(FIRST))).content == FIRST
    await api.failed(ID)
    assert (await api.client.get(content(FIRST))).content == FIRST
    assert (await api.client.get(content(SECOND))).content == SECOND


async def test_a_deleted_one_is_gone_and_the_others_stay(api: Api) -> None:
    await history(api, FIRST, SECOND, FIRST, THIRD)
    where = f"{OWN}/versions/{sha256(FIRST)}"
    assert (await api.client.delete(where)).status_code == 204
    assert [version["sha256"] for version in await listed(api)] == [sha256(SECOND)]
    assert (await api.client.get(content(FIRST))).status_code == 404
    again = await api.client.delete(where)
    assert (again.status_code, again.json()["type"]) == (404, "/problems/unknown-version")
    assert (await api.client.get(f"{OWN}/content")).content == THIRD


async def test_deleting_a_former_copy_of_the_present_bytes_keeps_the_present_one(api: Api) -> None:
    await history(api, FIRST, SECOND, FIRST)
    where = f"{OWN}/versions/{sha256(FIRST)}"
    assert [(await api.client.delete(where)).status_code for _ in range(2)] == [204, 404]
    assert (await api.client.get(content(FIRST))).content == (await api.client.get(f"{OWN}/content")).content == FIRST


async def test_an_image_without_former_copies_has_an_empty_list(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    assert await listed(api) == []
    assert (await api.client.get(content(FIRST))).json()["type"] == "/problems/unknown-version"
    await api.fetched(ID, FIRST)
    assert await listed(api) == []


@pytest.mark.parametrize(
    "given", ["x", "0" * 64, sha256(FIRST)[:63], sha256(FIRST).upper(), sha256(b""), "$sha256", "%24sha256", "%00", "..%2f", "a" * 4000]
)
async def test_what_is_no_hash_of_a_copy_is_an_unknown_version(api: Api, given: str) -> None:
    await history(api, FIRST, SECOND)
    for method, path in (
        ("GET", f"{OWN}/versions/{given}/content"),
        ("HEAD", f"{OWN}/versions/{given}/content"),
        ("DELETE", f"{OWN}/versions/{given}"),
    ):
        answer = await api.client.request(method, path)
        assert answer.status_code == 404
        if method != "HEAD":
            assert answer.json()["type"] in {"/problems/unknown-version", "/problems/not-found"}
    assert len(await listed(api)) == 1


@pytest.mark.parametrize("image", ["x", "a" * 26, "A" * 26, "$where", "%00"])
async def test_of_an_unknown_image_there_are_none(api: Api, image: str) -> None:
    for method, path in (("GET", ""), ("GET", f"/{sha256(FIRST)}/content"), ("DELETE", f"/{sha256(FIRST)}")):
        answer = await api.client.request(method, f"/images/{image}/versions{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-image")


async def test_of_very_many_the_newest_thousand_are_kept(api: Api) -> None:
    await history(api, FIRST, SECOND)
    image = await api.parts.catalog.get(ID)
    assert image
    former = (await api.parts.catalog._images.find_one({"_id": ID}, {"versions": 1}))["versions"][0]  # type: ignore[index]
    await api.parts.catalog._images.update_one({"_id": ID}, {"$set": {"versions": [{**former, "sha256": f"{number:064}"} for number in range(1000)]}})
    await history(api, THIRD)
    versions = await listed(api)
    assert (len(versions), versions[0]["sha256"], versions[-1]["sha256"]) == (1000, sha256(SECOND), f"{1:064}")
