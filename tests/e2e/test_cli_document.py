"""docs/cli.md: each command that it shows, in its order, in a terminal; what comes has the shape that is shown."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.broker import Publisher
from shared.events import JSON, Envelope
from tests.documents import Shell, follow
from tests.e2e.conftest import running
from tests.origin import Origin, body, image, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from shared.settings import Settings
    from tests.e2e.conftest import Pipeline

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
COLUMNS = 150
CATS, MISSING, BROKEN, REPEATED = 460, 20, 10, 4
REFUSED = ("ftp://example.org/cat.jpg", "http://169.254.169.254/latest/meta-data/", "cat.jpg", "http://127.0.0.1/", "https://", "javascript:alert(1)")


def site(origin: Origin) -> list[str]:
    """What the document's addresses give, and the 500 of its file."""
    cats = [f"/cats/{number}.{'png' if number % 3 else 'jpg'}" for number in range(CATS)]
    for number, path in enumerate(cats):
        picture = body(image("PNG" if number % 3 else "JPEG", (320, 200), seed=number))
        origin.on(path, sequence(status(503), picture) if number == 50 else picture)
    broken = [f"/broken/{number}.png" for number in range(BROKEN)]
    for path in broken:
        origin.on(path, body(b"\x89PNG\r\n\x1a\n", "image/png"))
    page = "".join(f'<img src="{path}">' for path in cats[3:36:3])
    origin.on("/gallery.html", body(f"<!doctype html><title>Cats</title>{page}".encode(), "text/html"))
    origin.on("/slow.jpg", status(503))
    missing = [f"/missing/{number}.jpg" for number in range(MISSING)]
    return [*map(origin.url, [*cats, *missing, *broken]), *REFUSED, *map(origin.url, cats[:REPEATED])]


async def test_what_the_document_shows_comes_to_pass(settings: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, retry_delays=(2.0, 4.0, 30.0))
    async with Origin("127.77.0.9") as origin, running(settings) as pipeline:
        (tmp_path / "cats.csv").write_text("name,address\n" + "".join(f"cat,{url}\n" for url in site(origin)), "utf-8")
        program = tmp_path / "bin" / "bowerbird"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m services "$@"\n', "utf-8")
        program.chmod(0o755)
        environ = {
            "PATH": f"{program.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "BOWERBIRD_URL": f"http://127.0.0.1:{settings.port}",
            "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "BROWSER": "true", "LANG": "C.UTF-8",
        }  # fmt: skip
        instead = {"127.0.0.1:8000": f"127.0.0.1:{settings.port}", "127.77.0.9:8080": f"127.77.0.9:{origin.port}"}
        then = {"a message comes that no fetcher can read": partial(unreadable, pipeline)}
        async with Shell(tmp_path, environ, columns=COLUMNS) as shell:
            assert await follow(ROOT / "docs" / "cli.md", shell, instead=instead, then=then, shape=True) > 20


async def unreadable(pipeline: Pipeline) -> None:
    """A message of a version that nobody knows, and where it ends."""
    async with Publisher(pipeline.settings.require("amqp_url")) as publisher:
        await publisher.wait()
        content = b'{"url": "http://127.77.0.9/cat.jpg"}'
        await publisher.send(Envelope("download-requested", {"v": 7}, content, JSON, None, None), "fetcher.download-requested")

    async def buried() -> bool:
        return bool((await pipeline.client.get("/dead-letters")).json()["items"])

    await until(buried)
