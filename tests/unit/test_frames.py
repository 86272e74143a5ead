"""Frames and pages are counted, in bounded time, and none of them is larger than it may be."""

from __future__ import annotations

import asyncio
import io
import struct
import time
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from services.fetcher.body import Body, View
from services.fetcher.disk import Room
from services.fetcher.frames import WITHOUT_END, Most, check
from services.fetcher.recognise import Recogniser, recognise
from shared.errors import PermanentError, Reason
from shared.settings import Settings
from tests.origin import image
from tests.security.hostile import chunk, tiff

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (64, 48)
PIXELS = 1_000_000
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")


def animated(name: str, count: int, size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    pictures = [Image.effect_noise(size, 50 + number).convert("L") for number in range(count)]
    pictures[0].save(file, name, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def refused(content: bytes, most: Most) -> str:
    with pytest.raises(PermanentError) as caught:
        recognise(content, most)
    assert caught.value.reason == Reason.TOO_MANY_PIXELS
    return caught.value.detail


@pytest.mark.parametrize("name", ANIMATED)
def test_as_many_frames_as_may_be_are_kept_and_one_more_is_not(name: str) -> None:
    content = animated(name, 7)
    assert recognise(content, Most(PIXELS, 7)).width == SIZE[0]
    assert refused(content, Most(PIXELS, 6)) == "The image has more than 6 frames or pages."


@pytest.mark.anyio
@pytest.mark.parametrize("name", ANIMATED)
async def test_the_fetcher_counts_them_too_in_memory_and_on_disk(name: str) -> None:
    content = animated(name, 7)
    for most, kept in ((7, True), (6, False)):
        async with Recogniser(Settings(max_frames=most)) as recogniser:
            for large in (False, True):
                with Body() as body:
                    if large:
                        body.move_to_disk(Room(10**6, lambda _: None))
                    body.add(content)
                    if kept:
                        assert (await recogniser.recognise(body)).format == name
                    else:
                        with pytest.raises(PermanentError, match="6 frames"):
                            await recogniser.recognise(body)


@pytest.mark.parametrize("name", ["JPEG", "BMP", "ICO", "GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_still_is_one_frame(name: str) -> None:
    assert recognise(image(name), Most(PIXELS, 1)).format == name


def test_a_frame_of_a_gif_that_reaches_beyond_the_canvas_counts_with_all_of_it() -> None:
    content = bytearray(animated("GIF", 3))
    at = content.rindex(b"\x2c" + struct.pack("<HHHH", 0, 0, *SIZE))
    content[at + 1 : at + 3] = struct.pack("<H", 65_000)
    assert "65,064 by 48" in refused(bytes(content), Most(PIXELS, 10))


def test_a_page_of_a_tiff_that_is_larger_than_the_first_counts() -> None:
    first = tiff((256, 4, 1, 10), (257, 4, 1, 10), (273, 4, 1, 8), (279, 4, 1, 4))
    second = tiff((256, 3, 1, 50_000), (257, 4, 1, 50_000))[8:]
    content = first[:-4] + struct.pack("<I", len(first)) + second
    assert "50,000 by 50,000" in refused(content, Most(PIXELS, 10))


def test_a_bigtiff_of_either_byte_order_is_counted() -> None:
    for order, mark in (("<", b"II"), (">", b"MM")):
        entries = [struct.pack(f"{order}HHQQ", tag, 16, 1, 9000) for tag in (256, 257)]
        directory = struct.pack(f"{order}Q", 2) + b"".join(entries) + struct.pack(f"{order}Q", 0)
        content = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16) + directory
        with pytest.raises(PermanentError, match="9,000 by 9,000"):
            check("TIFF", content, Most(PIXELS, 10))


def test_directories_that_lead_round_in_a_circle_are_counted_once() -> None:
    content = tiff((256, 4, 1, 10), (257, 4, 1, 10), following=8)
    assert check("TIFF", content, Most(PIXELS, 1), steps=WITHOUT_END)


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_what_takes_more_steps_is_for_the_sandbox(name: str) -> None:
    assert not check(name, animated(name, 7), Most(PIXELS, 100), steps=3)


GIF = image("GIF")
COSTLY: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tiny blocks": ("GIF", lambda: GIF[:-1] + b"\x21\xfe" + b"\1a" * 500_000 + b"\0;"),
    "long and tiny blocks by turns": ("GIF", lambda: GIF[:-1] + b"\x21\xfe" + (b"\xff" + b"a" * 255 + b"\1a") * 4000 + b"\0;"),
    "long blocks that look like many": ("GIF", lambda: GIF[:-1] + b"\x21\xfe" + b"\xff" * 1_000_000 + b"\0;"),
    "empty extensions": ("GIF", lambda: GIF[:-1] + b"\x21\xfe\0" * 330_000 + b";"),
    "empty chunks": ("PNG", lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"acTL", b"\0" * 8) + chunk(b"IDAT", b"") * 80_000),
    "empty frames": ("WEBP", lambda: b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + b"\0" * 9 + b"XXXX\0\0\0\0" * 120_000),
    "a file of zeros": ("PNG", lambda: b"\0" * 1_000_000),
}


@pytest.mark.parametrize("case", COSTLY)
@pytest.mark.parametrize("large", [False, True])
def test_a_costly_file_does_not_hold_up_the_event_loop(case: str, large: bool) -> None:  # noqa: FBT001
    name, make = COSTLY[case]
    body = Body()
    with body:
        if large:
            body.move_to_disk(Room(10**7, lambda _: None))
        body.add(make())
        took = []
        for _ in range(3):
            started = time.thread_time()
            check(name, body.view, Most(10**9, 10**6))
            took.append(time.thread_time() - started)
    assert min(took) < 0.02


def test_counting_without_end_is_linear() -> None:
    content = zlib.decompress(zlib.compress(GIF[:-1] + b"\x21\xfe" + b"\1a" * 4_000_000 + b"\0;"))
    started = time.thread_time()
    assert check("GIF", content, Most(PIXELS, 1), steps=WITHOUT_END)
    assert time.thread_time() - started < 3


@pytest.mark.anyio
async def test_a_gif_of_several_mebibytes_is_counted_in_the_sandbox() -> None:
    content = animated("GIF", 12, (600, 600))
    with Body() as body:
        body.move_to_disk(Room(10**7, lambda _: None))
        body.add(content)
        assert isinstance(body.view, View)
        assert body.parts > 1
        async with Recogniser(Settings(max_frames=11)) as recogniser:
            with pytest.raises(PermanentError, match="11 frames"):
                await asyncio.wait_for(recogniser.recognise(body), 10)
