"""Images are told by their bytes, whole ones are kept, and no file takes more than its share of time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import struct
import time
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.fetcher import headers
from services.fetcher.body import Body, View
from services.fetcher.disk import Room
from services.fetcher.formats import CONTENT_TYPES, SNIFFED, Recognised, looks_like_html, sniff
from services.fetcher.frames import Most
from services.fetcher.opening import open_with_pillow
from services.fetcher.recognise import Recogniser, recognise
from services.fetcher.sandbox import Sandbox
from services.fetcher.sandboxed import serve
from shared.errors import PermanentError, Reason, TransientError
from shared.settings import Settings
from tests.origin import image

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = Most(pixels=1_000_000, frames=100)
SIZE = (64, 48)
IMAGES = {name: image(name, SIZE) for name in CONTENT_TYPES}
GLANCED = ("JPEG", "PNG", "GIF", "WEBP")


def held(content: bytes) -> Body:
    body = Body()
    body.add(content)
    return body


def on_disk(content: bytes) -> Body:
    body = Body()
    body.move_to_disk(Room(10**8, lambda _: None))
    body.add(content)
    return body


def reason(body: bytes, most: Most = MOST) -> Reason:
    with pytest.raises(PermanentError) as caught:
        recognise(body, most)
    return caught.value.reason


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_every_kept_format_is_recognised(name: str) -> None:
    assert recognise(IMAGES[name], MOST) == Recognised(name, CONTENT_TYPES[name], *SIZE)


@pytest.mark.parametrize("name", GLANCED)
def test_the_usual_formats_need_no_pillow(name: str) -> None:
    assert headers.size_of(name, IMAGES[name]) == SIZE


LARGE: dict[str, bytes] = {
    "JPEG": IMAGES["JPEG"][:2] + (b"\xff\xe5\xff\xff" + b"x" * 65_533) * 30 + IMAGES["JPEG"][2:],
    "PNG": IMAGES["PNG"][:33] + b"".join(chunk(b"teSt", b"x" * 65_533) for _ in range(30)) + IMAGES["PNG"][33:],
    "WEBP": IMAGES["WEBP"] + b"x" * 2_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_of_a_large_file_the_header_is_read_where_it_is(name: str) -> None:
    assert len(LARGE[name]) > 1_900_000
    read = 0

    with on_disk(LARGE[name]) as body:
        view = body.view
        assert isinstance(view, View)
        look = view._read

        def counted(at: int, length: int) -> bytes:
            nonlocal read
            read += length
            return look(at, length)

        view._read = counted
        assert headers.size_of(name, view) == headers.size_of(name, LARGE[name]) == SIZE
    assert read < len(LARGE[name]) / 3


@pytest.mark.anyio
@pytest.mark.parametrize("name", CONTENT_TYPES)
async def test_a_file_on_disk_is_recognised_as_one_in_memory_is(name: str) -> None:
    async with Recogniser(Settings(max_pixels=MOST.pixels)) as recogniser:
        with on_disk(IMAGES[name]) as body:
            assert await recogniser.recognise(body) == Recognised(name, CONTENT_TYPES[name], *SIZE)
        with on_disk(IMAGES[name][: len(IMAGES[name]) // 2]) as body, pytest.raises(PermanentError):
            await recogniser.recognise(body)


@given(st.sampled_from(GLANCED), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_the_header_and_pillow_agree_on_the_size(name: str, width: int, height: int, other: bool) -> None:  # noqa: FBT001
    file = io.BytesIO()
    choices: dict[str, dict[str, object]] = {
        "JPEG": {"progressive": other},
        "WEBP": {"lossless": other, "exif": b"x" if other else b""},
        "GIF": {"comment": b"x" * 999},
    }
    options = choices.get(name, {})
    Image.new("RGB", (width, height)).save(file, name, **options)
    assert headers.size_of(name, file.getvalue()) == (width, height) == open_with_pillow(name, file.getvalue(), MOST)


def test_an_orientation_in_exif_does_not_turn_the_size() -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE).save(file, "JPEG", exif=exif)
    assert recognise(file.getvalue(), MOST) == Recognised("JPEG", "image/jpeg", *SIZE)


def test_animations_are_images() -> None:
    for name in ("GIF", "WEBP", "PNG", "AVIF"):
        file = io.BytesIO()
        frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
        frames[0].save(file, name, save_all=True, append_images=frames[1:])
        assert recognise(file.getvalue(), MOST).format == name


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_33_a_magic_number_alone_or_a_header_cut_off_is_no_image(name: str) -> None:
    for length in (4, 8, 12, 16, 20, 28):
        assert reason(IMAGES[name][:length]) in {Reason.NOT_AN_IMAGE, Reason.TRUNCATED}


def test_33_nothing_is_no_image() -> None:
    assert reason(b"") == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("name", CONTENT_TYPES)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_33_an_image_that_is_cut_off_is_refused(name: str, part: float) -> None:
    assert reason(IMAGES[name][: int(len(IMAGES[name]) * part)]) in {Reason.TRUNCATED, Reason.NOT_AN_IMAGE}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "ICO"])
@pytest.mark.parametrize("rest", [b"\0" * 100, b"<!-- served by -->\n", os.urandom(70_000)])
def test_what_follows_the_end_of_an_image_does_no_harm(name: str, rest: bytes) -> None:
    assert recognise(IMAGES[name] + rest, MOST).format == name


def test_a_jpeg_without_its_end_mark_but_with_all_of_its_picture_is_kept() -> None:
    assert recognise(IMAGES["JPEG"][:-2], MOST).format == "JPEG"


def test_a_gif_without_its_trailer_is_kept() -> None:
    assert recognise(IMAGES["GIF"][:-1], MOST).format == "GIF"


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_35_too_many_pixels_are_refused_by_the_header(name: str) -> None:
    assert reason(IMAGES[name], Most(SIZE[0] * SIZE[1] - 1, 1)) == Reason.TOO_MANY_PIXELS
    assert recognise(IMAGES[name], Most(SIZE[0] * SIZE[1], 1)).width == SIZE[0]


def test_35_a_pixel_bomb_is_refused() -> None:
    assert reason(png(size=(50_000, 50_000)), Most(100_000_000, 1)) == Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("before", [True, False])
def test_36_a_text_bomb_is_refused_wherever_it_is(kind: bytes, before: bool) -> None:  # noqa: FBT001
    packed = zlib.compress(b"\0" * 70_000_000, 9)
    bomb = chunk(kind, b"a\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + packed)
    body = png(bomb) if before else png()[:-12] + bomb + png()[-12:]
    assert reason(body) == Reason.TOO_LARGE


def test_36_many_small_texts_are_counted_together() -> None:
    packed = zlib.compress(b"\0" * 100_000, 9)
    assert reason(png(*[chunk(b"zTXt", b"a\0\0" + packed)] * 100)) == Reason.TOO_LARGE


def test_a_png_with_some_text_is_kept() -> None:
    assert recognise(png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"hello")), chunk(b"tEXt", b"a\0b")), MOST).format == "PNG"


@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<!DOCTYPE svg PUBLIC 'a' 'b'>\n<svg >",
        b"  <SVG>",
        b"<!-- a --><svg>",
    ],
)
def test_34_svg_is_refused_with_its_name(body: bytes) -> None:
    with pytest.raises(PermanentError, match="SVG") as caught:
        sniff(body)
    assert caught.value.reason == Reason.UNSUPPORTED_FORMAT
    assert not looks_like_html(body, "image/svg+xml")


@pytest.mark.parametrize(
    "body",
    [b"8BPS\0\1", b"%!PS-Adobe-3.0", b"\xc5\xd0\xd3\xc6", b"SIMPLE  =                    T", b"%PDF-1.7", b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n",
     b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", b"\0\0\0\x0cjP  \r\n\x87\n", b"qoif", b"DDS \x7c", b"P6\n1 1\n255\n", b"\0\0\2\0\1\0"],
)  # fmt: skip
def test_37_a_known_format_outside_the_list_is_refused_as_such(body: bytes) -> None:
    assert reason(body + b"\0" * 100) == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("body", [b"<html>", b"hello", b"\0" * 100, b"BM", b"BMW cars", b"{}", b"GIF", b"RIFF\0\0\0\0WAVE", b"\x89PNG"])
def test_32_what_is_no_image_is_refused(body: bytes) -> None:
    assert reason(body) == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("body", "content_type", "page"),
    [
        (b"<!DOCTYPE html><title>x</title>", "image/png", False), (b"<!DOCTYPE html><title>x</title>", "text/plain", True), (b"\xef\xbb\xbf \n<HTML lang=en>", None, True), (b"<!-- x --><p>", None, True),
        (b"hello", "text/html; charset=utf-8", True), (b"<?xml version='1.0'?><html>", "application/xhtml+xml", True),
        (b"hello", "text/plain", False), (b"", "text/html", False), (b"\x89PNG\r\n\x1a\n\0\0", "text/html", False), (b"<svg>", None, False),
        (b"<!-- x --><svg>", None, False), (b"<htmlx>", None, False), (b"%PDF-1.7", "application/pdf", False),
    ],
)  # fmt: skip
def test_pages_are_told_from_other_things(body: bytes, content_type: str | None, page: bool) -> None:  # noqa: FBT001
    assert looks_like_html(body, content_type) is page


@given(st.sampled_from(list(CONTENT_TYPES)), st.data())
def test_a_damaged_image_gives_an_answer_and_no_other_error(name: str, data: st.DataObject) -> None:
    body = bytearray(IMAGES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PermanentError):
        recognise(bytes(body), MOST)


@given(st.binary(max_size=200), st.sampled_from([body[:n] for body in IMAGES.values() for n in (4, 12, 16, 24, 40)]))
def test_anything_after_a_magic_number_gives_an_answer_and_no_other_error(rest: bytes, magic: bytes) -> None:
    with contextlib.suppress(PermanentError):
        recognise(magic + rest, MOST)


def _jpeg(middle: bytes) -> bytes:
    return b"\xff\xd8" + middle + IMAGES["JPEG"][2:]


COSTLY = {
    "fill bytes": lambda: _jpeg(b"\xff" * 16_000_000),
    "tiny segments": lambda: _jpeg(b"\xff\xe1\0\2" * 4_000_000),
    "no end": lambda: IMAGES["JPEG"][:-2] + b"\xff\0" * 8_000_000,
    "tiny chunks": lambda: png(*[chunk(b"teSt", b"")] * 1_000_000),
    "tiny blocks": lambda: IMAGES["GIF"][:13] + b"\x21\xfe" + b"\1a" * 8_000_000 + b"\0;",
    "tiny WebP chunks": lambda: (
        b"RIFF" + struct.pack("<I", 16_000_022) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 10 + b"XXXX\0\0\0\0" * 2_000_000
    ),
    "open comment": lambda: b"<!--" + b" " * 16_000_000,
    "blanks": lambda: b" " * 16_000_000,
    "comments": lambda: b"<!-- -->" * 2_000_000,
    "declarations": lambda: b"<!DOCTYPE [" * 1_000_000,
}


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("hold", [held, on_disk])
def test_a_costly_file_does_not_hold_up_the_event_loop(name: str, hold: Callable[[bytes], Body]) -> None:
    """Its first two steps, which are those that run in the fetcher, take a few milliseconds at most."""
    make: Callable[[], bytes] = COSTLY[name]
    with hold(make()) as body:
        took = []
        for _ in range(3):
            started = time.thread_time()
            with contextlib.suppress(PermanentError):
                headers.size_of(sniff(body.first(SNIFFED)), body.view)
            took.append(time.thread_time() - started)
    assert min(took) < 0.02


@pytest.mark.anyio
async def test_the_recogniser_asks_pillow_in_another_process() -> None:
    async with Recogniser(Settings(max_pixels=MOST.pixels)) as recogniser:
        for name in CONTENT_TYPES:
            assert await recogniser.recognise(held(IMAGES[name])) == Recognised(name, CONTENT_TYPES[name], *SIZE)
        with pytest.raises(PermanentError) as caught:
            await recogniser.recognise(held(IMAGES["TIFF"][:100]))
        assert caught.value.reason in {Reason.TRUNCATED, Reason.NOT_AN_IMAGE}
        assert await asyncio.gather(*(recogniser.recognise(held(IMAGES["ICO"])) for _ in range(20)))


@pytest.mark.anyio
@pytest.mark.parametrize("python", ["/bin/false", "/no/such/python"])
async def test_without_a_process_the_file_is_not_to_blame(python: str) -> None:
    async with Sandbox(MOST, python=python) as sandbox:
        with pytest.raises(TransientError):
            await sandbox.size_of(held(IMAGES["TIFF"]))
        assert not sandbox.processes


@pytest.mark.anyio
async def test_a_process_that_dies_is_replaced() -> None:
    async with Sandbox(MOST, processes=1) as sandbox:
        assert await sandbox.size_of(held(IMAGES["TIFF"])) == SIZE
        (process,) = sandbox.processes
        process.kill()
        await process.wait()
        assert await sandbox.size_of(held(IMAGES["TIFF"])) == SIZE
        assert process not in sandbox.processes


@pytest.mark.anyio
async def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_not() -> None:
    slow = _jpeg(b"\xff\xe1\0\2" * 8_000_000)
    async with Sandbox(MOST, processes=1, deadline=1.0) as sandbox:
        await sandbox.size_of(held(IMAGES["TIFF"]))
        with pytest.raises(PermanentError) as caught:
            await sandbox.size_of(held(slow))
        assert caught.value.reason == Reason.NOT_AN_IMAGE
        assert not sandbox.processes
    async with Sandbox(MOST, processes=1) as sandbox:
        assert await sandbox.size_of(held(IMAGES["TIFF"])) == SIZE


@pytest.mark.anyio
async def test_cancelling_does_not_mix_up_answers() -> None:
    async with Sandbox(MOST, processes=1) as sandbox:
        for _ in range(3):
            task = asyncio.create_task(sandbox.size_of(held(IMAGES["TIFF"])))
            while not sandbox.processes:
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert await sandbox.size_of(held(image("ICO", (32, 16)))) == (32, 16)
    assert not sandbox.processes


def test_the_process_answers_until_its_input_ends() -> None:
    def framed(body: bytes) -> bytes:
        return b"\0\0\0\0\0\0\0\1\xc0" + len(body).to_bytes(8, "big") + body  # after a job of nil: an image's size

    sink = io.BytesIO()
    serve(io.BytesIO(framed(IMAGES["PNG"]) + framed(b"") + framed(IMAGES["AVIF"])), sink, MOST)
    answers = sink.getvalue()
    assert int.from_bytes(answers[:8], "big") < len(answers)
