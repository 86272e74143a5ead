"""Who can use the gallery: with keys, on a phone, in the dark, with a screen reader; and nothing that it must not do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests import npm
from tests.api import running_api
from tests.browser import holdings

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser

KEY = "correct-horse-battery"
AXE = "axe-core@4.10.3"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


async def test_a_key_is_asked_for_and_kept_for_the_session_only(mongo_url: str, amqp_url: str, gallery: Gallery) -> None:
    async with running_api(mongo_url, amqp_url, api_keys=(KEY, "only-for-reading:read")) as api:
        await holdings.pictures(api, range(3))
        page, watch = await gallery.open(api)
        watch.expected = {401, 403}
        dialog = page.get_by_role("dialog", name="This server needs a key")
        field = dialog.get_by_label("Key", exact=True)
        await expect(field).to_be_focused()
        await field.fill("wrong-horse-battery")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("isn't one of this server's keys")
        await field.fill(KEY)
        await page.keyboard.press("Enter")
        await expect(dialog).to_be_hidden()
        # With the key pictures come too, which <img> alone couldn't have asked for.
        await expect(page.locator("#grid .frame.loaded")).to_have_count(3)
        assert (await page.locator("#grid img").first.get_attribute("src") or "").startswith("blob:")
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        await page.reload()
        await expect(page.locator("#grid .frame.loaded")).to_have_count(3)
        await page.get_by_role("button", name="Forget the key").click()
        await expect(dialog).to_be_visible()
        await field.fill("only-for-reading")
        await page.keyboard.press("Enter")
        await expect(page.locator("#grid .frame.loaded")).to_have_count(3)
        await page.get_by_label("Add images").fill("https://example.org/a.png")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#add-problem")).to_contain_text("This key may not write")
        await gallery.close()


@pytest.mark.parametrize("width", [320, 390])
async def test_on_a_phone_nothing_is_wider_than_the_screen(api: Api, gallery: Gallery, width: int) -> None:
    images = await holdings.pictures(api, range(8))
    await holdings.failed(api, 4)
    page, _ = await gallery.open(api, width=width, height=640, is_mobile=True, has_touch=True)
    await expect(page.locator("#grid .frame.loaded").first).to_be_visible()
    lefts = await page.locator("#grid li").evaluate_all("tiles => tiles.map((tile) => Math.round(tile.getBoundingClientRect().left))")
    assert len(set(lefts)) == 2
    for where in ("#/", f"#/images/{images[0]}", "#/failures", "#/dead-letters"):
        await page.goto(f"{api.client.base_url}{where}")
        await expect(page.locator("#view-images" if "images" in where or where == "#/" else "main")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, where
        small = "[...document.querySelectorAll('button, select, textarea, nav a')].filter((e) => e.offsetHeight && (e.offsetHeight < 24 || e.offsetWidth < 24)).length"
        assert await page.evaluate(small) == 0, where


async def test_it_follows_the_systems_colours(api: Api, gallery: Gallery) -> None:
    shown = {}
    for scheme in ("light", "dark"):
        page, _ = await gallery.open(api, color_scheme=scheme)
        shown[scheme] = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert shown == {"light": "rgb(247, 245, 240)", "dark": "rgb(20, 22, 27)"}


async def test_who_wants_no_motion_gets_none(api: Api, gallery: Gallery) -> None:
    await holdings.pictures(api, range(1))
    page, _ = await gallery.open(api, reduced_motion="reduce")
    picture = page.locator("#grid img").first
    await expect(picture).to_be_attached()
    assert await picture.evaluate("(img) => getComputedStyle(img).transitionProperty + getComputedStyle(img).transitionDuration") in {
        "none0s",
        "all0s",
    }


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which checks a page against the WCAG; from npm, for the length of the run."""
    return npm.file_of(AXE, "axe.min.js", tmp_path_factory.mktemp("axe")).decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_to_object_to(api: Api, gallery: Gallery, axe: str, scheme: str) -> None:
    images = await holdings.pictures(api, range(6))
    failures = [await holdings.failed(api, number) for number in range(5)]
    await holdings.added(api, "https://archive.example/waits.jpg")
    page, watch = await gallery.open(api, color_scheme=scheme, reduced_motion="reduce")
    watch.expected = {422}
    await expect(page.locator("#grid .frame.loaded")).to_have_count(6)
    await page.get_by_label("Add images").fill("https://a.example/1.jpg\nhttps://a.example/2.jpg\nnothing at all")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_role("region", name="3 addresses")).to_be_visible()
    assert await _violations(page, axe) == []
    for where, ready in (
        (f"#/images/{images[0]}", "#detail-facts dl"),
        (f"#/images/{failures[0]}", "#detail-facts dl"),
        ("#/failures", ".group"),
        ("#/dead-letters", "#view-letters h1"),
    ):
        await page.goto(f"{api.client.base_url}{where}")
        await expect(page.locator(ready).first).to_be_visible()
        assert await _violations(page, axe) == [], where


async def _violations(page: Page, axe: str) -> list[Any]:
    # As the browser's own developer tools do it, beside the page's policy.
    await page.evaluate(axe)
    found = await page.evaluate("(rules) => axe.run({ runOnly: rules, resultTypes: ['violations'] })", RULES)
    return [(violation["id"], [node["html"][:200] for node in violation["nodes"]][:3]) for violation in found["violations"]]
