"""Waiting for an api that is away for a while, and no longer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from services.cli.errors import Failure, Unavailable
from services.cli.patience import Patience
from tests.cli import Answers, problem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class World:
    """A clock, and what was told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.slept: list[float] = []
        self.patience = Patience(self.told.append, seconds=100, sleep=self.sleep, clock=lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ask(self, *answers: str | Exception) -> str:
        left = list(answers)

        def once() -> str:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return self.patience(once)


BUSY = Unavailable("It is busy.", "Try again in 3 s.", pause=3.0)
GONE = Unavailable("It can't be reached.", "Is it running?")


def test_what_asks_for_a_pause_is_waited_for_so_long_and_told_once() -> None:
    world = World()
    assert world.ask(BUSY, BUSY, "yes") == "yes"
    assert world.slept == [3, 3]
    assert world.told == ["It is busy. Trying again ..."]
    assert world.ask(BUSY, "yes") == "yes"
    assert len(world.told) == 2


def test_what_was_never_there_is_not_waited_for() -> None:
    world = World()
    with pytest.raises(Unavailable, match="can't be reached"):
        world.ask(GONE, "yes")
    assert world.slept == []


def test_what_was_there_before_is_waited_for_with_growing_pauses_but_not_for_ever() -> None:
    world = World()
    world.ask("yes")
    assert world.ask(GONE, GONE, GONE, "yes") == "yes"
    assert world.slept == [0.4, 0.8, 1.6]
    with pytest.raises(Unavailable):
        world.ask(GONE)
    assert 90 <= world.now <= 103


def test_a_pause_longer_than_its_patience_is_not_begun() -> None:
    world = World()
    with pytest.raises(Unavailable):
        world.ask(Unavailable("It is busy.", "Try again in an hour.", pause=3600))
    assert world.slept == []


def test_other_failures_are_none_to_wait_for() -> None:
    world = World()
    with pytest.raises(Failure, match="wrong"):
        world.ask(Failure("wrong"), "yes")


@pytest.mark.parametrize("busy", [429, 503])
def test_a_batch_is_sent_again_with_its_key_and_what_was_to_be_waited_for_is(busy: int, capsys: pytest.CaptureFixture[str]) -> None:
    batch = {
        "id": "a" * 32,
        "accepted": 1,
        "images": {"stored": 1},
        "items": [{"url": "https://a/", "outcome": "accepted", "image": f"/images/{'b' * 26}"}],
    }
    api = Answers(problem(busy, "Too busy.", **{"retry-after": "7"}), httpx.Response(202, json=batch), httpx.Response(200, json=batch))
    assert api.run("add", "https://a/", "--wait") == 0
    first, again, look = api.requests
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert first.content == again.content == b'"https://a/"\n'
    assert look.url.path == f"/batches/{'a' * 32}"
    assert api.slept == [7]
    assert "Trying again" in capsys.readouterr().err


def test_an_answer_that_was_lost_is_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    def batch(number: int) -> httpx.Response:
        return httpx.Response(202, json={"id": f"{number:032x}", "accepted": 1000, "images": {"stored": 1000}, "items": []})

    given = "".join(f"https://a/{number}\n" for number in range(2000)).encode()
    api = Answers(batch(1), httpx.ReadError("reset"), httpx.ConnectError("refused"), batch(2))
    assert api.run("add", "-", "--no-wait", "--json", read=io.BytesIO(given).read1) == 0
    keys = [request.headers["idempotency-key"] for request in api.requests]
    assert (keys[1], len(set(keys))) == (keys[3], 2)
    assert json.loads(capsys.readouterr().out)["batches"] == [f"{1:032x}", f"{2:032x}"]
