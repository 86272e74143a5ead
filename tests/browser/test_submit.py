"""Submitting in the gallery, with every service running."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest
from playwright.async_api import expect

from services.fetcher.main import fetcher
from services.storer.main import storer
from shared.settings import load
from tests.api import Api, gate_to, running_api, through
from tests.galleries import gallery as page_of_images
from tests.origin import Origin, body, image, status
from tests.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser


class Whole(NamedTuple):
    """An api, with a fetcher and a storer behind it, and an origin that they may ask."""

    api: Api
    origin: Origin


@pytest.fixture
async def whole(mongo_url: str, amqp_url: str) -> AsyncIterator[Whole]:
    allowed = {"BOWERBIRD_FETCH_ALLOW": "127.77.0.0/16", "BOWERBIRD_RETRY_DELAYS": "300ms", "BOWERBIRD_FETCH_PORTS": "1-65535"}
    settings = load({"BOWERBIRD_MONGO_URL": mongo_url, "BOWERBIRD_AMQP_URL": amqp_url, **allowed})
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api(mongo_url, amqp_url, fetch_allow=settings.fetch_allow, fetch_ports=settings.fetch_ports))
        await stack.enter_async_context(storer(settings))
        await stack.enter_async_context(fetcher(settings))
        yield Whole(api, await stack.enter_async_context(Origin("127.77.0.1")))


async def add(page: Page, *urls: str) -> None:
    await page.get_by_label("Add images").fill("\n".join(urls))
    await page.get_by_role("button", name="Add", exact=True).click()


async def test_an_image_that_is_added_is_seen_to_arrive(whole: Whole, gallery: Gallery) -> None:
    url = whole.origin.on("/arrives.png", body(image("PNG", (64, 48)), "image/png"))
    page, _ = await gallery.open(whole.api)
    await expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
    await page.get_by_label("Add images").fill(url)
    await page.keyboard.press("Enter")
    submission = page.get_by_role("region", name="One address")
    await expect(submission.get_by_text("1 stored", exact=True)).to_be_visible()
    await expect(submission.get_by_text("64 × 48 · PNG")).to_be_visible()
    tile = page.locator("#grid li", has_text="arrives.png")
    await expect(tile.locator(".frame.loaded")).to_be_visible()
    await expect(tile).to_have_attribute("data-status", "stored")
    await expect(page.get_by_label("Add images")).to_have_value("")
    await expect(page.locator("#announcer")).to_have_text("Done: 1 stored.")


async def test_each_of_many_lines_shows_its_fate(whole: Whole, gallery: Gallery) -> None:
    origin = whole.origin
    good = origin.on("/good.jpg", body(image("JPEG")))
    gone = origin.on("/gone.jpg", status(404))
    inner = [origin.on(f"/inner/{number}.png", body(image("PNG", seed=number), "image/png")) for number in (1, 2, 3)]
    site = origin.on("/site.html", body(page_of_images(3, path="/inner/{number}.png").encode(), "text/html"))
    await whole.api.client.post("/images", json={"url": inner[0]})
    page, _ = await gallery.open(whole.api)
    await add(page, good, good, gone, site, "", "ftp://example.org/a.png", inner[0])
    lines = page.get_by_role("region", name="6 addresses").locator(".lines li")
    await expect(lines).to_have_count(6)
    await expect(lines.filter(has_text="good.jpg").first).to_contain_text("64 × 48 · JPEG")
    await expect(lines.filter(has_text="good.jpg").last).to_contain_text("Repeated")
    await expect(lines.filter(has_text="gone.jpg")).to_contain_text("Refused by the host")
    await expect(lines.filter(has_text="site.html")).to_contain_text("Page with 3 images")
    await expect(lines.first).to_contain_text("Refused: ")
    await expect(lines.filter(has_text="/inner/1.png")).to_contain_text("Known already")
    await expect(page.get_by_text("2 stored, 1 page, 1 failed, 1 known before, 1 refused")).to_be_visible()
    # What the page had comes by itself, and its own address shows nothing but that.
    await expect(page.locator("#grid li")).to_have_count(6)
    await page.get_by_role("link", name="site.html", exact=False).first.click()
    await page.get_by_role("link", name="Show its images").click()
    await expect(page.locator("#grid li")).to_have_count(3)
    await expect(page.get_by_role("button", name="Of one page")).to_be_visible()
    await page.get_by_role("button", name="Of one page").click()
    await expect(page.locator("#grid li")).to_have_count(6)


async def test_a_known_url_says_so_and_can_be_downloaded_again(whole: Whole, gallery: Gallery) -> None:
    url = whole.origin.on("/again.png", body(image("PNG"), "image/png"))
    page, watch = await gallery.open(whole.api)
    await add(page, url)
    await expect(page.get_by_text("1 stored", exact=True)).to_be_visible()
    watch.expected = {409}
    await add(page, url)
    await expect(page.get_by_text("1 known before")).to_be_visible()
    asked = whole.origin.hits["/again.png"]
    await page.get_by_role("button", name="Download again").click()
    await expect(page.get_by_text("Known already. 64 × 48 · PNG")).to_be_visible()

    async def asked_again() -> bool:
        return whole.origin.hits["/again.png"] > asked

    await until(asked_again)


async def test_what_is_refused_says_which_rule(whole: Whole, gallery: Gallery) -> None:
    page, watch = await gallery.open(whole.api)
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#add-problem")).to_contain_text("Paste at least one address")
    watch.expected = {422}
    hostile = "javascript:alert(1)//<img src=x onerror=alert(1)>"
    await add(page, hostile)
    line = page.get_by_role("region", name="One address").locator(".lines li")
    await expect(line).to_contain_text("Refused: ")
    await expect(line.locator(".url")).to_have_text(hostile)
    assert await line.locator("a, img").count() == 0


async def test_without_a_database_nothing_is_lost_from_the_field(mongo_url: str, amqp_url: str, gallery: Gallery) -> None:
    async with gate_to(mongo_url) as gate, running_api(through(gate, mongo_url), amqp_url) as api:
        page, watch = await gallery.open(api)
        await expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()
        watch.expected = {503}
        gate.shut()
        await add(page, "https://example.org/later.jpg")
        await expect(page.locator("#add-problem")).to_contain_text("doesn't answer at the moment")
        await expect(page.get_by_label("Add images")).to_have_value("https://example.org/later.jpg")
        await gate.open()
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("region", name="One address")).to_be_visible(timeout=20_000)
        await expect(page.locator("#add-problem")).to_be_empty()
        await gallery.close()
