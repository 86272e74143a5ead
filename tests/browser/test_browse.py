"""Looking around in the gallery: long lists, filters, addresses, the keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests.browser import holdings

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser

LONG = 10_000
MOST_NODES = 1500
"""Elements in the whole page, however far one has scrolled. A window of 1280 by 800 shows some 20 tiles."""
MOST_FRAME_MS = 400
"""The longest that a frame takes while scrolling, on a machine that is busy with other tests."""

SCROLL = """async () => {
    const frames = [];
    let last = performance.now();
    let most = 0;
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const deadline = last + 40_000;
    while (!/^10,000 images$/.test(document.getElementById("grid-more").textContent) && performance.now() < deadline) {
        window.scrollBy(0, 2500);
        await frame();
        const now = performance.now();
        frames.push(now - last);
        last = now;
        most = Math.max(most, document.getElementsByTagName("*").length);
    }
    await frame(); await frame();
    window.scrollTo(0, document.documentElement.scrollHeight);
    await frame(); await frame();
    frames.sort((one, other) => one - other);
    return { most, frames: frames.length, median: frames[frames.length >> 1], worst: frames[Math.floor(frames.length * 0.99)] };
}"""


async def test_ten_thousand_images_scroll_by_in_a_bounded_page(api: Api, gallery: Gallery) -> None:
    await holdings.many(api, LONG)
    page, _ = await gallery.open(api)
    await expect(page.locator("#grid li").first).to_be_visible()
    found: dict[str, Any] = await page.evaluate(SCROLL)
    await expect(page.locator("#grid-more")).to_have_text("10,000 images")
    await expect(page.locator("#grid li", has_text=re.compile(r"^number-0\.jpg"))).to_be_visible()
    assert found["most"] < MOST_NODES, found
    assert found["median"] < MOST_FRAME_MS / 2, found
    assert found["worst"] < MOST_FRAME_MS, found
    assert await page.locator("#grid li").count() < 100
    positions = [int(await tile.get_attribute("aria-posinset") or 0) for tile in await page.locator("#grid li").all()]
    assert positions == sorted(positions)
    assert positions[-1] == LONG


async def test_tiles_are_thumbnails_as_wide_as_the_screen_needs(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(2))
    for scale, width in ((1, 320), (2, 640)):
        page, _ = await gallery.open(api, device_scale_factor=scale)
        await expect(page.locator("#grid .frame.loaded")).to_have_count(2)
        assert (await page.locator("#grid img").first.get_attribute("src") or "").endswith(f"/thumbnail?w={width}")


async def test_what_is_new_comes_in_at_the_top_and_moves_nothing_further_down(api: Api, gallery: Gallery) -> None:
    await holdings.many(api, 300)
    page, _ = await gallery.open(api)
    tiles = page.locator("#grid li")
    await expect(tiles.first).to_contain_text("number-299.jpg")
    await holdings.added(api, "https://new.example/first.jpg")
    await expect(tiles.first).to_contain_text("first.jpg")
    await page.evaluate("window.scrollTo(0, 4000)")
    await expect(tiles.first).not_to_contain_text("first.jpg")  # the tiles of before are gone, those of here are there
    seen = tiles.nth(20)
    name, before = await seen.text_content(), await seen.bounding_box()
    await holdings.added(api, "https://new.example/second.jpg")
    newer = page.get_by_role("button", name="New images")
    await expect(newer).to_be_visible()
    assert (await seen.text_content(), await seen.bounding_box()) == (name, before)
    await newer.click()
    await expect(tiles.first).to_contain_text("second.jpg")
    await expect(newer).to_be_hidden()


async def test_filters_are_in_the_address_and_back_undoes_them(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(6))
    await holdings.failed(api, 0)
    page, watch = await gallery.open(api)
    tiles = page.locator("#grid li")
    await expect(tiles).to_have_count(7)
    await page.get_by_label("Status").select_option("failed")
    await expect(tiles).to_have_count(1)
    assert page.url.endswith("#/?status=failed")
    await page.get_by_label("Status").select_option("stored")
    await page.get_by_label("Format").select_option("webp")
    await expect(tiles).to_have_count(2)
    await page.get_by_label("Host").fill("museum.example")
    await expect(tiles).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"#/\?status=stored&format=webp&host=museum\.example$"))
    await page.go_back()
    await expect(tiles).to_have_count(2)
    await expect(page.get_by_label("Host")).to_have_value("")
    await page.reload()
    await expect(tiles).to_have_count(2)
    await expect(page.get_by_label("Format")).to_have_value("webp")
    watch.expected = {400}
    await page.get_by_label("Host").fill("a b")
    await expect(page.locator("#grid-problem")).to_contain_text("host must be a host's name")
    await page.get_by_role("button", name="Clear").click()
    await expect(tiles).to_have_count(7)
    await page.get_by_label("Host").fill("nobody.example")
    await expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    await page.get_by_role("link", name="Show all images").click()
    await expect(tiles).to_have_count(7)


async def test_it_can_be_used_with_the_keyboard_only(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(12))
    page, _ = await gallery.open(api)
    tiles = page.locator("#grid li")
    await expect(tiles).to_have_count(12)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert await outlined(page)
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("Add images")).to_be_focused()
    for _ in range(5):  # Add, three filters, the first tile
        await page.keyboard.press("Tab")
    first, second = tiles.nth(0).locator("a"), tiles.nth(1).locator("a")
    await expect(first).to_be_focused()
    assert await outlined(page)
    await page.keyboard.press("ArrowRight")
    await expect(second).to_be_focused()
    await page.keyboard.press("End")
    await expect(tiles.last.locator("a")).to_be_focused()
    await page.keyboard.press("Home")
    await expect(first).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    dialog = page.locator("#detail")
    title = dialog.get_by_role("heading", level=2)
    await expect(title).to_be_focused()
    name = await second.locator(".name").text_content()
    await expect(title).to_have_text(name or "")
    await page.keyboard.press("ArrowRight")
    await expect(title).to_have_text(await tiles.nth(2).locator(".name").text_content() or "")
    # Not out of the dialog, however often.
    for _ in range(12):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement === document.body || document.getElementById('detail').contains(document.activeElement)")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(tiles.nth(2).locator("a")).to_be_focused()
    # One stop for the whole grid: the next one is behind it.
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="API reference")).to_be_focused()


async def outlined(page: Page) -> bool:
    """Whether the element that has the focus shows it."""
    return bool(await page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2"))


async def test_a_tile_keeps_the_focus_when_it_is_scrolled_away(api: Api, gallery: Gallery) -> None:
    await holdings.many(api, 1000)
    page, _ = await gallery.open(api)
    first = page.locator("#grid li a").first
    await first.focus()
    await page.evaluate("window.scrollTo(0, 20000)")
    await expect(page.locator("#grid li", has_text="number-999.jpg").locator("a")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#grid li", has_text="number-998.jpg").locator("a")).to_be_focused()
    assert await page.evaluate("scrollY") < 1000
