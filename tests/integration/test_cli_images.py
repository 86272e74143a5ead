"""The client's commands for images against a real api: as a program, in a pipe."""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.api import running_api
from tests.cli import bowerbird, in_a_terminal
from tests.origin import image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.api import Api

pytestmark = pytest.mark.anyio

PAGE = "https://pages.example/gallery"


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


def url(api: Api) -> str:
    return str(api.client.base_url)


async def stored(api: Api, number: int, host: str = "a.example") -> str:
    """The id of an image that is stored."""
    address = await api.store(f"https://{host}/{number}.jpg?x=1&y=2", image(seed=number))
    return address.rpartition("/")[2]


async def test_what_there_is_is_listed_by_every_filter(api: Api) -> None:
    first, other = await stored(api, 1), await stored(api, 2, "b.example")
    page = (await api.expand(PAGE, ["https://a.example/1.jpg?x=1&y=2"])).rpartition("/")[2]
    batch = (await api.client.post("/batches", json={"urls": ["https://b.example/2.jpg?x=1&y=2"]})).json()["id"]

    async def ids(*arguments: str) -> list[str]:
        done = await bowerbird(url(api), "ls", "--json", *arguments)
        assert done.code == 0, done.err
        return [json.loads(line)["id"] for line in done.out.splitlines()]

    assert await ids() == [page, other, first]
    assert await ids("--status", "expanded") == [page]
    assert await ids("--host", "b.example") == [other]
    assert await ids("--format", "jpeg", "--all") == [other, first]
    assert await ids("--page", page) == await ids("--page", PAGE) == [first]
    assert await ids("--batch", batch) == await ids("--batch", f"/batches/{batch}") == [other]
    assert await ids("--after", "1h") == [page, other, first]
    assert await ids("--before", "1h") == await ids("--after", "2999-01-01") == []
    assert await ids("--limit", "1") == [page]
    refused = await bowerbird(url(api), "ls", "--format", "svg")
    assert (refused.code, refused.out) == (1, "")
    assert "format must be one of jpeg" in refused.err


async def test_all_pages_of_a_list(api: Api) -> None:
    for start in range(0, 600, 300):
        await api.client.post("/batches", json={"urls": [f"https://a.example/{number}" for number in range(start, start + 300)]})
    done = await bowerbird(url(api), "ls", "--all", "--json")
    assert len({json.loads(line)["id"] for line in done.out.splitlines()}) == 600
    assert len((await bowerbird(url(api), "ls", "-n", "550", "--json")).out.splitlines()) == 550


async def test_an_image_is_shown_by_its_id_its_url_or_its_address(api: Api) -> None:
    name = await stored(api, 1)
    shown = [await bowerbird(url(api), "show", given) for given in (name, "https://A.example/1.jpg?x=1&y=2#z", f"{url(api)}/images/{name}")]
    assert len({done.out for done in shown}) == 1
    assert {f"id: {name}", "status: stored", "pixels: 3x2", "URL: https://a.example/1.jpg?x=1&y=2"} <= set(shown[0].out.splitlines())
    assert "1st attempt" in shown[0].out
    unknown = await bowerbird(url(api), "show", "https://a.example/none")
    assert (unknown.code, unknown.err) == (1, "https://a.example/none: This URL was never submitted.\n")


async def test_a_page_is_shown_with_its_images(api: Api) -> None:
    page = (await api.expand(PAGE, ["https://a.example/1.jpg"])).rpartition("/")[2]
    done = await bowerbird(url(api), "show", PAGE)
    assert {f"id: {page}", "status: expanded", "images: 1 found (1 queued)"} <= set(done.out.splitlines())
    assert done == await bowerbird(url(api), "show", page)


async def test_an_image_that_failed_says_why_and_what_comes(api: Api) -> None:
    name = (await api.client.post("/images", json={"url": "https://a.example/slow"})).json()["id"]
    await api.delayed(name)
    done = await bowerbird(url(api), "show", name)
    assert "status: delayed" in done.out
    assert ": too slow, after 7 ms; next " in done.out
    await api.failed(name)
    assert "why: 404 Not Found" in (await bowerbird(url(api), "show", name)).out


