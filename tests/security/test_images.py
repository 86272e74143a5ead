"""Images, cases 32 to 37: told by their bytes, within bounds of time and memory, and no file takes a worker down."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.errors import Reason
from shared.settings import Settings
from tests.origin import body, image
from tests.security import hostile
from tests.security.world import note, world

if TYPE_CHECKING:
    from tests.security.hostile import File
    from tests.security.world import World

pytestmark = pytest.mark.anyio

MEMORY = 512 * 1024**2
"""Bytes that a fetcher and its two children may hold; here the largest body is 1 MiB."""

SLOWEST = 8.0
"""Seconds for one file: the five of the sandbox's deadline, and room."""

COLLECTION = os.environ.get("TESTS_PILLOW_IMAGES")


async def ends_as_it_should(here: World, file: File, content_type: str = "image/png") -> dict[str, Any]:
    """One attempt, and one of the ends that a file may have."""
    url = here.on(body(file.content, content_type))
    if not file.reasons:
        return await here.stored(url)
    location = await here.pipeline.post(url)
    found = await here.pipeline.settled(location)
    if not (file.may_be_stored and found["status"] == "stored"):
        found = await here.failed_as(location, set(file.reasons), attempts=1)
    return found


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>x</title>", b"<html><img src=x>", b"hello", b"{}", b"<?xml version='1.0'?><x/>"])
async def test_case_32_something_else_served_as_an_image(here: World, page: bytes) -> None:
    await here.fails(here.on(body(page, "image/png")), Reason.NOT_AN_IMAGE, attempts=1)


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "text/html; charset=utf-8", "application/octet-stream", "image/gif", "x", "", "image/png\t; x", "text/html" + "x" * 900],
)
async def test_case_32_a_png_served_as_something_else_is_stored_as_what_it_is(here: World, content_type: str) -> None:
    picture = image("PNG", seed=hash(content_type) % 10_000)
    location = await here.pipeline.post(here.on(body(picture, content_type), suffix=".html"))
    found = await here.pipeline.settled(location)
    assert (found["status"], found["format"], found["content_type"]) == ("stored", "png", "image/png")
    answer = await here.client.get(f"{location}/content")
    assert (answer.headers["content-type"], answer.content) == ("image/png", picture)


async def test_case_33_an_empty_body(here: World) -> None:
    await here.fails(here.on(body(b"", "image/png")), Reason.NOT_AN_IMAGE, attempts=1)


@pytest.mark.parametrize("name", hostile.CUT_OFF)
async def test_case_33_cut_off_or_a_magic_number_only(here: World, name: str) -> None:
    await ends_as_it_should(here, hostile.CUT_OFF[name])


@pytest.mark.parametrize("name", [name for name in hostile.UNSUPPORTED if name.startswith("SVG")])
@pytest.mark.parametrize("content_type", ["image/svg+xml", "image/png", "text/html"])
async def test_case_34_svg(here: World, name: str, content_type: str) -> None:
    found = await ends_as_it_should(here, hostile.UNSUPPORTED[name], content_type)
    assert "SVG" in found["error"]["detail"]


@pytest.mark.parametrize("name", hostile.BOMBS)
async def test_case_35_a_pixel_bomb(here: World, name: str) -> None:
    started = time.monotonic()
    await ends_as_it_should(here, hostile.BOMBS[name])
    assert time.monotonic() - started < SLOWEST


@pytest.mark.parametrize("name", hostile.FRAMES)
async def test_case_35_too_many_frames_or_too_large_ones(here: World, name: str) -> None:
    started = time.monotonic()
    await ends_as_it_should(here, hostile.FRAMES[name])
    assert time.monotonic() - started < SLOWEST


@pytest.mark.parametrize("name", hostile.TEXTS)
async def test_case_36_a_text_bomb(here: World, name: str) -> None:
    started = time.monotonic()
    await ends_as_it_should(here, hostile.TEXTS[name])
    assert time.monotonic() - started < SLOWEST


