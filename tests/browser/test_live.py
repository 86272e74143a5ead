"""What the gallery shows of what goes on: events, figures, links to where more is to be seen; with and without a stream."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from shared import topology
from tests.api import running_api
from tests.browser import holdings
from tests.browser.pictures import picture
from tests.chaos.proxy import Proxy

if TYPE_CHECKING:
    from playwright.async_api import Route

    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser


async def test_the_strip_shows_queues_rates_and_counts(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(2))
    await holdings.failed(api, 0)
    await holdings.buried(api, b"{}")
    for number in range(3):
        await api.client.post("/images", json={"url": f"https://archive.example/{number}"})
    page, _ = await gallery.open(api)
    strip = page.get_by_role("region", name="How it is going")
    await expect(strip).to_be_visible()
    figures = strip.locator("dl > div")
    await expect(figures.filter(has_text="Stored")).to_contain_text("2")
    await expect(figures.filter(has_text="On the way")).to_contain_text("3")
    queue = strip.locator(".queues li", has_text=topology.DOWNLOAD_REQUESTED.name)
    await expect(queue).to_contain_text("3")
    await expect(strip.get_by_text("No fetcher and no storer is running")).to_be_visible()
    await expect(strip.locator("svg path.line").first).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+){2,}$"))
    await expect(page.get_by_role("link", name="Failures 1")).to_be_visible()
    await expect(page.get_by_role("link", name="Dead letters 1")).to_be_visible()


async def test_where_more_is_to_be_seen_is_linked_to(mongo_url: str, amqp_url: str, gallery: Gallery) -> None:
    async with running_api(mongo_url, amqp_url, management_ui="http://127.0.0.1:15672", grafana_url="https://grafana.example") as api:
        page, _ = await gallery.open(api)
        for name, url in (("RabbitMQ", "http://127.0.0.1:15672/"), ("Grafana", "https://grafana.example/")):
            link = page.get_by_role("contentinfo").get_by_role("link", name=name)
            await expect(link).to_have_attribute("href", url)
            await expect(link).to_have_attribute("rel", "noreferrer noopener external")
        await gallery.close()


async def test_without_a_stream_or_thumbnails_it_asks_and_shows_originals_instead(api: Api, gallery: Gallery) -> None:
    async def missing(route: Route) -> None:
        problem = {"type": "/problems/not-found", "title": "There is nothing here", "status": 404}
        await route.fulfill(status=404, content_type="application/problem+json", body=json.dumps(problem))

    waits = await holdings.added(api, "https://archive.example/waits.jpg")
    page, watch = await gallery.open(api, None)
    watch.expected = {404}
    await page.route("**/events", missing)
    await page.route("**/stats", missing)
    await page.route("**/thumbnail?*", missing)
    await page.goto(str(api.client.base_url))
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "asking")
    tile = page.locator("#grid li")
    await expect(tile).to_have_attribute("data-status", "queued")
    made = picture(1)
    await api.fetched(waits, made.body, width=made.width, height=made.height)
    await expect(tile).to_have_attribute("data-status", "stored")
    await expect(tile.locator(".frame.loaded")).to_be_visible()
    assert (await tile.locator("img").get_attribute("src") or "").endswith("/content")
    await holdings.added(api, "https://archive.example/another.jpg")
    await expect(tile).to_have_count(2)
    await expect(page.get_by_role("region", name="How it is going")).to_be_hidden()


async def test_a_stream_that_breaks_is_taken_up_again(mongo_url: str, amqp_url: str, gallery: Gallery) -> None:
    async with running_api(mongo_url, amqp_url) as api, Proxy(api.client.base_url.port or 0) as gate:
        page, watch = await gallery.open(api, None)
        await page.goto(f"http://127.0.0.1:{gate.port}/")
        state = page.locator("#link-state")
        await expect(state).to_have_attribute("data-state", "live")
        watch.breaks = True
        gate.shut()
        await expect(state).to_have_attribute("data-state", "away")
        await gate.open()
        await holdings.added(api, "https://archive.example/meanwhile.jpg")
        await expect(state).to_have_attribute("data-state", "live")
        await expect(page.locator("#grid li", has_text="meanwhile.jpg")).to_be_visible()
        await gallery.close()
