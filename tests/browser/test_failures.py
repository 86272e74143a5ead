"""What went wrong, in the gallery: failures by reason, and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest
from playwright.async_api import expect

from shared import topology
from tests.api import taken
from tests.browser import holdings
from tests.polling import until

if TYPE_CHECKING:
    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser


async def test_failures_are_grouped_by_reason_and_tried_again(api: Api, gallery: Gallery, amqp_url: str) -> None:
    for number in range(15):
        await holdings.failed(api, number)
    page, _ = await gallery.open(api)
    await page.get_by_role("link", name="Failures").click()
    await expect(page.get_by_role("heading", name="Failures")).to_be_focused()
    await expect(page.get_by_text("15 addresses couldn't be had.")).to_be_visible()
    groups = page.locator("section.group")
    await expect(groups).to_have_count(4)
    await expect(groups.first).to_contain_text("Refused by the host 6")
    slow = groups.filter(has_text="Too slow")
    await slow.get_by_role("button", name="Try slow-2.tiff again").click()
    await expect(slow.get_by_text("Will be tried again")).to_be_visible()
    gone = groups.filter(has_text="Host not found")
    await gone.get_by_role("button", name="Try these 3 again").click()
    await expect(gone.get_by_text("3 addresses will be tried again.")).to_be_visible()
    await page.get_by_role("button", name="Try all again").click()
    await page.locator("#confirm").get_by_role("button", name="Try all again").click()
    await expect(page.get_by_text("Nothing has failed.")).to_be_visible()

    async def requested() -> bool:
        images.extend(request.image for request in await taken(amqp_url, topology.DOWNLOAD_REQUESTED.name))
        return len(images) >= 15

    images: list[str] = []
    await until(requested)
    assert len(set(images)) == 15


async def test_dead_letters_are_shown_sent_again_and_deleted(api: Api, gallery: Gallery, amqp_url: str) -> None:
    page, watch = await gallery.open(api, "#/dead-letters")
    await expect(page.get_by_text("There are none.")).to_be_visible()
    for body in (b'{"x":"<b>first</b>"}', b'{"x":"second"}'):
        await holdings.buried(api, body)
    await page.reload()
    rows = page.locator("#view-letters li")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("fetcher.download-requested")
    await rows.last.get_by_role("link", name="download-requested").click()
    dialog = page.get_by_role("dialog", name="download-requested")
    await expect(dialog.get_by_label("Body")).to_contain_text("<b>first</b>")
    assert await dialog.locator("b").count() == 0
    await dialog.get_by_role("button", name="Send again").click()
    await expect(dialog).to_be_hidden()
    await expect(rows).to_have_count(1)
    await expect(page.locator("#announcer")).to_contain_text("Sent to fetcher.download-requested again.")
    assert await waiting(amqp_url) == 1
    await rows.first.get_by_role("button", name="Delete").click()
    question = page.get_by_role("dialog", name="Delete this message?")
    await question.get_by_role("button", name="Cancel").click()
    await expect(rows).to_have_count(1)
    await rows.first.get_by_role("button", name="Delete").click()
    await question.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There are none.")).to_be_visible()
    assert (await api.client.get("/dead-letters")).json()["items"] == []
    letter = await holdings.buried(api, b"third")
    image = await holdings.failed(api, 0)
    # They share a dialog, whichever is shown after the other.
    for where, text in ((f"dead-letters/{letter}", "third"), (f"images/{image}", "404 Not Found"), (f"dead-letters/{letter}", "third")):
        await page.goto(f"{api.client.base_url}#/{where}")
        await expect(page.locator("#detail")).to_contain_text(text)
        await expect(page.locator("#detail")).to_be_visible()
    watch.expected = {404}
    await page.goto(f"{api.client.base_url}#/dead-letters/nothing")
    await expect(page.get_by_text("No dead letter has this id.")).to_be_visible()


async def waiting(amqp_url: str) -> int:
    """How many requests wait for a fetcher."""
    async with await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).declare_queue(topology.DOWNLOAD_REQUESTED.name, passive=True)
        return queue.declaration_result.message_count or 0
