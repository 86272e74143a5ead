"""Screenshots of the gallery for the documents, made by hand: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import asyncio
import io
import sys
import uuid
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.async_api import expect

from services.fetcher.main import fetcher
from services.storer.main import storer
from shared.errors import Reason
from shared.settings import Settings
from tests.api import Api, running_api
from tests.browser import chromium, holdings
from tests.browser.pictures import picture
from tests.origin import Origin, body, delayed, status
from tests.polling import until
from tests.servers import servers

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 300_000
PICTURES = 320
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "is_mobile": True, "has_touch": True}


async def take(mongo_url: str, amqp_url: str, folder: Path) -> None:
    """Fills a gallery and takes its pictures."""
    settings = Settings(mongo_url=mongo_url, amqp_url=amqp_url, fetch_allow=(ip_network("127.77.0.0/16"),), retry_delays=(2.0,))
    allowed = {"fetch_allow": settings.fetch_allow, "retry_delays": settings.retry_delays}
    async with (
        running_api(mongo_url, amqp_url, **allowed) as api,
        storer(settings),
        fetcher(settings),
        chromium.launched(chromium.installed()) as browser,
    ):
        for number in range(37):
            await holdings.failed(api, number)
        images = await holdings.pictures(api, range(PICTURES))
        tried = await holdings.added(api, "https://archive.example/lighthouse-at-noon.jpg")
        await api.delayed(tried, reason=Reason.TIMEOUT, detail="Nothing came for 10 s.")
        shown = picture(321)
        await api.fetched(tried, shown.body, width=shown.width, height=shown.height, took_ms=412)
        for name, options in (("desktop", DESKTOP), ("phone", PHONE)):
            await _picture(browser, api, "", folder / f"gallery-{name}.png", **options)
            await _picture(browser, api, f"#/images/{tried}", folder / f"image-{name}.png", **options)
            await _picture(browser, api, "#/failures", folder / f"failures-{name}.png", **options)
        await _arriving(browser, api, folder / "arriving.png")
        await _picture(browser, api, f"#/images/{images[-3]}", folder / "image-dark.png", color_scheme="dark", **DESKTOP)
        await _picture(browser, api, "", folder / "gallery-dark.png", color_scheme="dark", **DESKTOP)


async def _picture(browser: Browser, api: Api, where: str, path: Path, **options: Any) -> None:
    context = await browser.new_context(**options)
    page = await context.new_page()
    await page.goto(f"{api.client.base_url}{where}")
    await until(lambda: _settled(page))
    _save(await page.screenshot(animations="disabled"), path)
    await context.close()


async def _arriving(browser: Browser, api: Api, path: Path) -> None:
    """Forty addresses that were just added, half of them there."""
    async with Origin("127.77.0.1") as origin:
        addresses = []
        for number in range(400, 440):
            made = picture(number)
            answer = body(made.body, f"image/{made.format}") if number % 10 else status(404)
            addresses.append(origin.on(f"/{made.name}", delayed(1 + (number % 20) * 0.6, answer)))
        context = await browser.new_context(**DESKTOP)
        page = await context.new_page()
        await page.goto(str(api.client.base_url))
        await page.get_by_label("Add images").fill("\n".join([*addresses, "https://example.org:99999/nowhere.jpg"]))
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("progress")).to_have_js_property("max", 40)
        await until(lambda: page.evaluate("document.querySelector('progress').value >= 24"))
        await until(lambda: _settled(page))
        _save(await page.screenshot(animations="disabled"), path)
        await context.close()


async def _settled(page: Page) -> bool:
    """Whether all that can be seen is there: pictures are drawn, and nothing is being looked for."""
    script = """() => {
        const seen = (element) => { const box = element.getBoundingClientRect(); return box.width && box.bottom > 0 && box.top < innerHeight; };
        const drawn = [...document.images].filter((img) => img.hasAttribute("src") && seen(img)).every((img) => img.complete && img.naturalWidth);
        const something = document.querySelector(".frame.loaded, .picture img, .group");
        return drawn && Boolean(something) && !document.body.textContent.includes("Looking …");
    }"""
    return bool(await page.evaluate(script)) and bool(await page.evaluate("() => new Promise((done) => setTimeout(() => done(true), 300))"))


def _save(png: bytes, path: Path) -> None:
    """As it is or, if that is too large, with a palette, of fewer colours until it is small enough."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (None, 256, 128, 64, 32):
        file = io.BytesIO()
        (picture.quantize(colours, method=Image.Quantize.MEDIANCUT) if colours else picture).save(file, "PNG", optimize=True)
        if file.tell() < MOST_BYTES:
            break
    path.write_bytes(file.getvalue())
    sys.stdout.write(f"{path.name}: {file.tell() // 1000} kB, {colours or 'all'} colours\n")


def main() -> None:
    """Takes them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"screenshots-{uuid.uuid4().hex}"
    with servers() as running, running.vhost(name) as amqp_url, running.database(name) as mongo_url:
        asyncio.run(take(mongo_url, amqp_url, FOLDER))


if __name__ == "__main__":
    main()