@pytest.mark.parametrize("name", hostile.UNSUPPORTED)
async def test_case_37_a_format_outside_the_list(here: World, name: str) -> None:
    await ends_as_it_should(here, hostile.UNSUPPORTED[name])


@pytest.mark.parametrize("name", hostile.FORMATS)
async def test_case_37_a_format_of_the_list(here: World, name: str) -> None:
    found = await here.stored(here.on(body(image(name, (32, 32)), "text/plain")))
    assert found["format"] == name.lower()


@pytest.mark.parametrize("name", hostile.POLYGLOTS)
async def test_a_file_of_two_formats_is_one_of_them_or_none(here: World, name: str) -> None:
    found = await ends_as_it_should(here, hostile.POLYGLOTS[name])
    if found["status"] == "stored":
        answer = await here.client.get(found["links"]["content"])
        assert answer.headers["content-type"] == f"image/{found['format']}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("name", hostile.COSTLY)
async def test_a_costly_file_ends_in_time(here: World, name: str) -> None:
    started = time.monotonic()
    await ends_as_it_should(here, hostile.COSTLY[name])
    assert time.monotonic() - started < SLOWEST


# The fetcher from outside: its memory, and its connections


async def test_the_whole_hostile_set_at_once_within_bounded_memory(own_settings: Settings) -> None:
    from tests.security.watched import Watched  # noqa: PLC0415  (reads /proc)

    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    fetcher = Watched()
    async with world(own_settings, "images (all at once)", fetching=fetcher.with_dns) as here:
        await here.works()
        started = time.monotonic()
        await asyncio.gather(*(ends_as_it_should(here, file) for file in hostile.EVERYTHING.values()))
        took = time.monotonic() - started
        await here.works()
        await here.is_clean()
        assert not here.canaries.connections
    assert fetcher.status is None, "the fetcher died"
    note(hostile_files=len(hostile.EVERYTHING), seconds=took, peak=fetcher.peak, slowest=here.slowest, own_peak=fetcher.own_peak)
    assert fetcher.peak < MEMORY, f"{fetcher.peak:,} bytes"


@pytest.mark.skipif(not COLLECTION, reason="TESTS_PILLOW_IMAGES doesn't name the folder Tests/images of Pillow's source distribution")
@pytest.mark.timeout(900)
async def test_every_file_of_pillows_own_collection_ends_and_no_worker_dies(own_settings: Settings) -> None:
    from tests.security.watched import Watched  # noqa: PLC0415

    files = sorted(path for path in Path(str(COLLECTION)).rglob("*") if path.is_file())  # noqa: ASYNC240  (nothing else runs)
    assert files
    fetcher = Watched()
    ends: dict[str, int] = {}
    slowest = ("", 0.0)
    settings = dataclasses.replace(own_settings, max_image_bytes=Settings().max_image_bytes, max_pixels=Settings().max_pixels)
    async with world(settings, "images (Pillow's)", fetching=fetcher.with_dns) as here:
        for path in files:
            content = path.read_bytes()
            started = time.monotonic()
            found = await here.pipeline.settled(await here.pipeline.post(here.on(body(content, "image/png"))), seconds=30)
            took = time.monotonic() - started
            slowest = max(slowest, (path.name, took), key=lambda entry: entry[1])
            end = "stored" if found["status"] == "stored" else found["error"]["reason"]
            assert end == "stored" or end in set(Reason), found
            ends[end] = ends.get(end, 0) + 1
            assert took < SLOWEST, path
        await here.is_clean()
        assert not here.canaries.connections
    assert fetcher.status is None, "the fetcher died"
    note(pillows_files=len(files), ends=ends, slowest=slowest, peak=fetcher.peak, own_peak=fetcher.own_peak)
    assert fetcher.peak < MEMORY, f"{fetcher.peak:,} bytes"
