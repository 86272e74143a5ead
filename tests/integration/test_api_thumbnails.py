"""GET /images/{id}/thumbnail on real servers: made once, kept, gone with its image, and out of the way of hostile files."""

from __future__ import annotations

import asyncio
import io
import struct
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from PIL import Image, ImageCms

from services.api.shrinker import Job, Shrinker, Shrunk
from services.api.shrinker import _read as read_answer
from services.api.thumbnails import WIDTH, WIDTHS, Maker
from services.storer.housekeeping import Housekeeping
from shared.dead_letters import DeadLetters
from shared.errors import NoSandbox, Overtaxed
from shared.status import now
from shared.thumbnails import Thumbnails
from tests.api import Api, id_of, running_api
from tests.origin import image
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.mongo import Mongo

pytestmark = pytest.mark.anyio

URL = "https://example.org/a.jpg"
KEY, WRITE_ONLY = "0123456789abcdef", "fedcba9876543210:write"
AT_ONCE = timedelta(seconds=-1)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
async def api(mongo_url: str, amqp_url: str) -> AsyncIterator[Api]:
    async with running_api(mongo_url, amqp_url) as api:
        yield api


async def store(api: Api, body: bytes, name: str, size: tuple[int, int], url: str = URL) -> str:
    """An image, and the address of its thumbnail."""
    await api.client.post("/images", json={"url": url})
    await api.fetched(id_of(url), body, format=name.lower(), width=size[0], height=size[1])
    return f"/images/{id_of(url)}/thumbnail"


def encoded(picture: Image.Image, name: str, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **more)
    return file.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (800, 400)) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture.convert(mode)


def opened(body: bytes) -> Image.Image:
    assert (body[:4], body[8:12]) == (b"RIFF", b"WEBP")
    with Image.open(io.BytesIO(body)) as picture:
        picture.load()
    return picture


def is_near(pixel: Any, colour: tuple[int, ...], by: int = 40) -> bool:
    return all(abs(one - other) <= by for one, other in zip(pixel, colour, strict=False))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO"])
async def test_every_format_that_is_kept_has_thumbnails(api: Api, name: str) -> None:
    body = encoded(halves(size=(256, 128)), name, **({"sizes": [(256, 128)]} if name == "ICO" else {}))
    where = await store(api, body, name, (256, 128))
    answer = await api.client.get(where, params={"w": 160})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    picture = opened(answer.content).convert("RGB")
    assert picture.size == (160, 80)
    assert is_near(picture.getpixel((20, 40)), RED)
    assert is_near(picture.getpixel((140, 40)), BLUE)


async def test_it_fits_and_is_never_larger_than_the_image(api: Api) -> None:
    wide, strip, tiny = [
        await store(api, encoded(Image.new("RGB", size), "PNG"), "PNG", size, f"https://example.org/{size[0]}")
        for size in ((1000, 500), (300, 9000), (5, 3))
    ]
    for where, query, size in ((wide, {"w": 640}, (640, 320)), (wide, {}, (WIDTH, 160)), (strip, {"w": 160}, (11, 320)), (tiny, {}, (5, 3))):
        assert opened((await api.client.get(where, params=query)).content).size == size


