"""Submitting and watching, over an api that says what a test wants."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rich.console import Console

from services.cli import recent
from services.cli.client import Api
from services.cli.link import Link
from services.cli.progress import LINE_EVERY, Bar, Lines
from services.cli.tally import Tally
from services.cli.watching import AT_ONCE, Watch
from tests.cli import HOSTILE, Answers, problem

if TYPE_CHECKING:
    from pathlib import Path

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BOWERBIRD_URL", "BOWERBIRD_KEY", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def page_of(*items: dict[str, Any]) -> dict[str, Any]:
    return {"items": items, "next": None}


class Pipeline:
    """An api that takes batches. `images` are the statuses of each batch, one round of questions after the other, the last for ever."""

    def __init__(
        self, *images: dict[str, int], fates: dict[str, str] | None = None, failed: tuple[str, ...] = (), pages: dict[str, Any] | None = None
    ) -> None:
        self.images = list(images)
        self.fates = fates or {}
        self.failed = failed
        self.pages = pages or {}
        self.bodies: list[list[str]] = []
        self.refreshed: list[str] = []
        self.interrupt = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, params = request.url.path, request.url.params
        if request.method == "PUT":
            self.refreshed.append(json.loads(request.content)["url"])
            return httpx.Response(202, json={})
        if request.method == "POST":
            urls = [json.loads(line) for line in request.content.splitlines()]
            self.bodies.append(urls)
            items = [{"url": url, "outcome": self.fates.get(url, "accepted"), "image": f"/images/{'a' * 26}", "detail": "No."} for url in urls]
            return httpx.Response(202, json={**self._batch(len(self.bodies), {"queued": len(urls)}), "items": items})
        if self.interrupt:
            raise KeyboardInterrupt
        if path.startswith("/images/"):
            return httpx.Response(200, json=self.pages[path.removeprefix("/images/")])
        if path == "/images" and params["status"] == "failed":
            return httpx.Response(200, json=page_of(*({"error": {"reason": reason}} for reason in self.failed)))
        if path == "/images":
            return httpx.Response(200, json=page_of(*({"id": name} for name in self.pages)))
        images = self.images.pop(0) if len(self.images) > 1 else self.images[0]
        return httpx.Response(200, json=self._batch(int(path.rpartition("/")[2], 16), images))

    def _batch(self, number: int, images: dict[str, int]) -> dict[str, Any]:
        counts = Counter(self.fates.get(url, "accepted") for url in self.bodies[number - 1])
        return {"id": f"{number:032x}", **dict.fromkeys(("accepted", "known", "repeated", "refused"), 0), **counts, "images": images}


def test_it_is_watched_until_all_have_arrived(capsys: Captured) -> None:
    api = Answers(by=Pipeline({"queued": 2}, {"queued": 1, "stored": 1}, {"stored": 2}))
    assert api.run("add", "https://a/", "https://b/", "--wait") == 0
    assert len(api.slept) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["outcome\timage\turl\tdetail", *(f"accepted\t{'a' * 26}\thttps://{name}/\tNo." for name in "ab")]
    assert said.err.startswith("2 URLs in ")
    assert said.err.endswith(": 2 stored.\n")


@pytest.mark.parametrize(
    ("pipeline", "code", "says"),
    [
        (Pipeline({"stored": 1, "failed": 1}, failed=("dns",)), 1, "1 stored, 1 failed (1 dns)"),
        (Pipeline({"stored": 1}, fates={"https://b/": "refused"}), 1, "1 stored, 1 refused"),
        (Pipeline({"stored": 2}, fates={"https://b/": "known"}), 0, "2 stored, 1 known before"),
        (Pipeline({"stored": 1}, fates={"https://b/": "repeated"}), 0, "1 stored, 1 repeated"),
    ],
)
def test_the_exit_code_says_whether_all_arrived(pipeline: Pipeline, code: int, says: str, capsys: Captured) -> None:
    assert Answers(by=pipeline).run("add", "https://a/", "https://b/", "--wait") == code
    assert says in capsys.readouterr().err


def test_for_programs_it_submits_says_how_to_watch_and_ends(capsys: Captured) -> None:
    api = Answers(by=Pipeline(fates={"https://b/": "refused"}))
    assert api.run("add", "https://a/", "https://b/", "--url", "http://x.example:1") == 1
    assert api.asked == ["POST /batches"]
    assert capsys.readouterr().err == f"Submitted: 1 accepted, 1 refused. To watch them arrive: bowerbird watch {1:032x} --url http://x.example:1\n"


def test_the_result_as_json(capsys: Captured) -> None:
    assert Answers(by=Pipeline({"failed": 1, "stored": 0}, fates={"b": "refused"}, failed=("timeout",))).run("add", "a", "b", "--wait", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "batches": [f"{1:032x}"], "lines": 2, "accepted": 1, "known": 0, "repeated": 0, "refused": 1, "images": {"failed": 1, "stored": 0},
        "reasons": {"timeout": 1}, "refusals": [{"url": "b", "detail": "No."}], "waited": True,
    }  # fmt: skip


def test_a_file_goes_in_batches_of_a_thousand_and_what_cannot_be_read_is_refused(tmp_path: Path, capsys: Captured) -> None:
    given = tmp_path / "urls.txt"
    given.write_bytes(b"".join(b"https://a/%d\n" % number for number in range(2500)) + b"caf\xe9\x1b\n")
    pipeline = Pipeline()
    assert Answers(by=pipeline).run("add", "--file", str(given)) == 1
    assert [len(body) for body in pipeline.bodies] == [1000, 1000, 500]
    assert [url for body in pipeline.bodies for url in body] == [f"https://a/{number}" for number in range(2500)]
    said = capsys.readouterr()
    assert "refused\t\tcaf\\xe9\\x1b\tLine 2501 isn't UTF-8." in said.out.splitlines()
    assert "2,500 accepted, 1 refused" in said.err
    assert recent.recall("http://127.0.0.1:8000") == [f"{number:032x}" for number in (1, 2, 3)]
    assert recent.recall("http://127.0.0.1:8001") == []


def test_what_is_known_is_refreshed_when_that_is_wanted(capsys: Captured) -> None:
    pipeline = Pipeline({"stored": 3}, fates={"https://b/": "known", "https://c/": "known"})
    assert Answers(by=pipeline).run("add", "https://a/", "https://b/", "https://c/", "--refresh") == 0
    assert sorted(pipeline.refreshed) == ["https://b/", "https://c/"]
    assert "1 accepted, 2 refreshed" in capsys.readouterr().err


def test_standard_input_stands_where_it_is_named() -> None:
    pipeline = Pipeline()
    assert Answers(by=pipeline).run("add", "https://a/", "-", "https://c/", read=io.BytesIO(b"https://b/\n").read1) == 0
    assert pipeline.bodies == [["https://a/", "https://b/", "https://c/"]]


def test_a_wrong_column_is_wrong_usage(capsys: Captured) -> None:
    api = Answers(by=Pipeline())
    assert api.run("add", "-", "--column", "link", "--format", "csv", read=io.BytesIO(b"url\nhttps://a/\n").read1) == 2
    assert api.asked == []
    assert "'link'" in capsys.readouterr().err


def test_an_outage_in_the_middle_says_how_far_it_came(capsys: Captured) -> None:
    pipeline = Pipeline()

    def answer(request: httpx.Request) -> httpx.Response:
        return pipeline(request) if not pipeline.bodies else problem(500, "A fault.")

    given = b"".join(b"https://a/%d\n" % number for number in range(1500))
    assert Answers(by=answer).run("add", "-", read=io.BytesIO(given).read1) == 1
    assert "1,000 lines were submitted before that; the same command again" in capsys.readouterr().err


def test_ctrl_c_leaves_the_work_running_and_says_how_to_watch_it(capsys: Captured) -> None:
    pipeline = Pipeline()
    pipeline.interrupt = True
    assert Answers(by=pipeline).run("add", "https://a/", "--wait") == 130
    assert capsys.readouterr().err == f"What was submitted goes on in the background. To watch it: bowerbird watch {1:032x}\n"
    pipeline.images, pipeline.interrupt = [{"stored": 1}], False
    assert Answers(by=pipeline).run("watch") == 0
    assert capsys.readouterr().out.endswith(": 1 stored.\n")


def test_a_batch_that_is_unknown(capsys: Captured) -> None:
    assert Answers(problem(404, "No batch has this id.")).run("watch", "f" * 32) == 1
    assert capsys.readouterr().err == f"{'f' * 32}: No batch has this id.\n"
    assert Answers().run("watch", "../x") == 1


def watching(pipeline: Pipeline, *, batches: int = 1) -> tuple[Watch, Answers]:
    answers = Answers(by=pipeline)
    api = Api(Link(httpx.URL("http://x"), transport=httpx.MockTransport(answers)))
    watch = Watch(api, clock=lambda: 0.0)
    for number in range(batches):
        watch.follow(api.submit([f"https://a/{number}"], key=str(number)))
    answers.asked.clear()
    return watch, answers


def test_a_thousand_batches_are_asked_after_a_few_at_a_time_and_each_in_its_turn() -> None:
    watch, answers = watching(Pipeline({"queued": 1}), batches=25)
    for _ in range(3):
        watch.look()
    asked = [int(path.rpartition("/")[2], 16) for path in answers.asked]
    assert asked == [*range(1, 26), *range(1, 6)]
    assert len(asked) == 3 * AT_ONCE


def test_pages_are_watched_until_their_images_have_arrived() -> None:
    def page(**images: int) -> dict[str, Any]:
        return {"id": "p" * 26, "status": "expanded", "page": {"images": images}}

    pages = {"p" * 26: page(queued=1, stored=2)}
    watch, _ = watching(Pipeline({"expanded": 1}, pages=pages))
    watch.look()
    watch.look()
    assert (watch.done, watch.tally().images) == (False, Counter(queued=1, stored=2, expanded=1))
    pages["p" * 26] = page(stored=3)
    watch.look()
    assert (watch.done, watch.tally().sentence()) == (True, "3 stored, 1 page")
    assert watch.batches == [f"{1:032x}"]


def test_a_page_that_is_deleted_meanwhile_is_not_waited_for() -> None:
    pipeline = Pipeline({"expanded": 1}, pages={"p" * 26: {}})
    watch, answers = watching(pipeline)
    watch.look()
    answers.by = lambda _: problem(404, "No image has this id.")
    watch.look()
    assert watch.done


def test_a_batch_that_is_still_being_recorded_is_not_done() -> None:
    watch, answers = watching(Pipeline({}))
    answers.by = lambda _: httpx.Response(200, json={"id": f"{1:032x}", "accepted": None, "images": {}})
    watch.look()
    assert not watch.done


def shown(width: int, *tallies: Tally, terminal: bool, seconds: float = LINE_EVERY) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=width)
    times = iter(number * seconds for number in range(100))
    display = Bar(console, lambda: next(times)) if terminal else Lines(console, lambda: next(times))
    with display:
        for tally in tallies:
            display.show(tally, more=False)
    return screen.getvalue()


def test_the_bar_has_how_far_how_fast_and_how_long_yet() -> None:
    text = shown(120, Tally(images=Counter(queued=100)), Tally(images=Counter(queued=50, stored=45, failed=5), reasons=Counter(dns=5)), terminal=True)
    assert "━" in text
    for part in ("0 of 100", "50 of 100", "10 images/s", "5 s left", "45 stored, 5 failed (5 dns)"):
        assert part in text
    assert "waiting to try again" in shown(120, Tally(images=Counter(delayed=3)), terminal=True)


def test_elsewhere_there_is_a_line_now_and_then_if_something_has_changed() -> None:
    same = Tally(images=Counter(queued=1, stored=1))
    lines = shown(40, same, same, Tally(images=Counter(stored=2)), terminal=False).splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["1 of 2, 0 images/s, time left unknown: 1 stored", "2 of 2, 0 images/s: 2 stored"]
    assert shown(40, same, Tally(images=Counter(stored=2)), terminal=False, seconds=0.1) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_what_the_api_calls_a_reason_does_not_reach_the_terminal_raw(*, terminal: bool) -> None:
    text = shown(200, Tally(images=Counter(failed=1), reasons=Counter({HOSTILE: 1})), Tally(), terminal=terminal)
    assert "owned" in text
    assert not {"\x07", "\x9b", "\u202e"} & set(text)
    assert "\x1b]" not in text
