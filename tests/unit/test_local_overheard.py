"""What `bowerbird up` shows of its services' logs: what is grave, in a line, and no wall of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from services.local.overheard import Overheard
from services.local.terminal import saying

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Here:
    """One followed log, and what was said of it."""

    def __init__(self, folder: Path, *, log_bytes: int = 10_000) -> None:
        self.log = folder / "fetcher-1.log"
        self.said: list[str] = []
        self.clock = Clock()
        self.overheard = Overheard(self.said.append, clock=self.clock, log_bytes=log_bytes)
        self.overheard.follow("fetcher 1", self.log)

    def write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text)
        self.overheard.look()

    def event(self, level: str, event: str, **facts: object) -> None:
        self.write(json.dumps({"at": "2026-01-02T03:04:05.678Z", "level": level, "from": "bowerbird.x", "event": event, **facts}) + "\n")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_what_is_grave_is_said_with_its_facts(here: Here) -> None:
    here.event("info", "a download failed", image="a")
    here.event("warning", "waiting for a server", server="RabbitMQ", error="no answer")
    here.event("error", "a handler failed", traceback="Traceback\n  File\nKeyError")
    assert here.said == [
        '03:04:05 warning fetcher 1: waiting for a server  server=RabbitMQ error="no answer"',
        f"03:04:05 error   fetcher 1: a handler failed  (traceback in {here.log})",
    ]


def test_the_same_is_said_once_a_minute(here: Here) -> None:
    for here.clock.now in range(70):
        here.event("warning", "a dead letter", letter=here.clock.now)
    assert here.said == [
        "03:04:05 warning fetcher 1: a dead letter  letter=0",
        "03:04:05 warning fetcher 1: a dead letter  letter=60  (and 59 more since)",
    ]


def test_a_server_that_all_of_them_miss_is_said_once(here: Here, tmp_path: Path) -> None:
    here.overheard.follow("storer", tmp_path / "storer.log")
    here.event("warning", "waiting for a server", server="RabbitMQ")
    (tmp_path / "storer.log").write_text(here.log.read_text())
    here.event("warning", "waiting for a server", server="MongoDB")
    assert [line.rpartition("=")[2] for line in here.said] == ["RabbitMQ", "MongoDB"]


def test_what_was_there_before_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "fetcher-1.log").write_text("of the last run\n")
    here = Here(tmp_path)
    here.write("of this run\n")
    assert here.said == ["fetcher 1: of this run"]


def test_of_a_process_that_cannot_begin_the_last_line_is_said(here: Here) -> None:
    here.write('Traceback (most recent call last):\n  File "x", line 1\n    import y\nModuleNotFoundError: no y\n')
    assert here.said == ["fetcher 1: ModuleNotFoundError: no y"]


def test_half_a_line_waits_for_its_other_half(here: Here) -> None:
    here.write("half a")
    assert here.said == []
    here.write(" line\n")
    assert here.said == ["fetcher 1: half a line"]


def test_nothing_of_a_strangers_moves_the_cursor(here: Here) -> None:
    here.event("warning", "a dead letter", queue="\x1b[2J\u202e")
    here.write("\x1b[2J\n")
    assert len(here.said) == 2
    assert all(line.isprintable() for line in here.said)


def test_a_long_log_becomes_the_former_one_and_is_read_on(tmp_path: Path) -> None:
    here = Here(tmp_path, log_bytes=200)
    for number in range(10):
        here.event("warning", f"number {number}")
    assert [line.rpartition(" ")[2] for line in here.said] == [str(number) for number in range(10)]
    assert here.log.stat().st_size <= 200
    assert here.log.with_name("fetcher-1.log.1").exists()


@pytest.mark.anyio
async def test_a_long_wait_is_said_now_and_then() -> None:
    said: list[str] = []
    enough = asyncio.Event()

    def write(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            enough.set()

    async with asyncio.timeout(10), saying(lambda: "waiting for RabbitMQ", every=0.01, write=write):
        await enough.wait()
    assert said[0] == "Still waiting for RabbitMQ (0 s) ..."
