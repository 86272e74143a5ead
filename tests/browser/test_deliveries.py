"""Who was told of an image: what came of it, and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from shared import urls
from shared.deliveries import Delivery, Kind, delivery_id
from shared.errors import Reason
from shared.events import CallbackAttempted
from shared.image import Addition
from tests.polling import until

if TYPE_CHECKING:
    from tests.api import Api
    from tests.browser.conftest import Gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # the first may have to install the browser

URL = "https://archive.example/told.jpg"
RECEIVER = "https://receiver.example/<b>hook</b>"


async def told(api: Api, image: str, kind: Kind, **attempt: Any) -> str:
    """A delivery with one attempt; its id."""
    revision, now = await api.revision(image), datetime.now(UTC)
    delivery = Delivery(
        id=delivery_id(image, revision, kind), subject=image, revision=revision, kind=kind, url=RECEIVER, payload="{}", created_at=now
    )
    await api.parts.deliveries.record([delivery])
    facts = {"image": image, "revision": revision, "delivery": delivery.id, "attempted_at": now, "took_ms": 34, **attempt}
    await api.parts.deliveries.attempted(CallbackAttempted(**facts))
    return delivery.id


async def test_who_was_told_with_what_came_of_it_and_again(api: Api, gallery: Gallery) -> None:
    parsed = urls.parse(URL)
    image = urls.image_id(parsed.href)
    await api.parts.catalog.add([Addition(image, parsed, callback=RECEIVER)])
    await api.failed(image, reason=Reason.HTTP_STATUS, detail="The host answered 404 Not Found.")
    refused = await told(api, image, Kind.IMAGE_FAILED, reason=Reason.HTTP_STATUS, detail="The receiver answered 410 Gone.", http_status=410)
    await told(api, image, Kind.IMAGE_STORED, http_status=204)
    page, _ = await gallery.open(api, f"#/images/{image}")
    section = page.locator("#detail-deliveries")
    await expect(section.get_by_role("heading", name="Who was told")).to_be_visible()
    items = section.get_by_role("listitem")
    await expect(items).to_have_count(2)
    failed = items.filter(has_text="That it failed")
    await expect(failed).to_contain_text("Given up after the 1st attempt: ")
    await expect(failed).to_contain_text("The receiver answered 410 Gone.")
    await expect(failed).to_contain_text(RECEIVER)
    assert await section.locator("b").count() == 0
    await expect(items.filter(has_text="That it is stored")).to_contain_text("Taken at the 1st attempt, 34 ms.")
    await failed.get_by_role("button", name="Send again").click()
    await expect(page.locator("#announcer")).to_contain_text("It is sent again.")
    await expect(failed).to_contain_text("The next attempt is due soon.")
    await expect(failed.get_by_role("button")).to_have_count(0)
    await expect(page.locator("#detail-title")).to_be_focused()
    delivery = await api.parts.deliveries.get(refused)
    assert delivery is not None
    assert delivery.replay == 1
    # What comes of that is seen without anybody's doing.
    await told(api, image, Kind.IMAGE_FAILED, replay=1, http_status=204)
    await until(lambda: _says(failed, "Taken at the 1st attempt"), seconds=60)


async def test_one_that_is_tried_again_says_when_and_others_have_no_such_part(api: Api, gallery: Gallery) -> None:
    parsed = urls.parse(URL)
    image = urls.image_id(parsed.href)
    await api.parts.catalog.add([Addition(image, parsed, callback=RECEIVER)])
    later = datetime.now(UTC) + timedelta(minutes=10)
    await told(api, image, Kind.IMAGE_STORED, reason=Reason.TIMEOUT, detail="Nothing came.", next_attempt_at=later)
    page, _ = await gallery.open(api, f"#/images/{image}")
    await expect(page.locator("#detail-deliveries")).to_contain_text("Nothing came. The next attempt is due in 10 min.")
    other = urls.parse("https://archive.example/untold.jpg")
    await api.parts.catalog.add([Addition(urls.image_id(other.href), other)])
    await page.goto(f"{api.client.base_url}#/images/{urls.image_id(other.href)}")
    await expect(page.locator("#detail-title")).to_have_text("untold.jpg")
    await expect(page.locator("#detail-deliveries")).to_be_empty()


async def _says(locator: Any, text: str) -> bool:
    return text in (await locator.text_content() or "")
