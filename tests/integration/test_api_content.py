"""GET and HEAD /images/{id}/content over HTTP, on a real MongoDB."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from shared.blobs import CHUNK_BYTES
from tests.api import Api, id_of, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

URL = "https://example.org/K%C3%A4tzchen.png"
SMALL = random.Random(1).randbytes(10_000)
LARGE = random.Random(2).randbytes(2 * CHUNK_BYTES + 12_345)


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


@pytest.mark.parametrize("body", [b"x", SMALL, LARGE[:CHUNK_BYTES], LARGE[: CHUNK_BYTES + 1], LARGE], ids=len)
async def test_the_original_bytes_come_back_with_headers_that_keep_a_browser_safe(api: Api, body: bytes) -> None:
    where = await api.store(URL, body)
    answer = await api.client.get(f"{where}/content")
    assert answer.status_code == 200
    assert answer.content == body
    headers = answer.headers
    assert headers["content-length"] == str(len(body))
    assert headers["content-type"] == "image/jpeg"
    assert headers["etag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    assert headers["last-modified"].endswith("GMT")
    assert headers["accept-ranges"] == "bytes"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["cross-origin-resource-policy"] == "same-site"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-disposition"] == "inline; filename=\"K_tzchen.jpg\"; filename*=UTF-8''K%C3%A4tzchen.jpg"


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=len)
async def test_head_equals_get_without_the_body(api: Api, body: bytes) -> None:
    where = await api.store(URL, body)
    got, headed = await api.client.get(f"{where}/content"), await api.client.head(f"{where}/content")
    assert headed.status_code == 200
    assert headed.content == b""
    assert {**headed.headers, "date": ""} == {**got.headers, "date": ""}


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=len)
async def test_a_range_is_served_alone(api: Api, body: bytes) -> None:
    where = f"{await api.store(URL, body)}/content"
    size = len(body)
    ends = [0, 1, size // 2, size - 2, size - 1] + [end for n in (1, 2) for end in (n * CHUNK_BYTES - 1, n * CHUNK_BYTES) if end < size]
    for first in ends:
        for last in (end for end in ends if end >= first):
            answer = await api.client.get(where, headers={"range": f"bytes={first}-{last}"})
            assert answer.status_code == 206
            assert answer.content == body[first : last + 1]
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
            assert answer.headers["content-length"] == str(last + 1 - first)
    assert (await api.client.get(where, headers={"range": "bytes=-100"})).content == body[-100:]
    assert (await api.client.get(where, headers={"range": f"bytes={size - 5}-{size * 2}"})).content == body[-5:]


async def test_a_range_beyond_the_end_says_where_the_end_is(api: Api) -> None:
    where = f"{await api.store(URL, SMALL)}/content"
    answer = await api.client.get(where, headers={"range": f"bytes={len(SMALL)}-"})
    assert (answer.status_code, answer.json()["type"]) == (416, "/problems/range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(SMALL)}"


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "bytes=5-1", "chapters=1-2", "nonsense"])
async def test_other_ranges_get_the_whole(api: Api, header: str) -> None:
    where = f"{await api.store(URL, SMALL)}/content"
    answer = await api.client.get(where, headers={"range": header})
    assert (answer.status_code, answer.content) == (200, SMALL)
    assert "content-range" not in answer.headers


async def test_a_range_applies_only_to_the_content_that_the_client_began_with(api: Api) -> None:
    where = f"{await api.store(URL, SMALL)}/content"
    first = await api.client.get(where)
    for validator in (first.headers["etag"], first.headers["last-modified"]):
        assert (await api.client.get(where, headers={"range": "bytes=0-9", "if-range": validator})).status_code == 206
    assert (await api.client.get(where, headers={"range": "bytes=0-9", "if-range": '"other"'})).content == SMALL


async def test_a_copy_that_is_current_is_not_sent_again(api: Api) -> None:
    where = f"{await api.store(URL, SMALL)}/content"
    first = await api.client.get(where)
    for header in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": f'"other", W/{first.headers["etag"]}'},
        {"if-none-match": "*"},
        {"if-modified-since": first.headers["last-modified"]},
        {"if-none-match": first.headers["etag"], "range": "bytes=0-9"},
    ):
        for method in ("GET", "HEAD"):
            answer = await api.client.request(method, where, headers=header)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == first.headers["etag"]
            assert answer.headers["cache-control"] == "no-cache"
    assert (await api.client.get(where, headers={"if-none-match": '"other"'})).content == SMALL


async def test_before_it_is_stored_the_answer_says_how_far_it_is(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    answer = await api.client.get(f"/images/{id_of(URL)}/content")
    assert (answer.status_code, answer.json()["type"], answer.json()["status_of_image"]) == (409, "/problems/not-stored", "queued")


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=len)
async def test_bytes_that_cannot_be_had_are_an_error_and_not_the_beginning_of_an_answer(api: Api, body: bytes) -> None:
    where = await api.store(URL, body)
    image = await api.parts.catalog.get(id_of(URL))
    assert image is not None
    await api.parts.blobs._chunks.delete_many({"files_id": image.file})
    answer = await api.client.get(f"{where}/content")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