@pytest.mark.parametrize("name", ["JPEG", "TIFF", "WEBP", "PNG"])
async def test_it_is_upright_and_says_nothing_but_its_pixels(api: Api, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: red goes to the top
    exif[0x010E] = "secret"
    where = await store(api, encoded(halves(), name, exif=exif), name, (800, 400))
    picture = opened((await api.client.get(where)).content)
    assert picture.size == (320, 640)
    assert is_near(picture.getpixel((160, 20)), RED)
    assert is_near(picture.getpixel((160, 620)), BLUE)
    assert not picture.getexif()
    assert "icc_profile" not in picture.info


async def test_a_broken_orientation_is_none(api: Api) -> None:
    where = await store(api, encoded(halves(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\xff\xff\xff\xff\xff\xff"), "JPEG", (800, 400))
    assert opened((await api.client.get(where)).content).size == (320, 160)


async def test_transparency_is_kept(api: Api) -> None:
    picture = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 200, 400))
    palette = halves().quantize(4)
    for body, name in ((encoded(picture, "PNG"), "PNG"), (encoded(palette, "GIF", transparency=palette.getpixel((799, 0))), "GIF")):
        where = await store(api, body, name, (400, 400), f"https://example.org/{name}")
        found = opened((await api.client.get(where)).content)
        assert found.mode == "RGBA"
        at = found.width - 1
        assert (found.getpixel((0, 0))[3], found.getpixel((at, 0))[3]) == (255, 0)  # type: ignore[index]


async def test_of_an_animation_there_is_the_first_frame(api: Api) -> None:
    frames = [Image.new("RGB", (400, 200), colour) for colour in (RED, BLUE)]
    for name in ("GIF", "WEBP", "PNG", "TIFF"):
        where = await store(api, encoded(frames[0], name, save_all=True, append_images=frames[1:]), name, (400, 200), f"https://example.org/{name}")
        found = opened((await api.client.get(where)).content)
        assert getattr(found, "n_frames", 1) == 1
        assert is_near(found.convert("RGB").getpixel((100, 100)), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK", "F"])
async def test_every_mode_becomes_colours(api: Api, mode: str) -> None:
    name = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    if mode == "I;16":
        picture = Image.frombytes("I;16", (400, 200), (struct.pack("<H", 0) * 200 + struct.pack("<H", 60_000) * 200) * 200)
    elif mode == "F":
        picture = Image.new("F", (400, 200), 0.0)
        picture.paste(1.0, (200, 0, 400, 200))
    else:
        black_and_white = Image.new("RGB", (400, 200), (0, 0, 0))
        black_and_white.paste((255, 255, 255), (200, 0, 400, 200))
        picture = black_and_white.convert(mode)
    where = await store(api, encoded(picture, name), name, (400, 200))
    found = opened((await api.client.get(where)).content).convert("RGB")
    assert is_near(found.getpixel((20, 50)), (0, 0, 0))
    assert is_near(found.getpixel((300, 50)), (255, 255, 255))


async def test_colours_are_as_the_profile_says(api: Api) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # In the profile's table of tags the primaries change places: this picture's red is everybody's blue.
    swapped = srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # of another kind than the picture, which is left alone
    for number, (profile, colour) in enumerate(((srgb, RED), (swapped, BLUE), (lab, RED), (b"nonsense", RED))):
        body = encoded(Image.new("RGB", (50, 50), RED), "PNG", icc_profile=profile)
        where = await store(api, body, "PNG", (50, 50), f"https://example.org/{number}")
        assert is_near(opened((await api.client.get(where)).content).getpixel((20, 20)), colour)


async def test_a_client_that_has_it_is_told_so(api: Api) -> None:
    where = await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    first = await api.client.get(where)
    image_of = await api.client.get(where.replace("thumbnail", "content"))
    assert first.headers["cache-control"] == "no-cache"
    for name in ("content-security-policy", "x-content-type-options", "cross-origin-resource-policy"):
        assert first.headers[name] == image_of.headers[name]
    again = await api.client.get(where, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await api.client.get(where, headers={"If-Modified-Since": first.headers["last-modified"]})).status_code == 304
    other = await api.client.get(where, params={"w": 160}, headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200
    head = await api.client.head(where)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(first.content)))
    assert head.headers["content-type"] == "image/webp"


class Counting(Shrinker):
    """Counts what it is asked for; waits until it is let go, and can be short of something."""

    def __init__(self, *, without: Exception | None = None) -> None:
        super().__init__(pixels=10**8, processes=1)
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()
        self.without = without

    async def shrink(self, job: Job, size: int, content: Callable[[], AsyncIterator[bytes]]) -> Shrunk:
        self.asked += 1
        await self.go.wait()
        if self.without:
            raise self.without
        return await super().shrink(job, size, content)


@asynccontextmanager
async def making(api: Api, mongo: Mongo, shrinker: Counting, **more: Any) -> AsyncIterator[Maker]:
    thumbnails = Thumbnails(mongo, api.parts.blobs)
    await thumbnails.create_indexes()
    async with shrinker, Maker(thumbnails, api.parts.blobs, shrinker, pixels=10**8, **more) as maker:
        yield maker


async def found(api: Api, url: str = URL) -> Any:
    image_of = await api.parts.catalog.get(id_of(url))
    assert image_of is not None
    return image_of


async def test_it_is_made_once_however_many_ask_and_kept(api: Api, mongo: Mongo) -> None:
    await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    picture, shrinker = await found(api), Counting()
    async with making(api, mongo, shrinker) as maker:
        bodies = await asyncio.gather(*(maker.get(picture, 320) for _ in range(20)))
        assert (len(set(bodies)), shrinker.asked) == (1, 1)
        await maker.get(picture, 160)
        assert [await maker.get(picture, 320), shrinker.asked] == [bodies[0], 2]
    file = await mongo["fs.files"].find_one({"metadata.contentType": "image/webp", "length": len(bodies[0])})
    assert file is not None


async def test_one_who_leaves_takes_nothing_from_the_others(api: Api, mongo: Mongo) -> None:
    await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    picture, shrinker = await found(api), Counting()
    shrinker.go.clear()
    async with making(api, mongo, shrinker) as maker:
        one, other = (asyncio.create_task(maker.get(picture, 320)) for _ in range(2))

        async def asked() -> bool:
            return shrinker.asked == 1

        await until(asked)
        one.cancel()
        shrinker.go.set()
        assert await other


async def test_a_file_that_cannot_be_decoded_is_refused_and_not_tried_again_for_a_while(api: Api, mongo: Mongo) -> None:
    where = await store(api, b"\x89PNG\r\n\x1a\n and nothing of it", "PNG", (3, 2))
    for _ in range(2):
        answer = await api.client.get(where)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/no-thumbnail")
        assert answer.json()["detail"] == "The image can't be decoded."
    shrinker, picture = Counting(), await found(api)
    async with making(api, mongo, shrinker) as maker:
        for _ in range(2):
            with pytest.raises(Exception, match="can't be decoded"):
                await maker.get(picture, WIDTH)
        assert shrinker.asked == 0
        await mongo["thumbnails"].update_one({}, {"$set": {"at": now() - timedelta(days=2)}})
        with pytest.raises(Exception, match="can't be decoded"):
            await maker.get(picture, WIDTH)
        assert shrinker.asked == 1


@pytest.mark.parametrize(
    ("without", "status", "kept"), [(NoSandbox("no process"), 503, 0), (Overtaxed("too slow"), 422, 1)], ids=["no process", "too slow"]
)
async def test_what_is_the_servers_fault_is_not_held_against_the_image(api: Api, mongo: Mongo, without: Exception, status: int, kept: int) -> None:
    await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    picture = await found(api)
    async with making(api, mongo, Counting(without=without)) as maker:
        with pytest.raises(Exception) as caught:
            await maker.get(picture, 320)
    problem: Any = caught.value
    assert (problem.kind.status, await mongo["thumbnails"].count_documents({})) == (status, kept)


async def test_when_the_line_is_too_long_others_are_asked_to_come_back(api: Api, mongo: Mongo) -> None:
    await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    picture, shrinker = await found(api), Counting()
    shrinker.go.clear()
    async with making(api, mongo, shrinker, most_waiting=2) as maker:
        waiting = [asyncio.create_task(maker.get(picture, width)) for width in (160, 320)]

        async def asked() -> bool:
            return shrinker.asked == 2

        await until(asked)
        with pytest.raises(Exception) as caught:
            await maker.get(picture, 640)
        problem: Any = caught.value
        assert (problem.kind.status, problem.headers) == (503, {"Retry-After": "2"})
        shrinker.go.set()
        assert all(await asyncio.gather(*waiting))


async def test_too_many_pixels_are_refused_whatever_the_file_says(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, max_pixels=300_000) as api:
        body = encoded(halves(), "PNG")
        for number, said in enumerate(((800, 400), (3, 2))):
            answer = await api.client.get(await store(api, body, "PNG", said, f"https://example.org/{number}"))
            assert (answer.status_code, answer.json()["type"]) == (422, "/problems/no-thumbnail")
            assert "300,000" in answer.json()["detail"]


async def test_before_it_is_stored_the_answer_says_how_far_it_is(api: Api) -> None:
    await api.client.post("/images", json={"url": URL})
    answer = await api.client.get(f"/images/{id_of(URL)}/thumbnail")
    assert (answer.status_code, answer.json()["type"], answer.json()["status_of_image"]) == (409, "/problems/not-stored", "queued")
    assert (await api.client.get(f"/images/{id_of('https://example.org/none')}/thumbnail")).status_code == 404


@pytest.mark.parametrize("query", ["w=161", "w=", "w=0320", "w=160&w=320", "h=160", "w=<script>"])
async def test_only_some_widths_are_made(api: Api, query: str) -> None:
    answer = await api.client.get(f"/images/{id_of(URL)}/thumbnail?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-parameter")


async def test_a_thumbnail_goes_when_its_image_does_and_not_before(api: Api, mongo: Mongo) -> None:
    where = await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    for width in WIDTHS:
        assert (await api.client.get(where, params={"w": width})).status_code == 200
    housekeeping = Housekeeping(mongo, DeadLetters(mongo, api.parts.blobs), unreferenced_for=AT_ONCE, orphaned_for=AT_ONCE)
    for _ in range(3):
        await housekeeping.sweep()
    assert await mongo["fs.files"].count_documents({}) == 4
    assert (await api.client.get(where)).status_code == 200
    await api.client.delete(where.removesuffix("/thumbnail"))
    swept = [await housekeeping.sweep() for _ in range(4)]
    assert sum(counts["thumbnails"] for counts in swept) == 3
    for collection in ("fs.files", "fs.chunks", "thumbnails"):
        assert await mongo[collection].count_documents({}) == 0


async def test_a_thumbnail_whose_bytes_are_gone_is_made_again(api: Api, mongo: Mongo) -> None:
    where = await store(api, encoded(halves(), "JPEG"), "JPEG", (800, 400))
    first = await api.client.get(where)
    thumbnail = await mongo["thumbnails"].find_one({})
    assert thumbnail is not None
    await mongo["fs.chunks"].delete_many({"files_id": thumbnail["file"]})
    await mongo["fs.files"].delete_many({"_id": thumbnail["file"]})
    assert (await api.client.get(where)).content == first.content


async def test_it_is_only_for_keys_that_can_read(mongo_url: str, amqp_url: str) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=(KEY, WRITE_ONLY)) as api:
        for key, status in ((None, 401), (WRITE_ONLY.partition(":")[0], 403), (KEY, 404)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            assert (await api.client.get(f"/images/{id_of(URL)}/thumbnail", headers=headers)).status_code == status


# The processes


async def parts_of(body: bytes) -> AsyncIterator[bytes]:
    yield body[:10]
    yield body[10:]


async def test_a_picture_that_takes_too_long_costs_its_process_and_no_other() -> None:
    slow = encoded(Image.effect_noise((5000, 5000), 90), "PNG", compress_level=1)
    small = encoded(halves(), "PNG")
    async with Shrinker(pixels=10**8, processes=1, deadline=0.05) as shrinker:
        with pytest.raises(Overtaxed):
            await shrinker.shrink(Job("PNG", 640, 1280), len(slow), lambda: parts_of(slow))
        assert not shrinker.processes
    async with Shrinker(pixels=10**8, processes=1) as shrinker:
        assert (await shrinker.shrink(Job("PNG", 160, 320), len(small), lambda: parts_of(small))).width == 160


async def test_a_large_picture_is_refused_rather_than_decoded_and_a_large_jpeg_is_not() -> None:
    picture = Image.new("L", (10_000, 10_000))
    async with Shrinker(pixels=10**8, processes=1) as shrinker:
        for name, works in (("PNG", False), ("JPEG", True)):
            body = encoded(picture, name)
            shrunk = await shrinker.shrink(Job(name, 160, 320), len(body), lambda body=body: parts_of(body))  # type: ignore[misc]
            assert (shrunk.width == 160) is works
            assert ("50,000,000" in shrunk.problem) is not works


async def test_content_of_another_length_is_a_fault_and_not_a_bad_picture() -> None:
    body = image("PNG")
    async with Shrinker(pixels=10**8, processes=1) as shrinker:
        for said in (len(body) - 1, len(body) + 1):
            with pytest.raises(EOFError):
                await shrinker.shrink(Job("PNG", 160, 320), said, lambda: parts_of(body))


async def test_the_process_knows_none_of_our_secrets_and_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_API_KEYS", KEY)
    body = image("PNG")
    async with Shrinker(pixels=10**8, processes=1) as shrinker:
        await shrinker.shrink(Job("PNG", 160, 320), len(body), lambda: parts_of(body))
        [process] = shrinker.processes
        with open(f"/proc/{process.pid}/environ", "rb") as environment:  # noqa: ASYNC230, PTH123
            assert KEY.encode() not in environment.read()
        with open(f"/proc/{process.pid}/limits") as limits:  # noqa: ASYNC230, PTH123
            text = limits.read()
        assert f"{1024**3}" in next(line for line in text.splitlines() if line.startswith("Max address space"))
        assert next(line for line in text.splitlines() if line.startswith("Max file size")).split()[3] == "0"


async def test_an_answer_that_is_no_thumbnail_is_not_believed() -> None:
    for bad in (b"", b"\x91", msgspec.msgpack.encode([b"<svg onload=alert(1)>", 1, 1, ""]), msgspec.msgpack.encode([b"", 1, 1, ""])):
        with pytest.raises(msgspec.MsgspecError):
            read_answer(bad)
