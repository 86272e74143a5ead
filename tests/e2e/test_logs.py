"""What the services log of images: a line for what goes wrong, with ids, and a count for the rest."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.broker import Publisher
from shared.events import JSON, Envelope
from shared.telemetry import Json
from tests.e2e.conftest import running
from tests.origin import Origin, body, image, sequence, status
from tests.polling import until

if TYPE_CHECKING:
    from shared.settings import Settings

pytestmark = pytest.mark.anyio

FAULT = """
from contextlib import asynccontextmanager
from shared import process

@asynccontextmanager
async def service(settings):
    raise RuntimeError("a fault")
    yield

raise SystemExit(process.run(service))
"""


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[dict[str, Any]]:
    """What would have been written, by services of this level."""
    return [json.loads(Json().format(record)) for record in caplog.records if record.levelno >= level and record.name.startswith("bowerbird")]


async def test_what_goes_wrong_has_a_line_with_ids_and_the_rest_is_counted(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "bowerbird")
    picture = image("PNG")
    async with Origin("127.77.0.1") as origin, running(dataclasses.replace(settings, retry_delays=(0.3,))) as pipeline:
        good = await pipeline.post(origin.on("/good.png", body(picture)))
        late = await pipeline.post(origin.on("/late.png", sequence(status(503), body(image("PNG", seed=1)))))
        gone = await pipeline.post(origin.url("/gone.png?token=hunter2"))
        for location in (good, late, gone):
            await pipeline.settled(location)
        assert (await pipeline.client.delete(good)).status_code == 204

        async def buried() -> bool:
            return bool((await pipeline.client.get("/dead-letters")).json()["items"])

        async with Publisher(settings.require("amqp_url")) as publisher:
            await publisher.wait()
            envelope = Envelope("download-requested", {"v": 7}, b"{}", JSON, "m-1", f"{gone.rpartition('/')[2]}.5")
            await publisher.send(envelope, "fetcher.download-requested")
        await until(buried)
    of = {name: location.rpartition("/")[2] for name, location in (("good", good), ("late", late), ("gone", gone))}
    told = lines(caplog)

    def about(name: str, *fields: str) -> list[tuple[Any, ...]]:
        return [(line["level"], line["event"], *map(line.get, fields)) for line in told if line.get("image") == of[name]]

    assert about("good") == [("info", "an image was deleted")]
    assert about("late", "attempt", "reason") == [("info", "a download failed, and is tried again", 1, "http_status")]
    assert about("gone", "attempt", "detail", "message_id") == [
        ("info", "a download failed", 1, "The origin answered 404 Not Found.", None),
        ("warning", "a message is of no use, and goes to the dead letters", None, None, "m-1"),
        ("warning", "a dead letter", None, None, "m-1"),
    ]
    assert all(line["correlation"].startswith(f"{line['image']}.") for line in told if "image" in line)
    assert next(line["url"] for line in told if line["event"] == "a download failed") == origin.url("/gone.png?…")
    assert "hunter2" not in json.dumps(lines(caplog, logging.DEBUG))
    counted = {line["from"]: line for line in told if line["event"] == "done since the last such line"}
    assert {name: counted["bowerbird.fetcher"].get(name) for name in ("fetched", "delayed", "failed")} == {"fetched": 2, "delayed": 1, "failed": 1}
    stored = {"stored": 2, "stored_bytes": 2 * len(picture), "failed": 1, "delayed": 1}
    assert abs(counted["bowerbird.storer"]["stored_bytes"] - stored["stored_bytes"]) < len(picture)
    assert {name: counted["bowerbird.storer"].get(name) for name in stored if name != "stored_bytes"} == {"stored": 2, "failed": 1, "delayed": 1}
    assert counted["bowerbird.api"]["dispatched"] == 3
    in_debug = [line["event"] for line in lines(caplog, logging.DEBUG) if line.get("image") == of["good"]]
    assert in_debug == ["downloaded", "an outcome is recorded", "an image was deleted"]


def test_a_fault_that_ends_a_service_is_a_line_too() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FAULT], cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    said = json.loads(line)
    assert (said["level"], said["event"]) == ("error", "ended by a fault")
    assert said["traceback"].endswith("RuntimeError: a fault")