async def test_bytes_are_saved_as_they_were(api: Api, tmp_path: Path) -> None:
    name = await stored(api, 1)
    to = tmp_path / "cat.jpg"
    done = await bowerbird(url(api), "get", "https://a.example/1.jpg?x=1&y=2", "-o", str(to), "--json")
    assert to.read_bytes() == image(seed=1)
    assert json.loads(done.out) == {"id": name, "file": str(to), "size": len(image(seed=1)), "sha256": hashlib.sha256(image(seed=1)).hexdigest()}
    queued = (await api.client.post("/images", json={"url": "https://a.example/later"})).json()["id"]
    assert await bowerbird(url(api), "get", queued) == (1, "", f"{queued}: The image is queued: there are no bytes to serve.\n")


async def test_bytes_go_to_standard_output_but_not_to_a_terminal(api: Api) -> None:
    body = b"\x1b]0;owned\x07" + bytes(range(0x80))
    address = await api.store("https://a.example/x", body)
    piped = await bowerbird(url(api), "get", address, "-o", "-")
    assert piped.out.encode() == body
    for arguments in (("get", address, "-o", "-"), ("export", "--tar", "-")):
        shown = await in_a_terminal(url(api), *arguments)
        assert shown.code == 2
        assert "\x07" not in shown.out


async def test_an_export_is_whole_and_only_what_is_missing_comes_again(api: Api, tmp_path: Path) -> None:
    names = [await stored(api, number) for number in range(20)]
    await api.client.post("/images", json={"url": "https://a.example/later"})
    first = await bowerbird(url(api), "export", str(tmp_path / "out"), "--format", "jpeg")
    assert first.code == 0, first.err
    assert "20 saved" in first.out
    assert {(tmp_path / "out" / f"{name}.jpeg").read_bytes() for name in names} == {image(seed=number) for number in range(20)}
    (tmp_path / "out" / f"{names[3]}.jpeg").unlink()
    again = json.loads((await bowerbird(url(api), "export", str(tmp_path / "out"), "--json")).out)
    assert (again["saved"], again["there"], again["without_copy"]) == (1, 19, 1)
    with (tmp_path / "out" / "index.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == names[::-1]


async def test_an_archive_can_be_led_on(api: Api, tmp_path: Path) -> None:
    name = await stored(api, 1)
    assert (await bowerbird(url(api), "export", "--tar", str(tmp_path / "a.tar"))).code == 0
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == [f"bowerbird/{name}.jpeg", "bowerbird/index.csv", "bowerbird/index.jsonl"]


async def test_images_are_deleted_and_those_of_a_page_too(api: Api) -> None:
    name = await stored(api, 1)
    await api.expand(PAGE, ["https://p.example/1.jpg", "https://a.example/1.jpg?x=1&y=2"])
    assert (await bowerbird(url(api), "rm", PAGE)).code == 2
    assert await bowerbird(url(api), "rm", PAGE, "--images", "--yes") == (0, f"{PAGE}  deleted\n", "")
    assert [item["id"] for item in (await api.client.get("/images")).json()["items"]] == [name]
    assert (await bowerbird(url(api), "rm", "--yes", name, name, "a" * 26)).code == 1
    assert (await api.client.get("/images")).json()["items"] == []


async def test_an_api_without_statistics_or_with_them(api: Api) -> None:
    done = await bowerbird(url(api), "stats")
    there = (await api.client.get("/stats")).status_code == 200
    assert done.code == (0 if there else 1)
    assert ("images" in done.out) if there else ("has no statistics" in done.err)


async def test_a_key_that_may_only_read_says_so(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=("sesame",)) as api:
        assert (await bowerbird(url(api), "add", "https://a.example/", "--no-wait", BOWERBIRD_KEY="sesame")).code == 0
        done = await bowerbird(url(api), "add", "https://a.example/", BOWERBIRD_KEY="open")
        assert done.code == 1
        assert "doesn't know this key" in done.err


async def test_too_many_requests_are_waited_for(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, rate_limit=1, rate_burst=2) as api:
        for number in range(3):
            done = await bowerbird(url(api), "add", f"https://a.example/{number}")
            assert done.code == 0, done.err
        assert len((await bowerbird(url(api), "ls", "--json")).out.splitlines()) == 3
