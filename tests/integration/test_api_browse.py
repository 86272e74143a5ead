"""GET /images and GET /images/{id} over HTTP, on a real MongoDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from shared import urls
from shared.errors import Reason
from shared.events import DownloadDelayed, DownloadFailed
from shared.image import Addition
from shared.outcomes import unfetched
from tests.api import Api, id_of, running_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

URL = "https://example.org/cat.jpg"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def submit(api: Api, count: int) -> list[str]:
    """The ids of new images, newest first."""
    ids = [(await api.client.post("/images", json={"url": f"https://example.org/{number}"})).json()["id"] for number in range(count)]
    return ids[::-1]


async def test_a_queued_image_has_what_is_known_and_nulls(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    image = (await api.client.get(f"/images/{id_of(URL)}")).json()
    added_at = image.pop("added_at")
    assert datetime.fromisoformat(added_at).utcoffset() == timedelta(0)
    assert image == {
        "id": id_of(URL), "status": "queued", "source_url": URL, "stored_url": None, "completed_at": None, "format": None, "content_type": None,
        "width": None, "height": None, "size": None, "sha256": None, "attempts": [], "next_attempt_at": None, "error": None,
        "checked_at": None, "callback_url": None, "alternatives": [], "page": None, "pages": [], "same_bytes": [],
        "links": {"self": f"/images/{id_of(URL)}", "content": None, "versions": None, "images": None},
    }  # fmt: skip


async def test_a_stored_image_says_what_it_is_and_how_it_was_got(api: Api) -> None:
    where = await api.store(URL, b"bytes")
    image = (await api.client.get(where)).json()
    assert (image["status"], image["format"], image["content_type"], image["width"], image["height"], image["size"]) == (
        "stored",
        "jpeg",
        "image/jpeg",
        3,
        2,
        5,
    )
    assert image["stored_url"] == image["links"]["content"] == f"{where}/content"
    assert image["completed_at"].endswith("Z")
    [attempt] = image["attempts"]
    assert (attempt["number"], attempt["took_ms"], attempt["reason"], attempt["detail"]) == (1, 7, None, None)
    assert attempt["at"].endswith("Z")


async def test_failures_are_told_with_their_reasons(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    facts: dict[str, Any] = {"image": id_of(URL), "revision": await api.revision(id_of(URL)), "failed_at": now, "took_ms": 40}
    late = DownloadDelayed(**facts, attempt=1, reason=Reason.TIMEOUT, detail="Too slow.", next_attempt_at=now + timedelta(seconds=5))
    await api.parts.catalog.settle(unfetched(late))
    image = (await api.client.get(f"/images/{id_of(URL)}")).json()
    assert (image["status"], image["next_attempt_at"], image["error"]) == ("delayed", "2026-01-31T12:00:05Z", None)
    await api.parts.catalog.settle(unfetched(DownloadFailed(**facts, attempt=2, reason=Reason.HTTP_STATUS, detail="404 Not Found")))
    image = (await api.client.get(f"/images/{id_of(URL)}")).json()
    assert (image["status"], image["next_attempt_at"]) == ("failed", None)
    assert image["error"] == {"reason": "http_status", "detail": "404 Not Found"}
    assert [(a["number"], a["reason"], a["took_ms"]) for a in image["attempts"]] == [(1, "timeout", 40), (2, "http_status", 40)]


@pytest.mark.parametrize("image", ["x", "a" * 26, "A" * 26, "a" * 27, "%00", "..%2f..", "a" * 5000, "$where", "%7B%22$gt%22:%22%22%7D"])
async def test_an_unknown_id_is_not_found(api: Api, image: str) -> None:
    for path in (f"/images/{image}", f"/images/{image}/content"):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert answer.json()["type"] in {"/problems/unknown-image", "/problems/not-found"}


async def test_head_answers_as_get_without_the_body(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    for path in (f"/images/{id_of(URL)}", "/images"):
        got, headed = await api.client.get(path), await api.client.head(path)
        assert (headed.status_code, headed.content, headed.headers["content-length"]) == (200, b"", got.headers["content-length"])


async def test_an_empty_list_has_no_next_page(api: Api) -> None:
    answer = await api.client.get("/images")
    assert answer.json() == {"items": [], "next": None}
    assert "link" not in answer.headers


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8, 500])
async def test_the_pages_together_are_the_whole_list_newest_first(api: Api, limit: int) -> None:
    ids = await submit(api, 7)
    seen, path = [], f"/images?limit={limit}"
    while path:
        answer = await api.client.get(path)
        page = answer.json()
        assert 1 <= len(page["items"]) <= limit
        assert answer.headers.get("link") == (f'<{page["next"]}>; rel="next"' if page["next"] else None)
        seen += [image["id"] for image in page["items"]]
        path = page["next"]
    # As times, not as text: RFC 3339 leaves out a fraction that is zero.
    times = {image: datetime.fromisoformat((await api.client.get(f"/images/{image}")).json()["added_at"]) for image in seen}
    assert seen == sorted(ids, key=lambda image: (times[image], image), reverse=True)


async def test_images_of_the_same_millisecond_are_neither_skipped_nor_repeated(api: Api) -> None:
    documents = await api.parts.catalog.add([Addition(letter * 26, urls.parse(f"https://example.org/{letter}")) for letter in "gfedcba"])
    assert len({image.added_at for image in documents if image}) == 1
    first = (await api.client.get("/images?limit=3")).json()
    second = (await api.client.get(first["next"])).json()
    third = (await api.client.get(second["next"])).json()
    assert "".join(image["id"][0] for page in (first, second, third) for image in page["items"]) == "gfedcba"
    assert third["next"] is None


async def test_an_image_that_is_added_meanwhile_does_not_shift_the_pages(api: Api) -> None:
    ids = await submit(api, 4)
    first = (await api.client.get("/images?limit=2")).json()
    await api.client.post("/images", json={"url": URL})
    second = (await api.client.get(first["next"])).json()
    assert {image["id"] for image in first["items"] + second["items"]} == set(ids)


async def test_the_list_can_be_narrowed_to_a_status_on_every_page(api: Api) -> None:
    for number in range(3):
        await api.store(f"https://stored.example/{number}", b"x")
    await submit(api, 3)
    page = (await api.client.get("/images?status=stored&limit=2")).json()
    rest = (await api.client.get(page["next"])).json()
    assert [image["status"] for image in page["items"] + rest["items"]] == ["stored"] * 3
    assert (await api.client.get("/images?status=failed")).json() == {"items": [], "next": None}


async def test_the_image_of_a_url_is_found_however_it_is_written(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    answer = await api.client.get("/images?url=" + quote("HTTPS://EXAMPLE.ORG:443/cat.jpg#x", safe=""))
    assert answer.status_code == 200
    assert answer.json()["id"] == id_of(URL)
    assert answer.headers["content-location"] == f"/images/{id_of(URL)}"


async def test_a_url_that_was_never_submitted_is_not_found(api: Api) -> None:
    answer = await api.client.get("/images", params={"url": URL})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-image")


@pytest.mark.parametrize(
    ("url", "rule"), [("hello", "url-syntax"), ("", "url-syntax"), ("ftp://example.org/", "url-scheme"), ("http://127.0.0.1/", "url-address")]
)
async def test_a_url_that_cannot_have_been_submitted_is_refused(api: Api, url: str, rule: str) -> None:
    answer = await api.client.get("/images", params={"url": url})
    assert (answer.status_code, answer.json()["rule"]) == (422, rule)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"limit={value}", "limit") for value in ("0", "-1", "501", "1000000000", "x", "", "1.5")),
        *((f"cursor={value}", "cursor") for value in ("", "x", "AAAA", "%00", "A" * 47, "a" * 5000)),
        *((f"status={value}", "status") for value in ("", "done", "STORED", "stored,failed")),
        ("limti=5", "limti"),
        ("limit=5&limit=6", "limit"),
        ("status[$ne]=stored", "status[$ne]"),
        ("url=https://example.org/?a=1&b=2", "b"),
    ],
)
async def test_a_bad_parameter_is_named(api: Api, query: str, name: str) -> None:
    answer = await api.client.get(f"/images?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-parameter")
    assert answer.json()["errors"][0]["parameter"] == name
