"""One image in the gallery: what is said of it, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from shared.errors import Reason
from tests.browser import holdings
from tests.browser.pictures import picture
from tests.polling import until

if TYPE_CHECKING:
    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser


async def test_its_own_address_shows_its_facts_history_and_versions(api: Api, gallery: Gallery) -> None:
    image = await holdings.added(api, "https://archive.example/lighthouse%20at%20noon.jpg")
    await api.delayed(image, reason=Reason.TIMEOUT, detail="Nothing came for 10 s.")
    for seed in (1, 2):
        made = picture(seed)
        await api.fetched(image, made.body, width=made.width, height=made.height, took_ms=1234)
        if seed == 1:
            await api.client.put("/images", json={"url": "https://archive.example/lighthouse%20at%20noon.jpg"})
    await holdings.stored(api, 7)
    page, _ = await gallery.open(api, f"#/images/{image}")
    dialog = page.get_by_role("dialog", name="lighthouse at noon.jpg")
    await expect(dialog).to_be_visible()
    link = dialog.get_by_role("link", name="https://archive.example/lighthouse%20at%20noon.jpg")
    assert "noreferrer" in (await link.get_attribute("rel") or "")
    await expect(dialog.get_by_text("pixels")).to_contain_text(f"{picture(2).width} × {picture(2).height} pixels")
    await expect(dialog.get_by_text("Too slow. Nothing came for 10 s.")).to_be_visible()
    await expect(dialog.get_by_text("2nd attempt")).to_contain_text("1.23 s")
    await expect(dialog.get_by_role("heading", name="Former copies")).to_be_visible()
    await until(lambda: page.evaluate("document.querySelector('.picture img').naturalWidth > 0"))
    # Deleting the former copy asks first.
    await dialog.get_by_role("button", name="Delete the copy of").click()
    await page.get_by_role("dialog", name="Delete this former copy?").get_by_role("button", name="Delete").click()
    await expect(dialog.get_by_role("heading", name="Former copies")).to_be_hidden()
    await dialog.get_by_role("button", name="Previous image").click()
    await expect(page.locator("#detail-title")).to_contain_text("-007.jpg")
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("#detail")).to_be_hidden()
    assert page.url.endswith("#/")


async def test_deleting_asks_first_and_takes_the_image_off_the_list(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(3))
    page, _ = await gallery.open(api)
    tiles = page.locator("#grid li")
    await expect(tiles).to_have_count(3)
    await page.get_by_role("link", name="-001.jpg").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    question = page.locator("#confirm")
    await expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(question).to_be_hidden()
    await expect(page.locator("#detail")).to_be_visible()
    assert len((await api.client.get("/images")).json()["items"]) == 3
    await page.get_by_role("button", name="Delete", exact=True).click()
    await question.get_by_role("button", name="Delete").click()
    await expect(page.locator("#detail")).to_be_hidden()
    await expect(tiles).to_have_count(2)
    assert len((await api.client.get("/images")).json()["items"]) == 2
    await expect(page.locator("#announcer")).to_contain_text("is deleted")


async def test_a_download_that_begins_again_is_followed_to_its_end(api: Api, gallery: Gallery) -> None:
    image = await holdings.failed(api, 0)
    page, _ = await gallery.open(api, f"#/images/{image}")
    dialog = page.locator("#detail")
    await expect(dialog.get_by_text("There is no copy.")).to_be_visible()
    await expect(dialog.locator(".badge")).to_have_text("Failed")
    await dialog.get_by_role("button", name="Download again").click()
    await expect(dialog.locator(".badge")).to_have_text("Waiting")
    made = picture(3)
    await api.fetched(image, made.body, width=made.width, height=made.height)
    await expect(dialog.locator(".badge")).to_have_text("Stored")
    await expect(dialog.locator(".picture img")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#grid li")).to_have_attribute("data-status", "stored")


async def test_hostile_text_is_text(api: Api, gallery: Gallery) -> None:
    script = "%3Cimg%20src=x%20onerror=alert(1)%3E%22'%3Cscript%3Ealert(1)%3C/script%3E"
    image = await holdings.added(api, f"https://archive.example/{script}.jpg")
    await api.failed(image, reason=Reason.HTTP_STATUS, detail="<img src=x onerror=alert(1)><b>404</b>")
    page, watch = await gallery.open(api, f"#/images/{image}")
    await expect(page.locator("#detail")).to_contain_text("<img src=x onerror=alert(1)><b>404</b>")
    await expect(page.locator("#grid li .name")).to_contain_text("script>")
    assert await page.locator("#detail b, #grid script, img[src='x']").count() == 0
    watch.expected = {404}
    await page.goto(f"{api.client.base_url}#/images/%3Cb%3E")
    await expect(page.locator("#detail").get_by_text("No image has this id.")).to_be_visible()
