"""Logs: their two forms, what of libraries is in them, and that docs/operations.md knows each line."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.absence import Absence
from shared.events import CallbackAttempted, ImageFailed
from shared.minutes import Minutes
from shared.telemetry import Json, Text, about

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOGS = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("\n## Logs\n")[2].partition("\n## ")[0]
FIELDS = LOGS.partition("### Fields")[2]
FACTS: dict[str, Any] = {
    "image": "4cqso75qtyka5r5ss25iivu6nk",
    "detail": "It is a\nlie \x1b[2J",
    "wait": None,
    "at_last": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}


def record(message: str = "it happened", **facts: Any) -> logging.LogRecord:
    made = logging.getLogger("bowerbird.test").makeRecord("bowerbird.test", logging.INFO, __file__, 1, message, (), None, extra=facts)
    made.created = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC).timestamp()
    return made


def test_json_is_an_object_a_line_with_all_facts() -> None:
    line = Json().format(record(**FACTS))
    assert line.isprintable()
    assert json.loads(line) == {
        "at": "2026-01-02T03:04:05.678Z", "level": "info", "from": "bowerbird.test", "event": "it happened",
        "image": FACTS["image"], "detail": FACTS["detail"], "wait": None, "at_last": "2026-01-02T03:04:05.000Z",
    }  # fmt: skip


def test_text_is_a_line_that_no_terminal_obeys() -> None:
    assert Text().format(record(**FACTS)) == (
        "03:04:05 info    test: it happened  image=4cqso75qtyka5r5ss25iivu6nk "
        r'detail="It is a\nlie \u001b[2J" at_last=2026-01-02T03:04:05.000Z'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a", "a"), ("a b", '"a b"'), ("a=b", '"a=b"'), ('"', r'"\""'), ("", '""'), (1.5, "1.5"), ("\ud800", r'"\ud800"'), ("für", "für")],
)
def test_values_do_not_run_into_one_another(value: object, shown: str) -> None:
    assert Text().format(record(value=value)).endswith(f"  value={shown}")


def test_a_fact_takes_no_field_of_the_line() -> None:
    line = json.loads(Json().format(record(level="none", at="never", event="other")))
    assert (line["level"], line["at"], line["event"]) == ("info", "2026-01-02T03:04:05.678Z", "it happened")


def test_an_image_has_its_id_and_the_correlation_a_batch_its_own() -> None:
    now = datetime.now(UTC)
    failed = ImageFailed(image=str(FACTS["image"]), revision=7, reason="dns", detail="", failed_at=now)  # type: ignore[arg-type]
    assert about(failed) == {"image": FACTS["image"], "correlation": f"{FACTS['image']}.7"}
    told = CallbackAttempted(image="a" * 32, revision=7, delivery="msg_1", attempted_at=now, took_ms=1)
    assert about(told) == {"batch": "a" * 32, "correlation": f"{'a' * 32}.7"}


SETS_UP = """
import logging, sys, warnings
from shared.telemetry import log_to_stderr
log_to_stderr(sys.argv[1], sys.argv[2])
logging.getLogger("bowerbird.x").debug("ours", extra={"n": 1})
logging.getLogger("aiormq.connection").warning("theirs: a connection was lost")
logging.getLogger("aiormq.connection").error("theirs: no connection")
logging.getLogger("asyncio").error("theirs: %s was never retrieved", "an error")
logging.getLogger("uvicorn.error").info("theirs: started")
"""


def lines(level: str, form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SETS_UP, level, form], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_of_libraries_only_errors_are_shown_and_in_the_same_form() -> None:
    assert [(line["from"], line["event"]) for line in map(json.loads, lines("debug", "auto"))] == [
        ("bowerbird.x", "ours"), ("aiormq.connection", "theirs: no connection"), ("asyncio", "theirs: an error was never retrieved")
    ]  # fmt: skip
    assert [line[9:] for line in lines("debug", "text")][::2] == ["debug   x: ours  n=1", "error   asyncio: theirs: an error was never retrieved"]
    assert [line["from"] for line in map(json.loads, lines("info", "json"))] == ["asyncio"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def facts(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Any]]:
    return [(line.getMessage(), vars(line).get("waited_seconds")) for line in caplog.records]


def test_a_server_that_is_away_is_said_once_a_minute_and_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bowerbird")
    clock = Clock()
    absence = Absence("RabbitMQ", clock=clock)
    absence.over()
    for clock.now in range(150):
        absence.noted("no answer")
    absence.over()
    absence.over()
    assert facts(caplog) == [("waiting for a server", 0), ("waiting for a server", 60), ("waiting for a server", 120), ("a server is back", 149)]


def test_a_server_that_comes_and_goes_is_said_no_more_often(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bowerbird")
    clock = Clock()
    absence = Absence("RabbitMQ", clock=clock)
    for clock.now in range(120):
        absence.noted("no answer")
        absence.over()
    assert facts(caplog) == [("waiting for a server", 0), ("a server is back", 0)] * 2


@pytest.mark.anyio
async def test_what_was_done_is_told_and_nothing_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bowerbird")
    clock = Clock()
    async with Minutes(clock=clock) as minutes:
        minutes.count("stored")
        minutes.count("stored_bytes", 500)
        minutes.count("stored")
        clock.now = 60
        minutes.say()
        clock.now = 90
        minutes.say()
        minutes.count("failed")
        clock.now = 95
    told = [{name: vars(line).get(name) for name in ("stored", "stored_bytes", "failed", "seconds")} for line in caplog.records]
    assert told == [
        {"stored": 2, "stored_bytes": 500, "failed": None, "seconds": 60.0}, {"stored": None, "stored_bytes": None, "failed": 1, "seconds": 5.0}
    ]  # fmt: skip


def calls() -> Iterator[tuple[Path, ast.Call]]:
    """Every call of a logger in what runs as a service."""
    for path in (*ROOT.glob("services/*/**/*.py"), *ROOT.glob("shared/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical", "log"}
                and ast.unparse(node.func.value) in {"log", "_log", "self._log"}
            ):
                yield path, node


def test_every_count_is_documented() -> None:
    counted = {name for path in ROOT.glob("s*/**/*.py") for name in re.findall(r"_minutes\.count\(\"(\w+)\"", path.read_text("utf-8"))}
    tables = {name for path in ROOT.glob("services/*/handlers.py") for name in re.findall(r": \"(\w+)\"", _counted(path))}
    assert {"dispatched", "stored_bytes"} < counted
    assert {"stored", "fetched"} < tables
    assert not {name for name in counted | tables if f"`{name}`" not in FIELDS}


def _counted(path: Path) -> str:
    return next(line for line in path.read_text("utf-8").splitlines() if line.startswith("_COUNTED = "))


def documented() -> dict[tuple[str, str], str]:
    """The level of each line, by its message and its fields, in the table of docs/operations.md."""
    rows = re.findall(r"^\| `([^`]+)` \| (debug|info|warning|error) \| (.*) \|$", LOGS, re.MULTILINE)
    return {(message, level): rest for message, level, rest in rows}


def test_every_line_is_documented_with_its_level_and_no_other_is() -> None:
    said = set()
    for path, call in calls():
        message, level = call.args[0], getattr(call.func, "attr", "")
        assert isinstance(message, ast.Constant), f"{path.name}, line {call.lineno}: a message must never vary"
        assert isinstance(message.value, str)
        said.add((message.value, {"exception": "error"}.get(level, level)))
    assert said == set(documented())


def test_every_field_is_documented() -> None:
    known = set(re.findall(r"`(\w+)`", FIELDS))
    for path, call in calls():
        for keyword in call.keywords:
            for node in ast.walk(keyword.value) if keyword.arg == "extra" else ():
                for key in node.keys if isinstance(node, ast.Dict) else ():
                    assert key is None or ast.literal_eval(key) in known, f"{path.name}, line {call.lineno}: {ast.unparse(key)}"
