"""The client: what it asks, what it prints, how it ends. The api is a function, passed in place of the network."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli.bodies import readable
from services.cli.main import hoisted, main
from services.cli.output import Output, visible
from tests.cli import HOSTILE, ROOT, Answers, problem

NOBODY = "http://127.0.0.1:9"


def letter(name: str = "a" * 26, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "queue": "fetcher.download-requested", "reason": "rejected", "detail": "It is no event.", "died_at": "2026-01-31T12:00:00.12Z",
        "type": None, "message_id": "m", "correlation_id": "c", "content_type": "application/json", "headers": {"v": 1}, "size": 7,
        "body": '{"x":1}', "body_encoding": "utf-8", "body_truncated": False, **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOWERBIRD_URL", "BOWERBIRD_KEY", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


Captured = pytest.CaptureFixture[str]


def test_all_pages_are_listed_whatever_the_api_calls_itself(capsys: Captured) -> None:
    api = Answers(
        httpx.Response(200, json={"items": [letter("a"), letter("b")], "next": "https://elsewhere.example/dead-letters?limit=500&cursor=xyz"}),
        httpx.Response(200, json={"items": [letter("c")], "next": None}),
    )
    assert api.run("--url", "http://here.example:8000/behind/", "--key", "secret", "dead", "ls") == 0
    assert api.asked == ["GET /behind/dead-letters?limit=500", "GET /behind/dead-letters?limit=500&cursor=xyz"]
    assert {(request.url.host, request.headers["authorization"]) for request in api.requests} == {("here.example", "Bearer secret")}
    header, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert header == ["id", "when (UTC)", "queue", "reason", "detail", "size"]
    assert rows[2] == ["c", "2026-01-31 12:00:00", "fetcher.download-requested", "rejected", "It is no event.", "7"]
    assert [row[0] for row in rows] == ["a", "b", "c"]


def test_json_is_what_the_api_said(capsys: Captured) -> None:
    letters = [letter(detail=HOSTILE, new_field=[1])]
    assert Answers(httpx.Response(200, content=json.dumps({"items": letters, "next": None}))).run("dead", "ls", "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out) == letters
    assert out.isascii()
    assert "\x1b" not in out


@pytest.mark.parametrize("arguments", [("dead", "ls"), ("dead", "show", "a"), ("dead", "replay", "a"), ("dead", "ls", "--json")])
def test_nothing_hostile_reaches_the_terminal_raw(arguments: tuple[str, ...], capsys: Captured) -> None:
    bad = letter(detail=HOSTILE, queue=HOSTILE, reason=HOSTILE, type=HOSTILE, body=HOSTILE, died_at=HOSTILE, headers={HOSTILE: {HOSTILE: [HOSTILE]}})
    body = {**bad, "items": [bad], "next": None}
    assert Answers(httpx.Response(200, content=json.dumps(body))).run(*arguments) == 0
    assert _harmless(capsys.readouterr().out)


@pytest.mark.parametrize("status", [404, 400, 503])
def test_nor_does_what_a_problem_says(status: int, capsys: Captured) -> None:
    assert Answers(problem(status, HOSTILE)).run("dead", "show", "a") == 1
    assert _harmless(capsys.readouterr().err)


@pytest.mark.parametrize("width", [60, 130])
def test_nor_on_a_terminal_where_a_table_is_drawn(width: int) -> None:
    screen = io.StringIO()
    output = Output(as_json=False, out=Console(file=screen, force_terminal=True, width=width, color_system="truecolor"))
    output.table(("id", "when", "detail"), [("a" * 26, HOSTILE, HOSTILE + "[red]:smile:"), ("b", "", "x" * 200)], whole=("id",))
    output.facts([(HOSTILE, HOSTILE)])
    shown = screen.getvalue()
    assert "owned" in shown
    assert "[red]:smile:" in "".join(shown.split())
    assert "a" * 26 in shown
    assert not {"\x07", "\x9b", "\r", "\u202e", "\u2028", "\ud800"} & set(shown)
    assert not any(sequence in shown for sequence in ("\x1b]", "\x1b[2J"))


def _harmless(text: str) -> bool:
    return "owned" in text and all(character.isprintable() or character in "\n\t" for character in text)


@given(st.text(st.characters()))
def test_what_is_visible_is_printable_and_plain_text_stays_as_it_is(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()


@pytest.mark.parametrize(
    ("fields", "kind", "shown"),
    [
        ({"body": '{"x":1}', "size": 7}, "JSON, 7 bytes", '{\n  "x": 1\n}'),
        ({"body": "café", "size": 5}, "text, 5 bytes", "café"),
        ({"body": "[" * 9000, "size": 9000}, "text, 9,000 bytes", "[" * 9000),
        ({"body": "", "size": 0}, "empty", ""),
        ({"body": None, "size": 0}, "empty", ""),
        ({"body": '{"x":', "size": 99, "body_truncated": True}, "text, its first 5 of 99 bytes", '{"x":'),
        ({"body": b"\xff\x00A\n", "size": 4}, "binary, 4 bytes", f"000000  {'ff 00 41 0a':<47}  ..A."),
        # The api showed the first 4 bytes of a text, which ended within a character.
        ({"body": b"caf\xc3", "size": 5, "body_truncated": True}, "text, its first 4 of 5 bytes", "caf"),
        ({"body": b"caf\xc3", "size": 4}, "binary, 4 bytes", f"000000  {'63 61 66 c3':<47}  caf."),
        ({"body": "no base64!", "body_encoding": "base64", "size": 3}, "text, 10 bytes", "no base64!"),
    ],
)
def test_a_body_is_shown_as_what_it_is(fields: dict[str, Any], kind: str, shown: str) -> None:
    if isinstance(fields["body"], bytes):
        fields = {**fields, "body": base64.b64encode(fields["body"]).decode(), "body_encoding": "base64"}
    assert readable(letter(**fields)) == (kind, shown)


def test_a_body_does_not_pass_for_what_is_said_of_it(capsys: Captured) -> None:
    assert Answers(httpx.Response(200, json=letter(body="a\nqueue: mine\r\n\x1b[H"))).run("dead", "show", "a") == 0
    assert capsys.readouterr().out.endswith("header v: 1\nbody: text, 18 bytes\n  a\n  queue: mine\n  \\x1b[H\n")


def test_each_is_replayed_and_one_that_is_unknown_keeps_no_other_from_it(capsys: Captured) -> None:
    api = Answers(
        httpx.Response(202, json={"replayed": "a", "queue": "q"}),
        problem(404, "No dead letter has this id."),
        httpx.Response(202, json={"queue": "q"}),
    )
    assert api.run("dead", "replay", "a", "b", "a", "../images", "c") == 1
    assert api.asked == [f"POST /dead-letters/{name}/replay" for name in "abc"]
    said = capsys.readouterr()
    assert said.out == "a  sent to q again\nc  sent to q again\n"
    assert said.err.splitlines() == [
        "b: No dead letter has this id. `bowerbird dead ls` lists those that are there.",
        "../images: No dead letter has an id like this. `bowerbird dead ls` lists those that are there.",
        "2 of 4 were replayed.",
    ]


def test_all_of_them_are_those_that_were_there_before_the_first_was_done() -> None:
    pages = [
        httpx.Response(200, json={"items": [letter(name)], "next": following}) for name, following in (("a", "/dead-letters?cursor=b"), ("b", None))
    ]
    api = Answers(*pages, *[httpx.Response(202, json={"queue": "q"})] * 2)
    assert api.run("dead", "replay", "--all") == 0
    assert [asked.split("?")[0] for asked in api.asked] == ["GET /dead-letters"] * 2 + ["POST /dead-letters/a/replay", "POST /dead-letters/b/replay"]


def test_an_outage_ends_it_and_says_how_far_it_came(capsys: Captured) -> None:
    api = Answers(httpx.Response(204), problem(503, "It doesn't answer; try again.", **{"retry-after": "2"}))
    assert api.run("dead", "delete", "a", "b", "c", "--yes", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"deleted": ["a"], "refused": {}}
    assert said.err.endswith("failed (503): It doesn't answer; try again. Try again in 2 s. 1 of 3 were deleted before that.\n")


def test_nothing_is_deleted_without_a_yes(capsys: Captured) -> None:
    api = Answers()
    assert api.run("dead", "delete", "a", confirm=lambda _: False) == 1
    assert (api.asked, capsys.readouterr().err) == ([], "Nothing was deleted.\n")
    assert Answers(httpx.Response(204)).run("dead", "delete", "a", confirm=lambda _: True) == 0


def test_where_there_is_nobody_to_ask_it_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    api = Answers()
    assert api.run("dead", "delete", "a") == 2
    assert "--yes" in capsys.readouterr().err
    assert api.asked == []


def test_all_of_none_is_done(capsys: Captured) -> None:
    assert Answers(httpx.Response(200, json={"items": [], "next": None})).run("dead", "delete", "--all") == 0
    assert capsys.readouterr().out == "There are no dead letters.\n"


def test_a_requeue_is_repeated_while_there_are_more_but_for_those_that_were_requeued(capsys: Captured) -> None:
    api = Answers(*(httpx.Response(202, json={"requeued": count, "more": count == 10_000, "before": "T"}) for count in (10_000, 10_000, 7)))
    assert api.run("requeue", "--status", "queued", "--json") == 0
    assert [json.loads(request.content).get("before") for request in api.requests] == [None, "T", "T"]
    assert json.loads(capsys.readouterr().out) == {"status": "queued", "requeued": 20_007}


@pytest.mark.parametrize(("count", "sentence"), [(0, "No image is delayed: there is"), (1, "1 image is being"), (1234, "1,234 images are being")])
def test_a_requeue_says_how_many(count: int, sentence: str, capsys: Captured) -> None:
    assert Answers(httpx.Response(202, json={"requeued": count, "more": False})).run("requeue", "--status=delayed") == 0
    assert capsys.readouterr().out.startswith(sentence)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            httpx.ConnectError("Connection refused"),
            "can't be reached (Connection refused). Is it running? `make up` starts it; or name another with --url.",
        ),
        (httpx.ConnectTimeout(""), "can't be reached (no connection within 5 s)."),
        (httpx.ReadTimeout(""), "didn't answer within 60 s. What was asked for may yet happen."),
        (httpx.RemoteProtocolError("closed"), "can't be reached (closed)."),
        (problem(401, "x"), "wants a key: set BOWERBIRD_KEY, or pass it with --key."),
        (problem(400, "limit must be a whole number."), "refused (400): limit must be a whole number."),
        (problem(500, "A fault."), "failed (500): A fault. Its log says more, under urn:uuid:7."),
        (httpx.Response(301, headers={"location": "https://x/"}), "leads on to https://x/; name the api's own address with --url."),
        (httpx.Response(404, text="nope"), "isn't Bowerbird's api (404, text/plain; charset=utf-8). Name the api with --url."),
        (httpx.Response(200, html="<p>"), "isn't Bowerbird's api (200, text/html"),
        (httpx.Response(200, json=[]), "isn't Bowerbird's api"),
        (httpx.Response(200, json={"items": 1}), "isn't Bowerbird's api"),
        (httpx.Response(200, content=b"[" * 100_000), "isn't Bowerbird's api"),
        (httpx.Response(502, content=b"\xff", headers={"content-type": "application/problem+json"}), "failed (502)"),
    ],
)
def test_whatever_goes_wrong_is_one_sentence_and_exit_code_1(answer: httpx.Response | Exception, sentence: str, capsys: Captured) -> None:
    assert Answers(answer).run("dead", "ls", "--url", "http://user:password@127.0.0.1:1") == 1
    said = capsys.readouterr()
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
    assert "password" not in said.err
    assert said.out == ""


def test_a_key_that_is_not_known_is_not_asked_for_again(capsys: Captured) -> None:
    assert Answers(problem(401, "x")).run("dead", "ls", "--key", "sesame") == 1
    assert "doesn't know this key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nothing",),
        ("dead",),
        ("dead", "show"),
        ("dead", "replay"),
        ("dead", "replay", "a", "--all"),
        ("dead", "ls", "--url", "localhost:8000"),
        ("dead", "ls", "--url", "http://"),
        ("dead", "ls", "--url", "http://[::1"),
        ("dead", "ls", "--url"),
        ("dead", "ls", "--key", "se same\n1"),
        ("requeue",),
        ("requeue", "--status", "stored"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(arguments: tuple[str, ...], capsys: Captured) -> None:
    assert Answers().run(*arguments) == 2
    said = capsys.readouterr()
    assert "Usage" in said.out + said.err
    assert "same" not in said.out + said.err


def test_the_environment_names_the_api_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOWERBIRD_URL", "http://[::1]:8123")
    monkeypatch.setenv("BOWERBIRD_KEY", "k")
    api = Answers(httpx.Response(200, json=letter()))
    assert api.run("dead", "show", "a") == 0
    [request] = api.requests
    assert (str(request.url), request.headers["authorization"]) == ("http://[::1]:8123/dead-letters/a", "Bearer k")


def test_an_unusable_proxy_is_a_sentence_and_loopback_uses_none(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://x")
    assert main(["dead", "ls", "--url", NOBODY], services={}) == 1
    assert "Is it running?" in capsys.readouterr().err
    assert main(["dead", "ls", "--url", "http://api.example"], services={}) == 1
    assert "ALL_PROXY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given_", "first"),
    [
        ("dead ls --json", "--json dead ls"),
        ("dead ls --url x --key=y", "--url x --key=y dead ls"),
        ("dead show -- --json", "dead show -- --json"),
        ("dead ls --url", "dead ls --url"),
        ("", ""),
    ],
)
def test_global_options_may_stand_anywhere(given_: str, first: str) -> None:
    assert hoisted(given_.split()) == first.split()


def test_a_service_starts_without_what_only_the_client_needs() -> None:
    code = "import sys; sys.argv[1:] = ['up']\nimport services.__main__ as it, services.local.up\n"
    code += "services.local.up.main = lambda: print([m for m in ('typer', 'services.cli.main') if m in sys.modules])\nit.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_a_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "services", "--help"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "The output can't be written: No space left on device.\n")


def test_it_is_light() -> None:
    # Its own processor time, the least of some: what else the machine does isn't counted.
    code = "import time, services.cli.main; print(time.process_time())"
    times = [float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout) for _ in range(5)]
    assert min(times) < 0.4
